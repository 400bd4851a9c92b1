"""Operations on whole models: make convolutions dynamic, fold what is static, set the temperature, sort parameters."""

from .conversion import convert, from_conv
from .folding import fold
from .groups import parameter_groups
from .reports import Change, Report, report
from .temperature import set_temperature, temperatures

__all__ = [
    "Change",
    "Report",
    "convert",
    "fold",
    "from_conv",
    "parameter_groups",
    "report",
    "set_temperature",
    "temperatures",
]
