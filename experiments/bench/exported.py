"""Networks exported to ONNX and run by onnxruntime."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from .networks import networks

__all__ = ["exported_runs"]


def exported_runs(
    name: str, num_kernels: int, images: Tensor, free: bool, threads: int
) -> Mapping[str, Callable[[], object]]:
    """The "static" network and the "dynamic" one, with the peers where the batch is fixed → one inference of onnxruntime.

    With a free batch the peers cannot be exported: the number of groups of their convolution is the batch, and in ONNX that is
    one fixed number.

    Reference: https://onnx.ai/onnx/operators/onnx__Conv.html

    Args:
        name, num_kernels: as in :func:`experiments.bench.networks.networks`.
        images: what is run; (B, 3, H, W).
        free: the graph takes any number of images, instead of these only.
        threads: of onnxruntime.
    """
    models = networks(name, num_kernels, peers=not free)
    return {kind: _run(_graph(model.eval(), images, free), images, threads) for kind, model in models.items()}


def _graph(model: nn.Module, images: Tensor, free: bool) -> bytes:
    shapes = ({0: torch.export.Dim("batch")},) if free else None
    given = images if images.shape[0] > 1 or not free else images.expand(2, -1, -1, -1)  # one image fixes the batch
    program = torch.onnx.export(model, (given,), dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    return file.getvalue()


def _run(graph: bytes, images: Tensor, threads: int) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return partial(session.run, None, {given.name: images.numpy()})
