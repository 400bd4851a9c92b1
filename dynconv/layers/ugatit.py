"""U-GAT-IT (light): translate images between two domains, guided by an attention that a classifier teaches.

Reference: Kim et al., *U-GAT-IT: Unsupervised Generative Attentional Networks with Adaptive Layer-Instance
Normalization for Image-to-Image Translation*, https://arxiv.org/abs/1907.10830
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.types import Device

from ..functional.checks import check_counts
from .cam import CAMAttention
from .inputs import check_images
from .layer import Factory, Layer, TypedModule
from .normalization import ILN, AdaLIN

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "AdaLINBlock",
    "AdaLINParameters",
    "UGATITDiscriminator",
    "UGATITDiscriminatorOutput",
    "UGATITGenerator",
    "UGATITGeneratorOutput",
]


class UGATITGeneratorOutput(NamedTuple):
    """What :class:`UGATITGenerator` returns.

    Example:
        >>> import torch
        >>> output = UGATITGenerator(width=2)(torch.randn(1, 3, 16, 16))
        >>> output.image.shape, output.heatmap.shape
        (torch.Size([1, 3, 16, 16]), torch.Size([1, 1, 4, 4]))
    """

    image: Tensor
    """(B, out_channels, H, W), -1 … 1"""
    logit: Tensor
    """(B, 2), the attention's"""
    heatmap: Tensor
    """(B, 1, ⌈H/4⌉, ⌈W/4⌉)"""


class UGATITDiscriminatorOutput(NamedTuple):
    """What :class:`UGATITDiscriminator` returns.

    Example:
        >>> import torch
        >>> output = UGATITDiscriminator(width=2)(torch.randn(1, 3, 32, 32))
        >>> output.patches.shape, output.heatmap.shape
        (torch.Size([1, 1, 2, 2]), torch.Size([1, 1, 3, 3]))
    """

    patches: Tensor
    """(B, 1, H', W'), how real each patch looks, unbounded"""
    logit: Tensor
    """(B, 2), the attention's"""
    heatmap: Tensor
    """(B, 1, H' + 1, W' + 1)"""


class AdaLINParameters(Layer):
    r"""The scale and shift of every channel, computed from each image's attended features.

    Reference: Kim et al., section 3.1, https://arxiv.org/abs/1907.10830

    .. math:: \gamma = W_\gamma h, \quad \beta = W_\beta h, \qquad h = \mathrm{relu}(V_2\,\mathrm{relu}(V_1 s)), \quad
        s_c = \mathrm{mean}(f_c)

    Like a Squeeze-and-Excitation gate it sees an image's channel means and nothing else, so the image may have any size.

    Example:
        >>> import torch
        >>> gamma, beta = AdaLINParameters(16)(torch.randn(2, 16, 8, 8))
        >>> gamma.shape, beta.shape
        (torch.Size([2, 16]), torch.Size([2, 16]))

    Args:
        channels: C.

    Shape:
        (B, C, *spatial) → gamma (B, C), beta (B, C). The paper's code calls its layers ``FC``, ``gamma`` and ``beta``, or
        ``gamma_fc`` and ``beta_fc``: both load.

    Raises:
        ValueError: an argument or the features' shape does not fit; TypeError, RuntimeError: their dtype or device does not.
    """

    their_names: ClassVar = {"FC": "hidden", "gamma_fc": "gamma", "beta_fc": "beta"}

    def __init__(self, channels: int, device: Device = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        check_counts(channels=channels)
        factory: Factory = {"device": device, "dtype": dtype}
        first, second, self.gamma, self.beta = (nn.Linear(channels, channels, bias=False, **factory) for _ in range(4))
        self.hidden = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        check_images(self, features, self.gamma.in_features)
        hidden = self.hidden(features.flatten(2).mean(2))  # (B, C)
        return self.gamma(hidden), self.beta(hidden)


class AdaLINBlock(TypedModule):
    r"""A residual block whose two normalisations take their scale and shift from outside.

    Reference: Kim et al., figure 2, https://arxiv.org/abs/1907.10830

    .. math:: y = x + \mathrm{AdaLIN}(W_2 * \mathrm{relu}(\mathrm{AdaLIN}(W_1 * x)))

    Both normalisations, and those of the other blocks of a generator, get the same gamma and beta.

    Example:
        >>> import torch
        >>> x, gamma, beta = torch.randn(2, 16, 8, 8), torch.randn(2, 16), torch.randn(2, 16)
        >>> AdaLINBlock(16)(x, gamma, beta).shape
        torch.Size([2, 16, 8, 8])

    Args:
        channels: C.

    Shape:
        x (B, C, H, W), H and W at least 2, gamma (B, C), beta (B, C) → as x.

    Raises:
        ValueError: an argument or a shape does not fit; TypeError, RuntimeError: a dtype or device does not.
    """

    def __init__(self, channels: int, device: Device = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        check_counts(channels=channels)
        factory: Factory = {"device": device, "dtype": dtype}
        self.conv1, self.norm1 = _reflect_conv(channels, channels, 3, **factory), AdaLIN(channels, **factory)
        self.conv2, self.norm2 = _reflect_conv(channels, channels, 3, **factory), AdaLIN(channels, **factory)

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        check_images(self, x, self.conv1.in_channels, "H, W", least=2)  # what a reflection by 1 needs
        y = torch.relu(self.norm1(self.conv1(x), gamma, beta))
        return x + self.norm2(self.conv2(y), gamma, beta)


class UGATITGenerator(TypedModule):
    r"""Translates an image into the other domain.

    Reference: Kim et al., section 3.1 and table 3, https://arxiv.org/abs/1907.10830, in the "light" variant of its code

    .. math:: y = \tanh(D(a, \gamma(a), \beta(a))), \qquad a = \mathrm{attention}(E(x))

    where E goes down to a quarter of the size, the attention is :class:`~dynconv.layers.cam.CAMAttention` and D, with
    AdaLIN, comes back up. The attention's weights are the same for every image; gamma and beta are not.

    Example:
        >>> import torch
        >>> image, logit, heatmap = UGATITGenerator(width=4)(torch.randn(2, 3, 30, 41))
        >>> image.shape, logit.shape, heatmap.shape
        (torch.Size([2, 3, 30, 41]), torch.Size([2, 2]), torch.Size([2, 1, 8, 11]))

    Args:
        in_channels, out_channels: of the two domains' images.
        width: channels at full size; doubled at each of the two downsamplings.
        num_blocks: residual blocks before the attention, and as many AdaLIN blocks after it; at least 1.

    Shape:
        (B, in_channels, H, W), H and W at least 5 → :class:`UGATITGeneratorOutput`, its image of the same H and W.

    Raises:
        ValueError: an argument or the images' shape does not fit; TypeError, RuntimeError: their dtype or device does not.
    """

    smallest = 5  # a quarter of it, rounded up, is 2: what a reflection by 1 needs

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 16,
        num_blocks: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels, width=width, num_blocks=num_blocks)
        factory: Factory = {"device": device, "dtype": dtype}
        self.in_channels, channels = in_channels, 4 * width
        self.stem = _ConvNormReLU(in_channels, width, 7, **factory)
        self.down1 = _ConvNormReLU(width, 2 * width, 3, stride=2, **factory)
        self.down2 = _ConvNormReLU(2 * width, channels, 3, stride=2, **factory)
        self.encoder = nn.Sequential(*(_ResidualBlock(channels, **factory) for _ in range(num_blocks)))
        self.attention = CAMAttention(channels, **factory)
        self.modulation = AdaLINParameters(channels, **factory)
        self.decoder = nn.ModuleList(AdaLINBlock(channels, **factory) for _ in range(num_blocks))
        self.up1 = _Up(channels, 2 * width, **factory)
        self.up2 = _Up(2 * width, width, **factory)
        self.head = _reflect_conv(width, out_channels, 7, **factory)

    def forward(self, images: Tensor) -> UGATITGeneratorOutput:
        check_images(self, images, self.in_channels, "H, W", self.smallest)
        full = self.stem(images)  # (B, width, H, W)
        half = self.down1(full)  # (B, 2·width, ⌈H/2⌉, ⌈W/2⌉)
        features = self.encoder(self.down2(half))  # (B, 4·width, ⌈H/4⌉, ⌈W/4⌉)
        x, logit, heatmap = self.attention(features)
        gamma, beta = self.modulation(x)  # (B, 4·width) each
        for block in self.decoder:
            x = block(x, gamma, beta)
        # back up through the sizes seen on the way down: doubling would make an odd size one larger
        x = self.up1(x, half.shape[2:])  # (B, 2·width, ⌈H/2⌉, ⌈W/2⌉)
        x = self.up2(x, full.shape[2:])  # (B, width, H, W)
        return UGATITGeneratorOutput(torch.tanh(self.head(x)), logit, heatmap)


class UGATITDiscriminator(TypedModule):
    r"""Says how real each patch of an image looks.

    Reference: Kim et al., section 3.1 and table 4, https://arxiv.org/abs/1907.10830

    .. math:: p = W * \mathrm{attention}(E(x))

    All convolutions but the attention's own 1×1 are spectrally normed, and so are the attention's two weights: as the
    one direction of a 1×C matrix, they are unit vectors.

    Example:
        >>> import torch
        >>> patches, logit, heatmap = UGATITDiscriminator(width=4)(torch.randn(2, 3, 64, 48))
        >>> patches.shape, logit.shape, heatmap.shape
        (torch.Size([2, 1, 6, 4]), torch.Size([2, 2]), torch.Size([2, 1, 7, 5]))

    Args:
        in_channels: of the images.
        width: channels after the first convolution; doubled at each that follows.
        num_layers: convolutions, the last one included and the attention's not; all but the last two halve the size.
            At least 3. The paper's global and local discriminators have 7 and 5.

    Shape:
        (B, in_channels, H, W), H and W at least 3 · 2^(num_layers - 2) → :class:`UGATITDiscriminatorOutput`.

    Raises:
        ValueError: an argument or the images' shape does not fit; TypeError, RuntimeError: their dtype or device does not.
    """

    def __init__(
        self,
        in_channels: int = 3,
        width: int = 16,
        num_layers: int = 5,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, width=width)
        if not isinstance(num_layers, int) or num_layers < 3:
            raise ValueError(f"num_layers must be an integer of at least 3, got {num_layers!r}")
        factory: Factory = {"device": device, "dtype": dtype}
        halvings = num_layers - 2
        # after the halvings 3 positions must be left: 2 after the next convolution, 1 after the last
        self.in_channels, self.smallest = in_channels, 3 * 2**halvings
        widths = [in_channels, *(width * 2**i for i in range(halvings + 1))]
        self.encoder = nn.Sequential()
        for i in range(halvings + 1):
            stride = 2 if i < halvings else 1
            self.encoder.append(_patch_conv(widths[i], widths[i + 1], stride, **factory))
            self.encoder.append(nn.LeakyReLU(0.2))
        self.attention = CAMAttention(widths[-1], "leaky_relu", spectral_norm=True, **factory)
        self.head = _patch_conv(widths[-1], 1, bias=False, **factory)

    def forward(self, images: Tensor) -> UGATITDiscriminatorOutput:
        check_images(self, images, self.in_channels, "H, W", self.smallest)
        attended, logit, heatmap = self.attention(self.encoder(images))  # (B, width·2^(n-2), H' + 1, W' + 1)
        return UGATITDiscriminatorOutput(self.head(attended), logit, heatmap)  # (B, 1, H', W')


class _ConvNormReLU(nn.Sequential):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, **factory: Unpack[Factory]
    ) -> None:
        conv = _reflect_conv(in_channels, out_channels, kernel_size, stride, **factory)
        super().__init__(conv, nn.InstanceNorm2d(out_channels), nn.ReLU())


class _ResidualBlock(TypedModule):
    def __init__(self, channels: int, **factory: Unpack[Factory]) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_ConvNormReLU(channels, channels, 3, **factory),
            _reflect_conv(channels, channels, 3, **factory),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.branch(x)
        return x + change


class _Up(TypedModule):
    def __init__(self, in_channels: int, out_channels: int, **factory: Unpack[Factory]) -> None:
        super().__init__()
        self.conv = _reflect_conv(in_channels, out_channels, 3, **factory)
        self.norm = ILN(out_channels, **factory)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return torch.relu(self.norm(self.conv(F.interpolate(x, size, mode="nearest"))))


def _reflect_conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, **factory: Unpack[Factory]
) -> nn.Conv2d:
    """A convolution that keeps the size (at stride 1), reflects at the border and leaves the shift to the norm after it."""
    padding = kernel_size // 2
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, bias=False, padding_mode="reflect", **factory
    )


def _patch_conv(
    in_channels: int, out_channels: int, stride: int = 1, bias: bool = True, **factory: Unpack[Factory]
) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, 4, stride, 1, bias=bias, padding_mode="reflect", **factory)
    return spectral_norm(conv)
