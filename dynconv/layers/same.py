"""Plain convolutions with "same" padding at a stride, as TensorFlow and timm pad; torch's own take it at stride 1 only."""

from __future__ import annotations

from torch import Tensor, nn

from ..functional import conv

__all__: list[str] = []


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
