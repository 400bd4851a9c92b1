"""Where a layer's weights pass by: the one place at which `dynconv.probe` reads them and puts others in."""

from __future__ import annotations

from torch import Tensor, nn

from .layer import Layer

__all__: list[str] = []


class Weighting(Layer):
    """Passes the weights of a layer on unchanged.

    A module is a *weighting* if it has the two attributes below; `KernelAttention` is one too. Its output is what the
    layer weighs with, so a forward hook on it sees the weights, and can replace them.

    Args:
        over: what each weight belongs to: "kernels", "branches", "channels", "filters", "taps" (places in the kernel), "positions"
            (places in the image) or "classes".
        batched: whether the first dimension is the image; False for weights that no image has a part in.
    """

    def __init__(self, over: str, batched: bool = True) -> None:
        super().__init__()
        self.over, self.batched = over, batched

    def forward(self, weights: Tensor) -> Tensor:
        return weights

    def extra_repr(self) -> str:
        return f"over={self.over!r}, batched={self.batched}"


def weightings(model: nn.Module) -> dict[str, nn.Module]:
    """Every weighting of ``model`` by its dotted name; whatever a mix of kernels uses as ``attention`` is one."""
    # torch.compile's wrapper answers for the module that it wraps: that one alone counts
    modules = {name: module for name, module in model.named_modules() if "_orig_mod" not in module._modules}
    found = {name: module for name, module in modules.items() if isinstance(getattr(module, "over", None), str)}
    for name, module in modules.items():
        if getattr(module, "mixes_kernels", False):
            whole = f"{name}.attention" if name else "attention"
            # an attention made of parts gives the same weights as the part at its end: they are found once
            parts = [n for n, m in found.items() if n.startswith(f"{whole}.") and m.over == "kernels"]
            found = {n: m for n, m in found.items() if n not in parts} | {whole: module.attention}
    return dict(sorted(found.items()))
