"""The three networks that the package rapidocr-onnxruntime carries, as PyTorch modules.

PaddleOCR's: where is text (PP-OCRv4's detector), is a line upside down (version 2's classifier), what does it say
(PP-OCRv4's recogniser). Apache-2.0. Only the files are read, the package is not imported.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import numpy as np
from torch import Tensor, nn

__all__ = ["SHAPES", "characters", "network"]

FILES = {
    "direction": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "detector": "ch_PP-OCRv4_det_infer.onnx",
    "recogniser": "ch_PP-OCRv4_rec_infer.onnx",
}
SHAPES = {"direction": (3, 48, 192), "detector": (3, 320, 320), "recogniser": (3, 48, 320)}
MISSING = "the trained networks need three packages: pip install onnx onnx2torch 'rapidocr-onnxruntime>=1.4' (Python below 3.13)"


def network(name: str) -> nn.Module:
    """One of the networks, in eval mode: a graph of torch's modules with the package's weights.

    Reference: Du et al., *PP-OCR*, https://arxiv.org/abs/2009.09941, https://github.com/PaddlePaddle/PaddleOCR;
    https://github.com/RapidAI/RapidOCR; https://github.com/ENOT-AutoDL/onnx2torch

    Args:
        name: "direction": (B, 3, 48, 192) → probabilities (B, 2), upright and upside down; "detector": (B, 3, H, W), of sides
            that 32 divides → probability of text (B, 1, H, W); "recogniser": (B, 3, 48, W) → (B, W/8, classes).

    Raises:
        ValueError: another name; ImportError: a package is missing, and how to install it.
    """
    try:
        import onnx
        from onnx2torch import convert
    except ModuleNotFoundError:
        raise ImportError(MISSING) from None
    model = _with_constants_computed(_load(name))
    normed = [node.input[0] for node in model.graph.node if node.op_type == "BatchNormalization"]
    for each in normed:  # the converter asks how many axes these have, and images have four
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, [None] * 4))
    module = convert(model).eval()
    for path, part in list(module.named_modules()):
        if type(part).__name__ == "OnnxSlice":  # it indexes by a list, which torch gives up
            module.set_submodule(path, _Slice())
    return module


def characters() -> list[str]:
    """What the recogniser's classes stand for: "" for none, as CTC needs it, then its characters, a space at the end."""
    (listed,) = [entry.value for entry in _load("recogniser").metadata_props if entry.key == "character"]
    return ["", *listed.splitlines(), " "]


class _Slice(nn.Module):
    """https://onnx.ai/onnx/operators/onnx__Slice.html"""

    def forward(
        self, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
    ) -> Tensor:
        index = [slice(None)] * x.ndim
        given = axes.tolist() if axes is not None else range(len(starts))
        by = steps.tolist() if steps is not None else [1] * len(starts)
        for axis, start, end, step in zip(given, starts.tolist(), ends.tolist(), by, strict=True):
            index[axis] = slice(start, end, step)
        return x[tuple(index)]


def _load(name: str) -> Any:
    if name not in FILES:
        raise ValueError(f"network must be one of {', '.join(map(repr, FILES))}, got {name!r}")
    try:
        import onnx

        package = distribution("rapidocr-onnxruntime")
        (path,) = [file for file in package.files or () if file.name == FILES[name]]
    except (ModuleNotFoundError, PackageNotFoundError):
        raise ImportError(MISSING) from None
    return onnx.load(str(package.locate_file(path)))


def _with_constants_computed(model: Any) -> Any:
    """Whatever no input has a part in becomes an initializer: the converter reads weights from nowhere else."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    known: dict[str, np.ndarray] = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if all(name in known for name in node.input):
            results = ReferenceEvaluator(node).run(None, {name: known[name] for name in node.input})
            known.update(zip(node.output, map(np.asarray, results), strict=True))
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input if name in known}
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(known[name], name) for name in sorted(used))
    return model
