"""Two processes over gloo: gradients of DistributedDataParallel are those of the whole batch in one process."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dynconv import CondConv2d, DynamicConv2d, ODConv2d, SqueezeExcitation, StaticMixConv2d


def a_model():
    torch.manual_seed(0)
    return nn.Sequential(
        DynamicConv2d(3, 8, 3, temperature=2.0), nn.ReLU(), SqueezeExcitation(8, reduction=2), StaticMixConv2d(8, 8, 3),
        nn.ReLU(), CondConv2d(8, 8, 3), ODConv2d(8, 4, 3).eval(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def a_batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 12, 12, generator=generator), torch.randn(4, 4, generator=generator)


def gradients(model, x, target):
    nn.functional.mse_loss(model(x), target).backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


def worker(rank, address, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    x, target = a_batch()
    half = slice(2 * rank, 2 * rank + 2)
    model = DistributedDataParallel(a_model())
    got = gradients(model, x[half], target[half])
    results.put((rank, [g.numpy() for g in got]))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_have_the_gradients_of_the_whole_batch():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{s.getsockname()[1]}"
    context = mp.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=worker, args=(rank, address, results)) for rank in (0, 1)]
    for process in processes:
        process.start()
    got = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    expected = gradients(a_model(), *a_batch())
    assert len(expected) == len(got[0]) == len(got[1]) > 15
    for ours, *theirs in zip(expected, got[0], got[1], strict=True):
        for gradient in theirs:
            torch.testing.assert_close(torch.from_numpy(gradient), ours, atol=1e-5, rtol=1e-4)
