"""What others do, as layers that take the place of a dynamic convolution of ours.

- :class:`OneGrouped` is what most public implementations of dynamic convolution do: all kernels are mixed at once, and the
  images are the groups of one convolution. Its attention is made of torch's modules, as theirs is.
- :class:`Routed` is timm's CondConv2d with the routing of timm's blocks: mean, one linear layer, sigmoid.

The one other that comes by pip (fightingcv-attention 1.0.0) does what OneGrouped does, but views its output with the input's
size, which fails at a stride: no network can be built of it. ODConv and KernelWarehouse are published as files to copy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynconv.layers import DynamicConv2d, KernelAttention
from dynconv.layers.kernel_stack import KernelStack
from dynconv.surgery.replace import replace_modules

__all__ = ["PEERS", "OneGrouped", "Routed", "one_grouped", "peers_of", "with_peers"]


def one_grouped(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, geometry: dict) -> Tensor:
    """(B, C, H, W), (K, O, C/g, kh, kw), (B, K), (K, O) → (B, O, H', W'): kernels mixed at once, images as groups.

    Example:
        >>> x, weight, attention = torch.rand(2, 3, 5, 5), torch.rand(4, 6, 3, 3, 3), torch.rand(2, 4)
        >>> one_grouped(x, weight, attention, None, {"padding": 1, "groups": 1}).shape
        torch.Size([2, 6, 5, 5])

    Args:
        x, weight, attention, bias: as in :func:`dynconv.functional.dynamic_conv`.
        geometry: the keyword arguments of conv2d.
    """
    batch, groups = x.shape[0], geometry["groups"]
    kernel = (attention @ weight.flatten(1)).view(-1, *weight.shape[2:])  # (B·O, C/g, kh, kw)
    mixed = None if bias is None else (attention @ bias).flatten()  # (B·O,)
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernel, mixed, **(geometry | {"groups": batch * groups}))
    return y.view(batch, -1, *y.shape[2:])


class OneGrouped(nn.Module):
    """The usual trick, with the kernels and the attention of one of our layers.

    Example:
        >>> layer, x = DynamicConv2d(6, 8, 3, stride=2), torch.rand(2, 6, 9, 9)
        >>> bool(torch.allclose(OneGrouped(layer)(x), layer(x), atol=1e-5))
        True

    Args:
        layer: whose parameters are copied.
    """

    def __init__(self, layer: DynamicConv2d) -> None:
        super().__init__()
        attention = _attention(layer)
        self.shape, self.options = layer.weight.shape, _options(layer)
        self.weight = nn.Parameter(layer.weight.detach().flatten(1).clone())  # (K, O·C/g·kh·kw)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        hidden = attention.fc1.out_features
        fc1, fc2 = nn.Conv2d(layer.in_channels, hidden, 1, bias=False), nn.Conv2d(hidden, layer.num_kernels, 1)
        for new, old in ((fc1, attention.fc1), (fc2, attention.fc2)):
            new.load_state_dict({n: v.reshape(getattr(new, n).shape) for n, v in old.state_dict().items()})
        self.net = nn.Sequential(nn.AdaptiveAvgPool2d(1), fc1, nn.ReLU(inplace=True), fc2, nn.Flatten())
        self.temperature = float(attention.temperature)

    def forward(self, x: Tensor) -> Tensor:
        attention = torch.softmax(self.net(x) / self.temperature, dim=1)  # (B, K)
        return one_grouped(x, self.weight.view(self.shape), attention, self.bias, self.options)


class Routed(nn.Module):
    """timm's CondConv2d with a routing that begins at 1/2 for each kernel: together it computes what the layer does.

    Reference: https://github.com/huggingface/pytorch-image-models, CondConvResidual

    Example:
        >>> conv = nn.Conv2d(6, 8, 3)
        >>> from dynconv.surgery import from_conv
        >>> x = torch.rand(2, 6, 9, 9)
        >>> bool(torch.allclose(Routed(from_conv(conv))(x), conv(x), atol=1e-5))
        True

    Args:
        layer: whose kernels are copied, divided by K/2.
    """

    def __init__(self, layer: DynamicConv2d) -> None:
        from timm.layers import CondConv2d

        super().__init__()
        sizes = layer.in_channels, layer.out_channels, layer.kernel_size
        options = _options(layer) | {"bias": layer.bias is not None, "num_experts": layer.num_kernels}
        self.conv = CondConv2d(*sizes, **options)
        with torch.no_grad():
            self.conv.weight.copy_(2 / layer.num_kernels * layer.weight.flatten(1))
            if layer.bias is not None:
                self.conv.bias.copy_(2 / layer.num_kernels * layer.bias)
        self.routing = nn.Linear(layer.in_channels, layer.num_kernels)
        nn.init.zeros_(self.routing.weight)
        nn.init.zeros_(self.routing.bias)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)  # (B, C)
        return self.conv(x, torch.sigmoid(self.routing(pooled)))


PEERS: dict[str, Callable[[DynamicConv2d], nn.Module]] = {"one grouped convolution": OneGrouped, "timm": Routed}


def peers_of(layer: DynamicConv2d) -> dict[str, nn.Module]:
    """The peers that are there (timm may not be installed), made from one layer.

    Example:
        >>> "one grouped convolution" in peers_of(DynamicConv2d(4, 4, 3))
        True

    Args:
        layer: a dynamic convolution.
    """
    return {name: made for name, peer in PEERS.items() if (made := _made(peer, layer)) is not None}


def with_peers(make: Callable[[], nn.Module]) -> dict[str, nn.Module]:
    """The peers that are there, each in place of all dynamic convolutions of a network.

    Example:
        >>> networks = with_peers(lambda: nn.Sequential(DynamicConv2d(4, 4, 3)))
        >>> type(networks["one grouped convolution"][0]).__name__
        'OneGrouped'

    Args:
        make: gives the network, a new one at each call.
    """
    made = {}
    for name, peer in PEERS.items():
        model = make()
        new = {m: _made(peer, m) for m in model.modules() if isinstance(m, KernelStack)}
        if None not in new.values():
            made[name] = replace_modules(model, new)
    return made


def _made(peer: Callable[[DynamicConv2d], nn.Module], layer: DynamicConv2d) -> nn.Module | None:
    try:
        return peer(layer).to(layer.weight).train(layer.training)
    except ModuleNotFoundError:
        return None


def _attention(layer: DynamicConv2d) -> KernelAttention:
    if not isinstance(layer.attention, KernelAttention):
        raise TypeError(f"a peer has the attention of the paper, got {type(layer.attention).__name__}")
    return layer.attention


def _options(layer: DynamicConv2d) -> dict:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ValueError(f"peers pad with zeros on all sides, got {layer.padding!r}, {layer.padding_mode!r}")
    return {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
