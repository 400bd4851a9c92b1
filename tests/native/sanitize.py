"""The C++ under AddressSanitizer and UndefinedBehaviorSanitizer, on random geometries: python -m tests.native.sanitize [400]

It is compiled anew with both, loaded into a process of its own, and compared with the definition; the first bad access ends it.
"""

import ctypes
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from dynconv import native
from dynconv.native import building
from tests.native.geometries import (
    a_block,
    a_gate,
    a_geometry,
    branch_of,
    branch_of_double,
    output_and_gradients,
    scores_of_double,
)

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1")
SETTINGS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",  # Python itself leaves much behind
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "OMP_WAIT_POLICY": "passive",
}


def main(count: int) -> int:
    compiler = building._compiler()
    flags = [flag for flag in building.FLAGS if flag != "-O3"]
    sources = [str(path) for path in building.SOURCES if path.suffix == ".cpp"]
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder, "sanitized.so"))
        subprocess.run([*compiler, *flags, *SANITIZE, *sources, "-o", library], check=True)
        names = ("libasan.so", "libubsan.so", "libstdc++.so")  # of these three the first must be loaded first of all
        found = [subprocess.check_output([*compiler, f"-print-file-name={name}"], text=True).strip() for name in names]
        command = [sys.executable, "-m", "tests.native.sanitize", "--in", library, str(count)]
        return subprocess.run(command, env={**os.environ, **SETTINGS, "LD_PRELOAD": ":".join(found)}).returncode


def inside(path: str, count: int) -> None:
    """In the process that has the sanitizers."""
    loaded = ctypes.CDLL(path)
    loaded.dynconv_forward.argtypes = loaded.dynconv_backward.argtypes = [ctypes.c_void_p]
    loaded.dynconv_take.restype = ctypes.c_void_p
    for name in ("give", "release", "gate", "perceptron_forward", "perceptron_backward"):
        getattr(loaded, f"dynconv_{name}").restype = None
    native.convolution.library = lambda: loaded
    for name in ("scores", "sparse"):
        importlib.import_module(f"dynconv.native.{name}").library = lambda: loaded
    for seed in range(count):
        tensors, options = a_geometry(seed)
        torch.set_num_threads(1 + seed % 3)
        found = output_and_gradients(tensors, options, "native")
        expected = output_and_gradients([t.double() for t in tensors], options, "outputs")
        for ours, theirs in zip(found, expected, strict=True):
            scale = theirs.abs().max().clamp(min=1)
            torch.testing.assert_close(
                ours.double() / scale, theirs / scale, atol=1e-4, rtol=0
            )  # inputs are not scaled
        x, weight = (t.flatten(1)[:, : 1 + seed].requires_grad_() for t in (tensors[0], tensors[1].flatten(0, 1)))
        if x.shape[1] == weight.shape[1]:
            native.perceptron(x, weight, weight[:, 0].contiguous()).square().sum().backward()
        with torch.no_grad():
            gate, x = a_gate(seed)
            torch.testing.assert_close(gate.logits(x), scores_of_double(gate, x).float(), atol=1e-4, rtol=1e-4)
            block, x, gate = a_block(seed)
            for always in (True, False):
                ours, theirs = branch_of(block, x, gate, always), branch_of_double(block, x, gate).float()
                torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        if seed % 50 == 49:
            print(f"{seed + 1} done", flush=True)
        native.release()  # so that the next begins with memory whose ends are watched
    print(f"{count} geometries, forward and backward: nothing found")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in"]:
        inside(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 400))
