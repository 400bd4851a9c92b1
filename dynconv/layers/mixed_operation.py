"""Maps of one input, added with softmax weights that are parameters: any operations (DARTS), any layers (ELMo).

Reference: Liu et al., *DARTS*, https://arxiv.org/abs/1806.09055; Peters et al., *ELMo*, https://arxiv.org/abs/1802.05365
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.types import Device

from ..functional import mix_outputs
from .attention import LearnedAttention
from .layer import Layer

__all__ = ["MixedOperation", "ScalarMix"]


class ScalarMix(Layer):
    r"""A softmax-weighted sum of L maps, times one learned number: how ELMo adds up the layers of a language model.

    Reference: Peters et al., eq. 1, https://arxiv.org/abs/1802.05365

    .. math:: y = \gamma \sum_l \pi_l h_l, \qquad \pi = \mathrm{softmax}(z / T)

    The question's layer is this over the outputs of K convolutions, without the scale.

    Example:
        >>> import torch
        >>> maps = [torch.zeros(2, 5, 8), torch.ones(2, 5, 8)]
        >>> ScalarMix(2)(maps).detach().unique()
        tensor([0.5000])

    Args:
        num_maps: L, at least 1.
        temperature: T above 0, a buffer.
        scale: whether there is a γ, which starts at 1.

    Shape:
        L maps of one shape (B, ...) → (B, ...).

    Raises:
        ValueError: not L maps, or not all of one shape.
    """

    def __init__(
        self,
        num_maps: int,
        temperature: float = 1.0,
        scale: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.attention = LearnedAttention(num_maps, temperature, device, dtype)
        self.attention.over = "branches"
        self.scale = nn.Parameter(torch.ones((), device=device, dtype=dtype)) if scale else None

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        if len(maps) != len(self.attention.logits):
            raise ValueError(f"ScalarMix expects {len(self.attention.logits)} maps, got {len(maps)}")
        y = mix_outputs(maps, self.attention())  # (B, ...)
        return y if self.scale is None else self.scale * y


class MixedOperation(Layer):
    r"""Several operations of one input, added with softmax weights that are parameters: DARTS' continuous relaxation.

    Reference: Liu et al., eq. 2, https://arxiv.org/abs/1806.09055

    .. math:: y = \sum_o \pi_o\, o(x), \qquad \pi = \mathrm{softmax}(\alpha)

    Where every operation is a convolution this is the question's layer, and folds. With a ReLU inside the operations the
    weights are as static as before, and nothing folds.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> mixed = MixedOperation([nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(3, 1, 1), nn.Identity()])
        >>> mixed(torch.randn(2, 4, 8, 8)).shape, mixed.strongest()
        (torch.Size([2, 4, 8, 8]), Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)))

    Args:
        operations: modules that map x to one and the same shape (B, C, *S).
        temperature: T above 0, a buffer; 1 in DARTS.

    Shape:
        what the operations take → (B, C, *S).

    Raises:
        ValueError: no operation, or outputs of several shapes.
    """

    def __init__(
        self,
        operations: Iterable[nn.Module],
        temperature: float = 1.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.operations = nn.ModuleList(operations)
        self.mix = ScalarMix(len(self.operations), temperature, False, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix([operation(x) for operation in self.operations])

    def strongest(self) -> nn.Module:
        """The operation with the largest weight, which DARTS keeps in the end: that it matters most is not said."""
        return self.operations[int(self.mix.attention.logits.argmax())]
