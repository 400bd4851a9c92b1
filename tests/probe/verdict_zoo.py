"""Modules and functions with the answers that theory gives, written down before anything was measured.

Answers, one letter a question: the same for every image? the same at every position? folds into one plain convolution?
``y`` and ``n`` are what must come out (or "open"); ``o`` is where neither can be claimed: a yes or a no there is wrong.
"""

import torch
import torch.nn.functional as F
from torch import nn

import dynconv as d

C, SIZE = 4, 24


def images(size=SIZE, channels=C, count=6, seed=0):
    """Images that differ in more than noise: in the brightness of each channel, from place to place too."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, channels, size, size, generator=generator)
    return (x + 2 * torch.randn(count, channels, 1, 1, generator=generator)) * torch.linspace(0.2, 1.8, size)


def conv(*args, **kwargs):
    return nn.Conv2d(C, C, *args, **kwargs)


def inside(*modules):
    """A function that shows nothing of the modules in it."""
    return nn.Sequential(*modules).eval().forward


def static(temperature=1.0):
    layer = d.StaticMixConv2d(C, 3, 3, padding=1, temperature=temperature)
    nn.init.normal_(layer.attention.logits, std=temperature)
    return layer


def dynamic():
    return d.DynamicConv2d(C, 3, 3, padding=1, reduction=1, temperature=1.0)


def twin():
    layer = dynamic()
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
        layer.bias.copy_(layer.bias[:1].expand_as(layer.bias))
    return layer


def sparse():
    block = d.SparseBlock(C)
    nn.init.normal_(block.gate.conv.weight)
    return block


def question(activation=lambda y: y):
    weight, logits = torch.randn(4, 3, C, 3, 3), torch.randn(4)
    return lambda x: sum(p * activation(F.conv2d(x, w)) for p, w in zip(logits.softmax(0), weight, strict=True))


def darts():
    class MixedOperation(nn.Module):
        def __init__(self):
            super().__init__()
            self.alpha, self.ops = (
                nn.Parameter(torch.randn(3)),
                nn.ModuleList(conv(k, padding=k // 2) for k in (1, 3, 5)),
            )

        def forward(self, x):
            return sum(p * op(x).relu() for p, op in zip(self.alpha.softmax(0), self.ops, strict=True))

    return MixedOperation()


def random_mix():
    weight = torch.randn(4, 3, C, 3, 3)
    return lambda x: F.conv2d(x, torch.einsum("k,koihw->oihw", torch.randn(4).softmax(0), weight))


def noisy():
    layer = conv(3)
    return lambda x: layer(x) + 0.1 * torch.randn(len(x), C, 22, 22)


def expert_by_argmax():
    weight = torch.randn(C, 3, C, 3, 3)

    def function(x):
        one = F.one_hot(x.mean((2, 3)).argmax(1), C).to(x)
        return sum(one[:, k, None, None, None] * F.conv2d(x, weight[k]) for k in range(C))

    return function


def attentive():
    weight = torch.randn(C, 3, C, 3, 3)

    def function(x):
        kernels = torch.einsum("bk,koihw->boihw", x.mean((2, 3)).softmax(1), weight)
        out = F.conv2d(x.flatten(0, 1)[None], kernels.flatten(0, 1), groups=len(x))
        return out.unflatten(1, (len(x), -1))[0]

    return function


def signed_mix():
    """Unnormalised weights, as in KernelWarehouse: no softmax and no sigmoid is there to be seen."""
    weight, score = torch.randn(3, 3, C, 3, 3), torch.randn(C, 3)

    def function(x):
        a = x.mean((2, 3)) @ score
        return sum(a[:, k, None, None, None] * F.conv2d(x, weight[k]).relu() for k in range(3))

    return function


def branch_on_the_image():
    one, other = conv(3), conv(3)
    return lambda x: torch.cat([(one if image.mean() > 0 else other)(image[None]) for image in x])


def brighter_half():
    """As many positions are open in every image; which, differs."""
    layer = conv(3, padding=1)
    return lambda x: layer(x) * (x > x.flatten(1).median(1).values[:, None, None, None])


class LocallyConnected(nn.Module):
    def __init__(self, activation=lambda y: y):
        super().__init__()
        self.weight, self.activation = nn.Parameter(torch.randn(C, C * 9, (SIZE - 2) ** 2)), activation

    def forward(self, x):
        y = torch.einsum("oil,bil->bol", self.weight, F.unfold(x, 3))
        return self.activation(y.unflatten(2, (SIZE - 2, SIZE - 2)))


class GlobalFilter(nn.Module):
    """GFNet: a filter as large as the image, by the Fourier transform."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(C, SIZE, SIZE // 2 + 1, 2))

    def forward(self, x):
        return torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(self.filter), s=x.shape[2:])


class PositionEmbedding(nn.Module):
    def __init__(self, *after):
        super().__init__()
        self.position, self.after = nn.Parameter(torch.randn(1, C, SIZE, SIZE)), nn.Sequential(*after)

    def forward(self, x):
        return self.after(x + self.position)


class Involution(nn.Module):
    """Li et al., https://arxiv.org/abs/2103.06255: a kernel for each position, computed from it."""

    def __init__(self):
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(C, 4, 1), nn.ReLU(), nn.Conv2d(4, 9, 1))

    def forward(self, x):
        kernel = self.reduce(x)[:, None]  # (B, 1, 9, H, W)
        return (kernel * F.unfold(x, 3, padding=1).unflatten(1, (C, 9)).unflatten(3, x.shape[2:])).sum(2)


class Attention(nn.Module):
    """Self-attention over the positions of an image, by nn.MultiheadAttention."""

    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(C, 2, batch_first=True)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return self.attend(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).unflatten(2, x.shape[2:])


class SAGAN(nn.Module):
    """Zhang et al., https://arxiv.org/abs/1805.08318: γ begins at 0, and then the block is the identity."""

    def __init__(self, gamma):
        super().__init__()
        self.gamma, self.attend = nn.Parameter(torch.tensor(gamma)), Attention()

    def forward(self, x):
        return self.gamma * self.attend(x) + x


class Tokens(nn.Module):
    """A block for tokens, given an image."""

    def __init__(self, block, last=False):
        super().__init__()
        self.block, self.last = block, last

    def forward(self, x):
        if self.last:
            return self.block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.block(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])


def sdpa(x):
    q = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(q, q, q).transpose(1, 2).unflatten(2, x.shape[2:])


def channel_attention(x):
    """Fu et al., https://arxiv.org/abs/1809.02983: a C × C matrix for each image, which is a 1 × 1 convolution."""
    v = x.flatten(2)
    return ((v @ v.transpose(1, 2) / 500).softmax(-1) @ v).unflatten(2, x.shape[2:])


class CBAMSpatial(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x):
        return x * self.conv(torch.cat([x.mean(1, True), x.amax(1, True)], 1)).sigmoid()


class ECA(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x):
        return x * self.conv(x.mean((2, 3))[:, None])[:, 0, :, None, None].sigmoid()


class SpatialTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.localise = nn.Linear(C, 6)

    def forward(self, x):
        theta = self.localise(x.mean((2, 3))).unflatten(1, (2, 3))
        return F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)


class GLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(C, 2 * C, 3, padding=1)

    def forward(self, x):
        value, gate = self.conv(x).chunk(2, 1)
        return value * gate.sigmoid()


class GRN(nn.Module):
    """ConvNeXt V2's global response normalisation, https://arxiv.org/abs/2301.00808, channels last."""

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        norm = x.norm(dim=(1, 2), keepdim=True)
        return (x + x * norm / (norm.mean(-1, keepdim=True) + 1e-6)).permute(0, 3, 1, 2)


class ChannelsLastSE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.conv = nn.Linear(C, C), conv(3, padding=1)

    def forward(self, x):
        x = self.conv(x).relu().permute(0, 2, 3, 1)
        return (x * self.fc(x.mean((1, 2), keepdim=True)).sigmoid()).permute(0, 3, 1, 2)


def deformable(scale):
    from torchvision.ops import DeformConv2d

    class Deformable(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset, self.conv = conv(3, padding=1), DeformConv2d(C, 3, 3, padding=1)
            self.offset = nn.Conv2d(C, 18, 3, padding=1)
            nn.init.normal_(self.offset.weight, std=scale) if scale else nn.init.zeros_(self.offset.weight)
            nn.init.zeros_(self.offset.bias)

        def forward(self, x):
            return self.conv(x, self.offset(x))

    return Deformable()


def generator():
    """DCGAN's: from 1 × 1 to an image."""
    up = [nn.ConvTranspose2d(16, 8, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh()]
    return nn.Sequential(*up), torch.randn(6, 16, 1, 1)


def ugatit():
    """The attention's weights are the same for every image; γ, β and the instance norms are not."""
    return d.UGATITGenerator(width=4, num_blocks=1), images(16, 3)


def torchvision_se():
    from torchvision.ops import SqueezeExcitation

    return SqueezeExcitation(C, C)


def mobilenet():
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small().features[:4], images(32, 3)


def resnet():
    from torchvision.models import resnet18

    net = resnet18()
    return nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1), images(32, 3)


def timm_layer(path, *args, **kwargs):
    import importlib

    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"timm.{module}"), name)(*args, **kwargs)


def timm_condconv():
    layer, route = timm_layer("layers.CondConv2d", C, 3, 3, padding=1, num_experts=4), nn.Linear(C, 4)
    return lambda x: layer(x, route(x.mean((2, 3))).sigmoid())


def randomised(module):
    """With parameters as after training: many layers begin as the identity."""
    for p in module.parameters():
        nn.init.normal_(p, std=0.3)
    return module


def adaptive(size):
    return nn.AdaptiveAvgPool2d(size)


def laplacian(x):
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None].expand(C, 1, 3, 3).to(x)
    return F.conv2d(x, kernel, groups=C)


def to(dtype, build=lambda: conv(3, padding=1)):
    return lambda: (build().to(dtype), images().to(dtype))


def median(x):
    return F.unfold(x, 3).unflatten(1, (C, 9)).median(2).values.unflatten(2, (SIZE - 2, SIZE - 2))


POSITIVE = images().abs() + 0.1
CONSTANT, IDENTICAL = torch.full((6, C, SIZE, SIZE), 0.5), images()[:1].repeat(6, 1, 1, 1)

ZOO = {  # name: (build, answers); build gives a module or function, or it and the batch
    # ------------------------------------------------------------------------------------- one plain convolution
    "plain": (lambda: conv(3, padding=1), "yyy"),
    "identity": (nn.Identity, "yyy"),
    "plus a number": (lambda: lambda x: 2 * x + 3, "yyy"),
    "dilated, inside": (lambda: nn.Sequential(conv(3, dilation=3)), "yyy"),
    "strided": (lambda: conv(3, stride=2, padding=1), "yyy"),
    "1 × 1 at stride 2, in a function": (lambda: inside(conv(1, stride=2)), "yyy"),
    "2 × 5 at stride (2, 1), in a function": (lambda: inside(conv((2, 5), stride=(2, 1), padding=(0, 2))), "yyy"),
    "5 × 5, dilation 2, stride 3, in a function": (lambda: inside(conv(5, stride=3, dilation=2, padding=4)), "yyy"),
    "grouped": (lambda: conv(3, groups=2), "yyy"),
    "depthwise, inside": (lambda: nn.Sequential(conv(5, groups=C, padding=2)), "yyy"),
    "9 × 9, inside": (lambda: nn.Sequential(conv(9, padding=4)), "yyy"),
    "11 × 11, in a function": (lambda: inside(conv(11)), "yyy"),
    "three stacked": (lambda: nn.Sequential(conv(3, padding=1), conv(3, padding=1), conv(3, stride=2)), "yyy"),
    "padded by reflection": (lambda: conv(5, padding=2, padding_mode="reflect"), "yyy"),
    "padded in a circle": (lambda: conv(3, padding=1, padding_mode="circular"), "yyy"),
    "1-d": (lambda: (nn.Conv1d(2, 3, 7, padding=3), torch.randn(4, 2, 40)), "yyy"),
    "3-d, in a function": (lambda: (nn.Conv3d(2, 3, 3, padding=1).forward, torch.randn(4, 2, 9, 8, 10)), "yyy"),
    "branches that add up (ACNet)": (
        lambda: (lambda a, b: lambda x: a(x) + b(x))(conv(3, padding=1), conv((1, 3), padding=(0, 1))),
        "yyy",
    ),
    "mean pooling": (lambda: nn.AvgPool2d(2), "yyy"),
    "mean pooling, 3 at stride 2": (lambda: nn.AvgPool2d(3, 2, padding=1), "yyy"),
    "adaptive pooling that divides": (lambda: adaptive(6), "yyy"),
    "pixel unshuffle": (lambda: nn.PixelUnshuffle(2), "yyy"),
    "BatchNorm in eval": (lambda: nn.Sequential(conv(3), randomised(nn.BatchNorm2d(C))), "yyy"),
    "Dropout (in eval)": (lambda: nn.Sequential(conv(3), nn.Dropout()), "yyy"),
    "the question": (lambda: static(), "yyy"),
    "the question, T = 30": (lambda: static(30.0), "yyy"),
    "the question, as a function": (lambda: question(), "yyy"),
    "U-GAT-IT's attention before its ReLU": (lambda: d.CAMAttention(C, activation="none"), "yyy"),
    "Laplacian of bright images": (lambda: (laplacian, images() + 200), "yyy"),
    "deformable, offsets 0": (lambda: deformable(0.0), "yyy"),
    "SAGAN's block at the start": (lambda: (SAGAN(0.0), images(12)), "yyy"),
    # --------------------------------------------------------------------- static and linear, but not one small one
    "transposed": (lambda: nn.ConvTranspose2d(C, 3, 3, stride=2, padding=1), "yyn"),
    "pixel shuffle": (lambda: nn.Sequential(conv(3, padding=1), nn.PixelShuffle(2)), "yyn"),
    "up, nearest": (lambda: nn.Upsample(scale_factor=2), "yyn"),
    "up, bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), "yyn"),
    "up, bicubic": (lambda: nn.Upsample(scale_factor=2, mode="bicubic"), "yyn"),
    "up, corners aligned": (lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), "ynn"),
    "adaptive pooling that does not divide": (lambda: adaptive(7), "ynn"),
    "spectral": (GlobalFilter, "yyn"),
    "less the image's mean": (lambda: lambda x: x - x.mean((2, 3), keepdim=True), "yyn"),
    "locally connected": (LocallyConnected, "ynn"),
    "position embedding": (PositionEmbedding, "ynn"),
    "position embedding before a convolution": (lambda: PositionEmbedding(conv(3, padding=1)), "ynn"),
    "mirror": (lambda: lambda x: x.flip(-1), "ynn"),
    "global mean": (lambda: adaptive(1), "yoo"),
    "class activation map's head": (lambda: d.CAMHead(C, 5), "yoo"),
    # ----------------------------------------------------------------------------- fixed functions that are not linear
    "ReLU": (nn.ReLU, "oon"),
    "ReLU on positive images": (lambda: (nn.ReLU(), POSITIVE), "oon"),
    "leaky ReLU on positive images": (lambda: (nn.LeakyReLU(0.2), POSITIVE), "oon"),
    "ReLU6 on small images": (lambda: (nn.ReLU6(), POSITIVE / 10), "oon"),
    "a clamp that these images don't reach": (lambda: lambda x: x.clamp(-50, 50), "oon"),
    "GELU": (nn.GELU, "oon"),
    "swish by hand": (lambda: (lambda f: lambda x: f(x) * f(x).sigmoid())(conv(3)), "oon"),
    "square by hand": (lambda: lambda x: x * x, "oon"),
    "convolution and ReLU": (lambda: nn.Sequential(conv(3, padding=1), nn.ReLU(inplace=True)), "oon"),
    "max pooling": (lambda: nn.MaxPool2d(2), "oon"),
    "median of 3 × 3": (lambda: median, "oon"),
    "softmax over channels": (lambda: nn.Softmax(1), "oon"),
    "ResNet's beginning": (resnet, "oon"),
    "DCGAN's generator": (generator, "oon"),
    "softmax mix with ReLU in each branch (DARTS)": (darts, "yyn"),
    "the same as a function": (lambda: question(torch.relu), "yyn"),
    "U-GAT-IT's attention": (lambda: d.CAMAttention(C), "yyn"),
    "locally connected and ReLU": (lambda: LocallyConnected(torch.relu), "onn"),
    # ------------------------------------------------------------------------------------- chance and neighbours
    "dropout in train": (lambda: lambda x: F.dropout(x, 0.3, training=True), "oon"),
    "random weights at every call": (random_mix, "oon"),
    "noise": (noisy, "oon"),
    "BatchNorm in train, as a function": (lambda: lambda x: F.batch_norm(x, None, None, training=True), "oon"),
    "less the batch's mean": (lambda: lambda x: x - x.mean(0), "oon"),
    "the batch turned round": (lambda: lambda x: x.flip(0), "oon"),
    # ------------------------------------------------------------------------- by image, the same at every position
    "Squeeze-and-Excitation": (lambda: d.SqueezeExcitation(C, reduction=1), "nyn"),
    "torchvision's Squeeze-and-Excitation": (torchvision_se, "nyn"),
    "timm's Squeeze-and-Excitation": (lambda: timm_layer("layers.SqueezeExcite", C, rd_channels=C), "nyn"),
    "timm's selective kernel": (lambda: timm_layer("layers.SelectiveKernel", C, 8, rd_channels=8), "nyn"),
    "timm's split attention": (lambda: timm_layer("layers.SplitAttn", C, 8, rd_channels=8), "nyn"),
    "timm's CondConv": (timm_condconv, "nyn"),
    "efficient channel attention": (ECA, "nyn"),
    "channels-last Squeeze-and-Excitation": (ChannelsLastSE, "nyn"),
    "Squeeze-and-Excitation behind 11 × 11": (
        lambda: (
            nn.Sequential(nn.Conv2d(1, 2, 11, padding=5), d.SqueezeExcitation(2, reduction=1)),
            images(channels=1),
        ),
        "nyn",
    ),
    "dynamic convolution": (dynamic, "nyn"),
    "dynamic convolution by hand": (attentive, "nyn"),
    "signed weights, branches with ReLU": (signed_mix, "nyn"),
    "CondConv": (lambda: d.CondConv2d(C, 3, 3, padding=1), "nyn"),
    "ODConv": (lambda: d.ODConv2d(C, 3, 3, padding=1), "nyn"),
    "a kernel by argmax": (expert_by_argmax, "nyn"),
    "an if on the image": (branch_on_the_image, "nyn"),
    "dynamic, but of equal kernels": (twin, "nyy"),
    "GroupNorm": (lambda: nn.GroupNorm(2, C), "nyn"),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(C), "nyn"),
    "divided by the image's contrast": (lambda: lambda x: x / x.std((1, 2, 3), keepdim=True), "nyn"),
    "LayerNorm over the whole image": (lambda: nn.LayerNorm([C, SIZE, SIZE]), "nyn"),
    "global response normalisation": (GRN, "nyn"),
    "attention between channels": (lambda: channel_attention, "nyn"),
    "MobileNetV3's beginning": (mobilenet, "nyn"),
    "U-GAT-IT's generator": (ugatit, "non"),
    # --------------------------------------------------------------------------------------- by image and position
    "spatial gates": (sparse, "nnn"),
    "CBAM's spatial attention": (CBAMSpatial, "nnn"),
    "gated linear unit": (GLU, "nnn"),
    "the brighter half of each image": (brighter_half, "nnn"),
    "involution": (lambda: randomised(Involution()), "nnn"),
    "deformable": (lambda: deformable(0.3), "nnn"),
    "spatial transformer": (lambda: randomised(SpatialTransformer()), "nnn"),
    "multi-head attention": (lambda: (randomised(Attention()), images(8)), "nnn"),
    "scaled dot product attention": (lambda: (sdpa, images(8)), "nnn"),
    "SAGAN's block later": (lambda: (randomised(SAGAN(0.5)), images(8)), "nnn"),
    "LayerNorm at each position": (lambda: Tokens(nn.LayerNorm(C), last=True), "nnn"),
    "ViT's block": (
        lambda: (Tokens(randomised(timm_layer("models.vision_transformer.Block", 8, 2))), images(8, 8)),
        "nnn",
    ),
    "Swin's block": (
        lambda: (
            Tokens(
                randomised(timm_layer("models.swin_transformer.SwinTransformerBlock", 8, (8, 8), 2, window_size=4)),
                last=True,
            ),
            images(8, 8),
        ),
        "nnn",
    ),
    # ------------------------------------------------------------------------------------------------ number formats
    "plain, float16": (to(torch.float16), "yyy"),
    "plain, bfloat16": (to(torch.bfloat16), "yyy"),
    "plain, float64": (to(torch.float64), "yyy"),
    "three stacked, bfloat16": (to(torch.bfloat16, lambda: nn.Sequential(conv(3), conv(3), conv(3))), "yyy"),
    "GroupNorm, float16": (to(torch.float16, lambda: nn.GroupNorm(2, C)), "nyn"),
    "Squeeze-and-Excitation, bfloat16": (to(torch.bfloat16, lambda: d.SqueezeExcitation(C, reduction=1)), "nyn"),
    "ReLU, float16": (to(torch.float16, nn.ReLU), "oon"),
    "dynamic convolution, float64": (to(torch.float64, dynamic), "nyn"),
    # ------------------------------------------------------------------------------------------------------- batches
    "plain on a constant batch": (lambda: (conv(3, padding=1), CONSTANT), "yyy"),
    "ReLU on a constant batch": (lambda: (nn.ReLU(), CONSTANT), "oon"),
    "dynamic on identical images": (lambda: (dynamic(), IDENTICAL), "nyn"),
    "InstanceNorm on a constant batch": (lambda: (nn.InstanceNorm2d(C), CONSTANT), "nyn"),
    "plain on tiny numbers": (lambda: (conv(3, padding=1), images() * 1e-25), "yyy"),
    "plain on huge numbers": (lambda: (conv(3, padding=1), images() * 1e25), "yyy"),
    "ReLU on huge positive numbers": (lambda: (nn.ReLU(), POSITIVE * 1e25), "oon"),
    "soft shrinkage of tiny numbers": (lambda: (nn.Softshrink(), images() * 1e-5), "oon"),
    "1 × 1 images": (lambda: (conv(1), torch.randn(6, C, 1, 1)), "yoo"),
    "two images of 2 × 2": (lambda: (conv(3, padding=1), torch.randn(2, C, 2, 2)), "yoo"),
    "plain on 5 × 5, many channels": (lambda: (nn.Conv2d(8, 3, 3), torch.randn(2, 8, 5, 5)), "yyy"),
    "nothing of the image is left": (lambda: lambda x: torch.zeros_like(x), "ooo"),
}


def build(name):
    """The function and its batch, always the same ones."""
    torch.manual_seed(0)
    made = ZOO[name][0]()
    function, batch = made if isinstance(made, tuple) else (made, images())
    return (function.eval() if isinstance(function, nn.Module) else function), batch
