"""Dynamic convolution on a GPU, in Triton: a matrix product whose columns are patches of one image, whose rows are output channels.

A program computes some output channels (rows) at some positions (columns) of one image. The sum runs over the kernel's taps and
the input channels, a block of them at a time: the patches are read where the image lies (channels last), and the K kernels are
mixed in registers on their way into the product. So the mixed kernels of an image never lie in memory.

Kernels lie tap by tap, (K, taps, outs, channels), so that a row of a block is a run of memory.
"""

# ruff: noqa: RUF005 (Triton knows tuples, but no starred ones)

try:
    import triton
    import triton.language as tl
except ModuleNotFoundError:  # torch's builds for other machines come without it: these programs can be read, not run
    from types import SimpleNamespace

    triton = SimpleNamespace(jit=lambda program: program)
    tl = SimpleNamespace(tensor=object, constexpr=object)

__all__ = ["channels_last", "convolve", "kernel_gradients"]


@triton.jit  # type: ignore[untyped-decorator]
def patches(
    x: tl.tensor, p: tl.tensor, tap: tl.tensor, c: tl.tensor, channels: tl.tensor, height: tl.tensor, width: tl.tensor,
    wide: tl.tensor, taps_across: tl.tensor, stride_down: tl.tensor, stride_across: tl.tensor, pad_down: tl.tensor,
    pad_across: tl.tensor, gap_down: tl.tensor, gap_across: tl.tensor, positions: tl.tensor,
) -> tl.tensor:  # fmt: skip
    """(positions, channels): what one tap sees of an image; 0 outside of it."""
    row = p // wide * stride_down - pad_down + tap // taps_across * gap_down
    column = p % wide * stride_across - pad_across + tap % taps_across * gap_across
    seen = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (p < positions)
    where = x + (row * width + column)[:, None] * channels + c[None, :]
    return tl.load(where, mask=seen[:, None] & (c < channels)[None, :], other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def convolve(
    x: tl.tensor, kernels: tl.tensor, attention: tl.tensor, bias: tl.tensor, y: tl.tensor, channels: tl.tensor,
    height: tl.tensor, width: tl.tensor, outs: tl.tensor, high: tl.tensor, wide: tl.tensor, taps_down: tl.tensor,
    taps_across: tl.tensor, stride_down: tl.tensor, stride_across: tl.tensor, pad_down: tl.tensor,
    pad_across: tl.tensor, gap_down: tl.tensor, gap_across: tl.tensor, next_out: tl.tensor, next_position: tl.tensor,
    STACK: tl.constexpr, MIXED: tl.constexpr, BIASED: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
) -> None:  # fmt: skip
    """x (B, H, W, C), kernels (K, taps, O, C), attention (B, K), bias (K, O) → y (B, O, H', W'); MIXED: kernels (B, taps, O, C)."""
    positions, taps, blocks = high * wide, taps_down * taps_across, tl.cdiv(channels, DEPTH)
    across, down = tl.cdiv(positions, COLUMNS), tl.cdiv(outs, ROWS)
    image = (tl.program_id(0) // (across * down)).to(tl.int64)
    p = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
    o = tl.program_id(0) // across % down * ROWS + tl.arange(0, ROWS)
    x += image * height * width * channels
    one = taps * outs * channels
    shares = (tl.load(attention + image * STACK).to(tl.float32),)
    for k in tl.static_range(1, STACK):
        shares = shares + (tl.load(attention + image * STACK + k).to(tl.float32),)  # type: ignore[assignment]
    if MIXED:
        kernels += image * one
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for step in range(taps * blocks):
        tap, c = step // blocks, step % blocks * DEPTH + tl.arange(0, DEPTH)
        patch = patches(
            x, p, tap, c, channels, height, width, wide, taps_across,
            stride_down, stride_across, pad_down, pad_across, gap_down, gap_across, positions,
        )  # fmt: skip
        where = kernels + (tap * outs + o)[:, None] * channels + c[None, :]
        there = (o < outs)[:, None] & (c < channels)[None, :]
        kernel = tl.load(where, mask=there, other=0.0)
        if not MIXED:
            mixed = shares[0] * kernel.to(tl.float32)
            for k in tl.static_range(1, STACK):
                mixed += shares[k] * tl.load(where + k * one, mask=there, other=0.0).to(tl.float32)
            kernel = mixed.to(x.dtype.element_ty)
        total = tl.dot(kernel, tl.trans(patch), total, input_precision=PRECISION)
    if BIASED:
        for k in tl.static_range(STACK):
            total += shares[k] * tl.load(bias + k * outs + o, mask=o < outs, other=0.0).to(tl.float32)[:, None]
    where = y + image * outs * positions + o[:, None] * next_out + p[None, :] * next_position
    tl.store(where, total.to(y.dtype.element_ty), mask=(o < outs)[:, None] & (p < positions)[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def kernel_gradients(
    x: tl.tensor, kernels: tl.tensor, attention: tl.tensor, grad: tl.tensor, of_kernels: tl.tensor,
    of_attention: tl.tensor, images: tl.tensor, channels: tl.tensor, height: tl.tensor, width: tl.tensor,
    outs: tl.tensor, high: tl.tensor, wide: tl.tensor, taps_down: tl.tensor, taps_across: tl.tensor,
    stride_down: tl.tensor, stride_across: tl.tensor, pad_down: tl.tensor, pad_across: tl.tensor, gap_down: tl.tensor,
    gap_across: tl.tensor, next_out: tl.tensor, next_position: tl.tensor, few: tl.tensor, STACK: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
) -> None:  # fmt: skip
    """A block (outs × channels) of one tap, over ``few`` images, whose parts are added afterwards: the same sums every time.

    grad (B, O, H', W') → of_kernels (parts, K, taps, O, C) and of_attention (blocks, B, K): the gradient of an image's mixed
    kernel is a product of grad and patches; its shares are the gradients of the kernels, and its products with them those of
    the attention.
    """
    positions, taps, blocks = high * wide, taps_down * taps_across, tl.cdiv(channels, DEPTH)
    block, part = tl.program_id(0), tl.program_id(1)
    tap = block % taps
    c = block // taps % blocks * DEPTH + tl.arange(0, DEPTH)
    o = block // taps // blocks * ROWS + tl.arange(0, ROWS)
    one = taps * outs * channels
    where = (tap * outs + o)[:, None] * channels + c[None, :]
    there = (o < outs)[:, None] & (c < channels)[None, :]
    mixed = (tl.load(kernels + where, mask=there, other=0.0),)
    totals = (tl.zeros((ROWS, DEPTH), tl.float32),)
    for k in tl.static_range(1, STACK):
        mixed = mixed + (tl.load(kernels + k * one + where, mask=there, other=0.0),)  # type: ignore[assignment]
        totals = totals + (tl.zeros((ROWS, DEPTH), tl.float32),)  # type: ignore[assignment]
    for later in range(tl.minimum(few, images - part * few)):
        image = part * few + later
        far, mine = image.to(tl.int64), tl.zeros((ROWS, DEPTH), tl.float32)
        for first in range(0, positions, COLUMNS):
            p = first + tl.arange(0, COLUMNS)
            patch = patches(
                x + far * height * width * channels, p, tap, c, channels, height, width, wide, taps_across,
                stride_down, stride_across, pad_down, pad_across, gap_down, gap_across, positions,
            )  # fmt: skip
            seen = grad + far * outs * positions + o[:, None] * next_out + p[None, :] * next_position
            g = tl.load(seen, mask=(o < outs)[:, None] & (p < positions)[None, :], other=0.0)
            mine = tl.dot(g, patch, mine, input_precision=PRECISION)
        after = ()
        for k in tl.static_range(STACK):
            after = after + (totals[k] + tl.load(attention + image * STACK + k).to(tl.float32) * mine,)  # type: ignore[assignment]
            product = tl.sum(mine * mixed[k].to(tl.float32))
            tl.store(of_attention + (block * images + image) * STACK + k, product)
        totals = after  # type: ignore[assignment]
    of_kernels += part.to(tl.int64) * STACK * one
    for k in tl.static_range(STACK):
        tl.store(of_kernels + k * one + where, totals[k], mask=there)


@triton.jit  # type: ignore[untyped-decorator]
def channels_last(
    x: tl.tensor, y: tl.tensor, channels: tl.tensor, positions: tl.tensor, SIDE: tl.constexpr,
) -> None:  # fmt: skip
    """x (B, C, H·W) → y (B, H·W, C), a square of SIDE × SIDE a program."""
    across = tl.cdiv(positions, SIDE)
    far = (tl.program_id(0) // across).to(tl.int64) * channels * positions
    p = tl.program_id(0) % across * SIDE + tl.arange(0, SIDE)
    c = tl.program_id(1) * SIDE + tl.arange(0, SIDE)
    there = (c < channels)[:, None] & (p < positions)[None, :]
    square = tl.load(x + far + c[:, None] * positions + p[None, :], mask=there, other=0.0)
    tl.store(y + far + p[:, None] * channels + c[None, :], tl.trans(square), mask=tl.trans(there))
