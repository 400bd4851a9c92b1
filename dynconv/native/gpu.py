"""Tensors in, tensors out: dynamic convolution in Triton, as an operation of torch's.

Reference: Tillet, Kung and Cox, *Triton: an intermediate language and compiler for tiled neural network computations*,
https://doi.org/10.1145/3315508.3329973

Triton comes with torch's builds for NVIDIA's GPUs. A kernel is compiled when it is first needed, in about a second.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .definition import Derivatives, Ints, check_shapes, mix, output_size, through_bias
from .gpu_phases import Steps, grad_input
from .operation import Operation, format_of

__all__ = ["OPERATION", "takes"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
CHANNELS = 16  # in and out, at least: a tensor core's tile
CAPABILITY = (8, 0)  # of the GPU, at least: tensor cores that know bfloat16 and TF32
OFFSETS = 2**30  # numbers of an image, of its outputs or of all kernels, at most: inside, programs count in 32 bits
STACK = 16  # kernels, at most, whose gradients a program holds at once
SIDE = 64  # of the squares that are turned
MULTIPROCESSORS = 132  # about: as many programs as two for each share the gradients' work


class Tiles(NamedTuple):
    """How much one program computes: output channels × positions, so many input channels at a time, by so many warps."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _usable(device: torch.device) -> bool:
    return _found(device)


@functools.cache
def _found(device: torch.device) -> bool:
    if importlib.util.find_spec("triton") is None:
        return False
    if device.type == "cuda":
        return torch.version.cuda is not None and torch.cuda.get_device_capability(device) >= CAPABILITY
    return device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"


def takes(x: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernels take these, in ``dtype``: two dimensions, one group, 16 channels and more, at least one image."""
    return (
        weight.ndim == 5
        and dtype in DTYPES
        and x.shape[0] > 0
        and x.shape[1] == weight.shape[2]
        and min(weight.shape[1:3]) >= CHANNELS
        and weight.shape[0] <= STACK
        and max(x.shape[1:].numel(), x.shape[2:].numel() * weight.shape[1], weight.numel()) < OFFSETS
        and _usable(x.device)
    )


def _forward(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    """(B, C, H, W), (K, O, C, kh, kw), (B, K), (K, O) → (B, O, H', W')."""
    steps = geometry[:3]
    size = output_size(x.shape[2:], weight.shape[3:], *steps)
    return _convolve(x, _by_tap(weight), weight.shape[3:], attention, bias, steps, size, format_of(x))


def _backward(
    x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, grad: Tensor, *rest: Any
) -> Derivatives:
    """From the gradient of the outputs (B, O, H', W') those of the four inputs, each where it is needed."""
    *steps, _, needed = rest
    turned = functools.partial(_turned, format_of(x))
    x, grad = _channels_last(x), _channels_last(grad)
    of_x = grad_input(turned, x, weight, attention, grad, steps) if needed[0] else None
    of_weight, of_attention = _kernel_gradients(x, weight, attention, grad, steps) if any(needed[1:3]) else (None, None)
    of_attention, of_bias = through_bias(attention, bias, grad, of_attention if needed[2] else None, needed[3])
    return of_x, of_weight if needed[1] else None, of_attention, of_bias


def _by_tap(weight: Tensor) -> Tensor:
    """(K, O, C, kh, kw) → (K, taps, O, C)."""
    return weight.flatten(3).permute(0, 3, 1, 2).contiguous()


def _turned(
    layout: torch.memory_format, grad: Tensor, weight: Tensor, attention: Tensor, steps: tuple[Ints, Ints], size: Ints
) -> Tensor:
    kernels = weight.flatten(3).flip(3).permute(0, 3, 2, 1).contiguous()
    return _convolve(grad, kernels, weight.shape[3:], attention, None, ((1, 1), *steps), size, layout)


def _convolve(
    x: Tensor,
    kernels: Tensor,
    taps: Ints,
    attention: Tensor,
    bias: Tensor | None,
    steps: Steps,
    size: Ints,
    layout: torch.memory_format,
) -> Tensor:
    from .gpu_kernels import convolve

    stack, _, outs, channels = kernels.shape
    y = torch.empty(x.shape[0], outs, *size, dtype=x.dtype, device=x.device, memory_format=layout)
    positions = y.shape[2] * y.shape[3]
    mixed = _mixes_first(stack, positions)
    held = 1 if mixed else stack
    tiles = _tiles(outs, positions, channels, x.dtype, held)
    programs = x.shape[0] * -(-positions // tiles.columns) * -(-outs // tiles.rows)
    attention = attention.contiguous()
    with torch.cuda.device_of(x):
        convolve[(programs,)](
            _channels_last(x),
            mix(kernels, attention) if mixed else kernels,
            attention,
            None if bias is None else bias.contiguous(),
            y,
            *(channels, *x.shape[2:], outs, *size, *taps, *(n for pair in steps for n in pair), *_apart(y)),
            STACK=stack,
            MIXED=mixed,
            BIASED=bias is not None,
            PRECISION=_precision(x.dtype),
            **_options(tiles, x, held),
        )
    return y


def _kernel_gradients(
    x: Tensor, weight: Tensor, attention: Tensor, grad: Tensor, steps: Steps
) -> tuple[Tensor, Tensor]:
    """Of the kernels and of the attention; x and grad lie channels last."""
    from .gpu_kernels import kernel_gradients

    stack, outs, channels, *kernel = weight.shape
    kernels, attention = _by_tap(weight), attention.contiguous()
    images, positions = x.shape[0], grad.shape[2] * grad.shape[3]
    tiles = _gradient_tiles(outs, positions, x.dtype, stack)
    blocks = kernels.shape[1] * -(-outs // tiles.rows) * -(-channels // tiles.depth)
    few = -(-images // max(1, min(images, 2 * MULTIPROCESSORS // blocks)))
    parts = -(-images // few)
    of_kernels = torch.empty(parts, *kernels.shape, device=x.device)
    of_attention = torch.empty(blocks, *attention.shape, device=x.device)
    with torch.cuda.device_of(x):
        kernel_gradients[(blocks, parts)](
            x,
            kernels,
            attention,
            grad,
            of_kernels,
            of_attention,
            *(images, channels, *x.shape[2:], outs, *grad.shape[2:], *kernel),
            *(n for pair in steps for n in pair),
            *(*_apart(grad), few),
            STACK=stack,
            PRECISION=_precision(x.dtype),
            **_options(tiles, x, 1),
        )
    of_weight = of_kernels.sum(0).permute(0, 2, 3, 1).reshape(weight.shape)
    return of_weight.to(weight.dtype), of_attention.sum(0).to(attention.dtype)


def _channels_last(x: Tensor) -> Tensor:
    """The images, channel by channel at each position: torch's own copy takes up to five times as long."""
    from .gpu_kernels import channels_last

    if x.is_contiguous(memory_format=torch.channels_last):
        return x
    x, positions = x.contiguous(), x.shape[2] * x.shape[3]
    y = torch.empty_like(x, memory_format=torch.channels_last)
    programs = x.shape[0] * -(-positions // SIDE), -(-x.shape[1] // SIDE)
    with torch.cuda.device_of(x):
        channels_last[programs](x, y, x.shape[1], positions, SIDE=SIDE)
    return y


def _apart(y: Tensor) -> tuple[int, int]:
    """How far apart two channels lie, and two positions."""
    last = format_of(y) == torch.channels_last
    return (1, y.shape[1]) if last else (y.shape[2] * y.shape[3], 1)


def _precision(dtype: torch.dtype) -> str:
    """As torch's own convolutions: TF32 where it is allowed, else three products of TF32, which are float32's to its last bits."""
    return "tf32" if dtype != torch.float32 or torch.backends.cudnn.allow_tf32 else "tf32x3"


def _mixes_first(stack: int, positions: int) -> bool:
    """Whether the images' kernels are mixed into memory beforehand: where many programs would mix the same ones again."""
    return positions * stack > 784  # measured: 14² of four kernels


def _tiles(outs: int, positions: int, channels: int, dtype: torch.dtype, stack: int) -> Tiles:
    """Of :func:`convolve`, for so many kernels in registers, as measured on an H100 (experiments/speed_gpu.md)."""
    single, few_outs = dtype == torch.float32, outs <= 64
    if stack > 1:
        tiles = Tiles(64, 256, 32, 8, 3) if positions > 64 else Tiles(64, 64, 64, 4, 3)
    elif single and (few_outs or channels <= 64):
        tiles = Tiles(64, 128, 32, 4, 3)
    else:
        tiles = Tiles(64, 256, 32, 8, 3) if few_outs else Tiles(128, 128, 64, 8, 3)
    return tiles._replace(depth=min(tiles.depth, 1 << (channels - 1).bit_length()))


def _gradient_tiles(outs: int, positions: int, dtype: torch.dtype, stack: int) -> Tiles:
    """Of :func:`kernel_gradients`: its sums of ``stack`` kernels stay in registers."""
    if stack > 4:
        return Tiles(32, 64, 32, 4, 3)
    if dtype == torch.float32:
        return Tiles(32, 64, 64, 4, 3)
    return Tiles(128, 64, 64, 8, 3) if outs >= 256 and positions > 64 else Tiles(64, 64, 64, 4, 3)


def _options(tiles: Tiles, x: Tensor, stack: int) -> dict[str, int]:
    """What the kernels are told, with no more stages, and no deeper, than the GPU's shared memory holds."""
    rows, columns, depth, warps, stages = tiles
    while stages * (rows * stack + columns) * depth * x.element_size() > _shared_memory(x.device):
        depth, stages = (depth, stages - 1) if stages > 2 else (depth // 2, stages)
    return {"ROWS": rows, "COLUMNS": columns, "DEPTH": depth, "num_warps": warps, "num_stages": stages}


@functools.cache
def _shared_memory(device: torch.device) -> int:
    """Bytes that one program may have."""
    if device.type == "cpu":  # by Triton's interpreter
        return 2**20
    known = torch.cuda.get_device_properties(device)
    return int(getattr(known, "shared_memory_per_block_optin", known.shared_memory_per_block))


def _check(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *rest: Any) -> None:
    *grad, stride, padding, dilation, groups = rest
    given = [t for t in (x, weight, attention, bias, *grad) if t is not None]
    together = all(t.dtype == x.dtype and t.device == x.device for t in given)
    if groups != 1 or not together or not takes(x, weight, x.dtype):
        told = ", ".join(f"{tuple(t.shape)} {t.dtype} on {t.device}" for t in given)
        raise ValueError(
            "dynconv.native.gpu takes tensors of one dtype (float32, bfloat16, float16) on an NVIDIA GPU, x (B, C, H, W), "
            f"weight (K, O, C, kh, kw) of {CHANNELS} channels and more, attention (B, K), got {told}, groups={groups}"
        )
    check_shapes(x, weight, attention, bias, *grad, stride, padding, dilation)


OPERATION = Operation("triton", _forward, _backward, "CompositeExplicitAutograd", _check, layout=format_of)
