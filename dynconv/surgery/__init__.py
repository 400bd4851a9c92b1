"""Operations on whole models: make convolutions dynamic, fold what is static, set the temperature, sort parameters."""

from .conversion import convert, from_conv
from .folding import fold
from .groups import parameter_groups
from .temperature import set_temperature, temperatures

__all__ = ["convert", "fold", "from_conv", "parameter_groups", "set_temperature", "temperatures"]
