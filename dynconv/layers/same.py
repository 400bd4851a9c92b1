"""Plain convolutions: of given numbers; with "same" padding at a stride, as TensorFlow and timm pad (torch: at stride 1 only)."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.utils import skip_init

from ..functional import conv

__all__: list[str] = []

Conv = TypeVar("Conv", bound=nn.modules.conv._ConvNd)


def holding(kind: type[Conv], weight: Tensor, bias: Tensor | None, groups: int = 1, **geometry: Any) -> Conv:
    """A convolution that holds this kernel (O, C/groups, *kernel) and this bias (O,); no numbers are drawn for it."""
    out, channels, *kernel = weight.shape
    options = {"groups": groups, "bias": bias is not None, "device": weight.device, "dtype": weight.dtype}
    conv: Conv = skip_init(kind, channels * groups, out, kernel, **geometry, **options)
    conv.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return conv


class _Same(nn.modules.conv._ConvNd):
    # made with padding 0, which is set to "same" afterwards: the constructors of nn.ConvNd refuse it
    def forward(self, x: Tensor) -> Tensor:
        unbatched = x.ndim == self.weight.ndim - 1
        x = x.unsqueeze(0) if unbatched else x
        geometry = self.stride, self.padding, self.dilation, self.groups
        y = conv(x, self.weight, self.bias, *geometry, padding_mode=self.padding_mode)
        return y.squeeze(0) if unbatched else y


class SameConv1d(_Same, nn.Conv1d):
    pass


class SameConv2d(_Same, nn.Conv2d):
    pass


class SameConv3d(_Same, nn.Conv3d):
    pass
