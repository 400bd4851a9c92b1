"""What a model weighs with is seen as it is, can be exchanged, and no hook stays behind."""

import asyncio
import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Thread

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dynconv import CondConv2d, DynamicConv2d, KernelAttention, SpatialGate, SqueezeExcitation, StaticMixConv2d
from dynconv.functional import dynamic_conv, mix_kernels
from dynconv.probe import MODES, intervene, record
from dynconv.surgery import fold


def a_model():
    return nn.Sequential(
        DynamicConv2d(3, 4, 3, num_kernels=3, temperature=0.1), nn.ReLU(), StaticMixConv2d(4, 4, 3, num_kernels=2)
    ).double()


class Brightness(nn.Module):
    """Attention by brightness: no two of the images get the same."""

    def forward(self, x):
        return torch.softmax(torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1), 1)


def images(n=5):
    # each image at a brightness of its own: the squeeze sees channel means, and nothing else
    return torch.randn(n, 3, 9, 9, dtype=torch.float64) + torch.linspace(-2, 2, n, dtype=torch.float64).view(
        -1, 1, 1, 1
    )


def hooks(model):
    return sum(len(v) for m in model.modules() for k, v in vars(m).items() if k.endswith("_hooks"))


def test_a_recording_is_what_the_layers_used():
    model, x = a_model(), images()
    with record(model) as seen:
        expected = model(x)
        model(x[:2])
    assert list(seen) == ["0.attention", "2.attention"]
    assert [len(b) for b in seen["0"].batches] == [5, 2]
    torch.testing.assert_close(seen["0"].weights, torch.cat([model[0].attention(x), model[0].attention(x[:2])]))
    torch.testing.assert_close(seen["2"].weights, model[2].attention())
    assert (seen["0"].over, seen["0"].batched, seen["2"].batched) == ("kernels", True, False)
    # the recorded kernels, image by image, give back the output
    rows = [nn.functional.conv2d(x[b : b + 1], seen["0"].kernels[b], bias) for b, bias in
            enumerate(mix_kernels(model[0].bias, seen["0"].weights)[:5])]  # fmt: skip
    torch.testing.assert_close(
        nn.functional.conv2d(torch.relu(torch.cat(rows)), seen["2"].kernels, model[2].fold().bias), expected
    )
    assert not seen["0"].weights.requires_grad
    with pytest.raises(KeyError, match="'1' fits"):
        seen["1"]


@pytest.mark.parametrize("context", [record, lambda m: intervene(m, "uniform")], ids=["record", "intervene"])
def test_hooks_are_removed_also_after_an_error_and_the_mode_stays(context):
    model = a_model().train()
    model[0].eval()
    modes = [m.training for m in model.modules()]

    def fail(module):
        with context(module):
            assert hooks(module) == 2
            raise RuntimeError("on purpose")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="on purpose"):
            fail(model)
        with context(model):
            model(images())
        assert hooks(model) == 0
    assert [m.training for m in model.modules()] == modes


def test_every_intervention_is_what_it_says():
    layer, x = a_model()[0], images()
    pi = layer.attention(x)
    k, n = layer.num_kernels, len(x)
    expected = {
        "uniform": torch.full_like(pi, 1 / k),
        "argmax": nn.functional.one_hot(pi.argmax(1), k).double(),
        "frozen": pi.mean(0).expand(n, k),
    }
    for mode, weights in expected.items():
        with intervene(layer, mode), record(layer) as seen:
            y = layer(x)
        torch.testing.assert_close(seen[""].weights, weights)
        torch.testing.assert_close(y, dynamic_conv(x, layer.weight, weights, layer.bias))
    torch.testing.assert_close(layer(x), dynamic_conv(x, layer.weight, pi, layer.bias))  # and then all is as before


def test_shuffled_gives_everyone_anothers_and_every_layer_the_same():
    model, x = (
        nn.Sequential(
            *[DynamicConv2d(3, 3, 3, padding=1, num_kernels=2, attention=Brightness()) for _ in range(2)]
        ).double(),
        images(),
    )
    with intervene(model, "shuffled", seed=3), record(model) as seen:
        model(x)
    own = model[0].attention(x)
    got = seen["0"].weights
    source = [next(j for j in range(5) if torch.equal(own[j], row)) for row in got]
    assert sorted(source) == list(range(5))
    assert all(i != j for i, j in enumerate(source))
    with intervene(model, "shuffled", layers="1", seed=3), record(model) as only:
        model(x)
    own = model[1].attention(model[0](x))
    assert [next(j for j in range(5) if torch.equal(own[j], row)) for row in only["1"].weights] == source


def test_frozen_stays_at_the_first_batch_and_is_what_fold_folds():
    model, x = a_model(), images()
    pi = model[0].attention(x).mean(0)
    with intervene(model, "frozen"):
        model(x)
        y = model(x[:1])
    torch.testing.assert_close(fold(model, {"0": pi})(x[:1]), y)
    with intervene(model, "uniform", layers="0"):
        y = model(x)
    torch.testing.assert_close(fold(model, "uniform")(x), y)


def test_given_attention_for_one_or_all():
    model, x = a_model(), images()
    pi = torch.tensor([0.2, 0.3, 0.5])
    with intervene(model, "given", attention={"0": pi}), record(model) as seen:
        model(x)
    torch.testing.assert_close(seen["0"].weights, pi.double().expand(5, 3))
    rows = torch.softmax(torch.randn(5, 3, dtype=torch.float64), 1)
    with intervene(model[0], "given", attention=rows):
        torch.testing.assert_close(model[0](x), dynamic_conv(x, model[0].weight, rows, model[0].bias))


def test_an_intervention_changes_a_static_mix_only_where_it_can():
    mix, x = StaticMixConv2d(3, 4, 3).double(), images()
    nn.init.normal_(mix.attention.logits)
    y = mix(x)
    for mode, changes in (("shuffled", False), ("frozen", False), ("uniform", True), ("argmax", True)):
        with intervene(mix, mode):
            assert torch.allclose(mix(x), y) != changes


def test_gradients_flow_through_an_intervention():
    layer = a_model()[0]
    with intervene(layer, "uniform"):
        layer(images()).sum().backward()
    assert layer.weight.grad.abs().min() > 0


def test_any_module_can_be_the_attention():
    layer, x = DynamicConv2d(3, 4, 3, num_kernels=2, attention=Brightness()).double(), images()
    with record(layer) as seen:
        layer(x)
    torch.testing.assert_close(seen["attention"].weights, Brightness()(x))


def test_bad_arguments():
    model, x = a_model(), images()
    for arguments, message in (
        (("loudest",), "mode must be one of 'uniform', .*, got 'loudest'"),
        (("given",), "attention goes with mode 'given'"),
        (("uniform", "7"), "no weighting is named '7'; there are: 0.attention, 2.attention"),
    ):
        with pytest.raises(ValueError, match=message), intervene(model, *arguments):
            pass
    with pytest.raises(ValueError, match="ReLU has no weights to intervene on"), intervene(nn.ReLU(), "uniform"):
        pass
    with (
        pytest.raises(ValueError, match=r"must be \(5, 3\).*got \(4,\)"),
        intervene(model, "given", "0", attention=torch.ones(4)),
    ):
        model(x)
    with record(model) as seen:
        pass
    with pytest.raises(ValueError, match="did not run"):
        _ = seen["0"].weights
    with record(KernelAttention(3)) as seen:
        pass
    with pytest.raises(ValueError, match="only a mix of K kernels"):
        _ = seen[""].kernels


def test_an_empty_batch_passes_every_mode():
    model = a_model()
    for mode in ("uniform", "argmax", "frozen"):
        with intervene(copy.deepcopy(model), mode):
            assert model(images()[:0]).shape == (0, 4, 5, 5)
    assert len(MODES) == 5


def test_an_attention_made_of_parts_is_one_weighting():
    """Found twice it would be shuffled twice: with two images, not at all."""
    parts = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), KernelAttention(6, 4, temperature=0.1))
    scale = torch.tensor([0.1, 10.0]).reshape(2, 1, 1, 1)
    layer, x = DynamicConv2d(3, 5, 3, attention=parts), scale * torch.randn(2, 3, 9, 9)
    with record(layer) as seen:
        y = layer(x)
    assert list(dict(seen)) == ["attention"]
    assert seen["attention"].kernels.shape == (2, 5, 3, 3, 3)
    with intervene(layer, "shuffled"):
        swapped = layer(x)
    expected = dynamic_conv(x, layer.weight, seen["attention"].weights.flip(0), layer.bias)
    torch.testing.assert_close(swapped, expected)
    assert not torch.allclose(swapped, y, atol=1e-3)


@pytest.mark.parametrize(
    "wrap", [torch.compile, lambda m, **options: m.compile(**options) or m], ids=["wrapped", "inside"]
)
def test_a_compiled_model_that_ran_before_is_seen_and_changed(wrap):
    """Its graph holds no hooks: it has to be left for as long as there are some."""
    plain, x = a_model(), images()
    model = wrap(copy.deepcopy(plain), backend="eager")
    y = model(x)
    with record(plain) as expected:
        plain(x)
    with record(model) as seen:
        model(x)
    assert len(seen) == len(expected) == 2
    for ours, theirs in zip(seen.values(), expected.values(), strict=True):
        torch.testing.assert_close(ours.weights, theirs.weights)
    with intervene(plain, "uniform"):
        uniform = plain(x)
    with intervene(model, "uniform"):
        torch.testing.assert_close(model(x), uniform)
    torch.testing.assert_close(model(x), y)
    assert not torch.allclose(uniform, y)


def test_a_compiled_layer_is_one_weighting():
    layer = DynamicConv2d(3, 4, 3, num_kernels=2)
    with record(torch.compile(layer, backend="eager")) as seen:
        pass
    assert list(seen) == ["_orig_mod.attention"]
    with record(torch.compile(KernelAttention(3), backend="eager")) as seen:
        pass
    assert list(seen) == ["_orig_mod"]


# ------------------------------------------------------------------------------------------- weights as they are used


@pytest.mark.parametrize("make", [lambda: CondConv2d(3, 4, 3, num_kernels=3), lambda: SqueezeExcitation(3)])
def test_argmax_keeps_the_sum_of_weights_that_do_not_sum_to_one(make):
    layer, x = make().double(), images()
    with record(layer) as own:
        layer(x)
    with intervene(layer, "argmax"), record(layer) as seen:
        layer(x)
    (own,), (seen,) = own.values(), seen.values()
    assert (own.weights.sum(1) - 1).abs().max() > 0.1
    torch.testing.assert_close(seen.weights.sum(1), own.weights.sum(1))
    assert ((seen.weights != 0).sum(1) == 1).all()
    assert torch.equal(seen.weights.argmax(1), own.weights.argmax(1))


def test_a_recording_is_not_changed_by_what_is_done_to_the_weights_later():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = KernelAttention(3)

        def forward(self, x):
            return self.attention(x).mul_(0)

    model = InPlace()
    with torch.no_grad(), record(model) as seen:
        model(torch.randn(2, 3, 5, 5))
    assert seen["attention"].weights.min() > 0


def test_what_is_recorded_is_what_is_used_whichever_block_came_first():
    layer, x = a_model()[0], images()
    own = layer.attention(x)
    with (
        record(layer) as before,
        intervene(layer, "shuffled", seed=3),
        record(layer) as between,
        intervene(layer, "argmax"),
    ):
        layer(x)
        with record(layer) as after:
            layer(x)
    expected = nn.functional.one_hot(own.argmax(1), 3).double()
    perm = torch.randperm(5, generator=torch.Generator().manual_seed(3))
    expected = torch.empty_like(expected).index_copy(0, perm, expected[perm.roll(-1)])
    for seen, runs in ((before, 2), (between, 2), (after, 1)):
        torch.testing.assert_close(seen[""].weights, expected.repeat(runs, 1))


def test_blocks_may_overlap_and_end_in_any_order():
    layer, x = a_model()[0], images()
    y, first, second, third = layer(x), ExitStack(), ExitStack(), ExitStack()
    a = first.enter_context(record(layer))
    layer(x)
    second.enter_context(intervene(layer, "uniform"))
    b = third.enter_context(record(layer))
    layer(x)
    first.close()
    layer(x)
    second.close()
    torch.testing.assert_close(layer(x), y)
    third.close()
    assert ([len(r[""].batches) for r in (a, b)], hooks(layer)) == ([2, 3], 0)
    torch.testing.assert_close(b[""].batches[0], torch.full((5, 3), 1 / 3, dtype=torch.float64))
    torch.testing.assert_close(b[""].batches[2], layer.attention(x))
    assert type(layer.attention) is KernelAttention


def test_attention_that_layers_share_is_changed_once_and_mixes_the_kernels_of_each():
    shared = Brightness()
    model = nn.Sequential(
        *[DynamicConv2d(3, 3, 3, padding=1, num_kernels=2, attention=shared) for _ in range(2)]
    ).double()
    x = images(2)
    with intervene(model, "shuffled"), record(model) as seen:  # twice, two images would have their own again
        model(x)
    torch.testing.assert_close(seen["0"].batches[0], shared(x).flip(0))
    assert len(seen["0"].batches) == len(seen["1"].batches) == 2
    for name, layer in (("0", model[0]), ("1", model[1])):
        torch.testing.assert_close(seen[name].kernels, mix_kernels(layer.weight.detach(), seen[name].weights))


def test_batches_of_several_image_sizes():
    gate, layer = SpatialGate(3).eval(), DynamicConv2d(3, 4, 3)
    with record(gate) as seen, record(layer) as mixed:
        for size in ((12, 12), (7, 9)):
            gate(torch.randn(2, 3, *size))
            layer(torch.randn(2, 3, *size))
    assert [b.shape for b in seen[""].batches] == [(2, 1, 12, 12), (2, 1, 7, 9)]
    with pytest.raises(
        ValueError, match=r"of '' are of several sizes, \(1, 12, 12\) and \(1, 7, 9\): read its `batches`"
    ):
        _ = seen[""].weights
    assert mixed["attention"].weights.shape == (4, 4)
    with intervene(gate, "frozen"):
        gate(torch.randn(2, 3, 12, 12))
        with pytest.raises(ValueError, match=r"'' was frozen at weights \(1, 12, 12\), got \(1, 7, 9\)"):
            gate(torch.randn(2, 3, 7, 9))


# ------------------------------------------------------------------------------------------------------ shuffling


class Positions(nn.Module):
    """One layer sees the images; another one an embedding, which is the same for all of them."""

    def __init__(self):
        super().__init__()
        self.body, self.embedding = DynamicConv2d(3, 3, 1, temperature=0.1), DynamicConv2d(3, 3, 1)

    def forward(self, x):
        return self.body(x) + self.embedding(torch.ones(1, 3, 9, 9, dtype=x.dtype))


def test_shuffling_leaves_a_layer_that_never_sees_the_batch():
    model, x = Positions().double(), images()
    with record(model) as own:
        model(x)
    with intervene(model, "shuffled"), record(model) as seen:
        model(x)
    torch.testing.assert_close(seen["embedding"].weights, own["embedding"].weights)
    assert not torch.allclose(seen["body"].weights, own["body"].weights)


def test_shuffling_a_batch_of_one_names_the_layers():
    model, x = a_model(), images()
    with (
        pytest.raises(ValueError, match=r"at least 2 images in a batch, got 1 in '0.attention'"),
        intervene(model, "shuffled"),
    ):
        model(x[:1])
    with intervene(model, "shuffled"):
        model(x[:2])
        with pytest.raises(ValueError, match=r"shuffling '0\.attention' needs at least 2 images in a batch, got 1"):
            model(x[4:])  # the last batch of a loop
    with intervene(model, "shuffled"):
        assert model(x[:0]).shape == (0, 4, 5, 5)

    def fail():
        with intervene(model, "shuffled"):
            model(x[:1])
            raise KeyError

    with pytest.raises(KeyError):  # an error inside the block comes first
        fail()


def test_another_default_device():
    layer, x = a_model()[0], images()
    with intervene(layer, "shuffled"):
        expected = layer(x)
    with torch.device("meta"), intervene(layer, "shuffled"):
        torch.testing.assert_close(layer(x), expected)


# ------------------------------------------------------------------------------------------------- recomputation


class Recomputing(torch.autograd.Function):
    """Checkpointing as libraries write it themselves."""

    @staticmethod
    def forward(ctx, function, x):
        ctx.function = function
        ctx.save_for_backward(x)
        return function(x)

    @staticmethod
    def backward(ctx, gradient):
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            torch.autograd.backward(ctx.function(x), gradient)
        return None, x.grad


def saving(reentrant):
    return lambda function, x: checkpoint(function, x, use_reentrant=reentrant)


CHECKPOINTS = {"reentrant": saving(True), "not": saving(False), "own": Recomputing.apply}
for outer in ("reentrant", "not"):
    for inner in ("reentrant", "not"):
        CHECKPOINTS[f"{inner} in {outer}"] = lambda f, x, o=CHECKPOINTS[outer], i=CHECKPOINTS[inner]: o(
            lambda x: i(f, x * 1), x
        )


def gradients(layer, run, x, modes=(), inside=False):
    """Of x and of all parameters; backward comes inside the block or after it."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    with ExitStack() as block:
        for mode in modes:
            block.enter_context(intervene(layer, mode, seed=1))
        y = run(layer, x).square().sum()
        if inside:
            y.backward()
    if not inside:
        y.backward()
    return [t.grad if t.grad is not None else torch.zeros_like(t) for t in (x, *layer.parameters())]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # one reentrant checkpoint in another
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_recomputed_under_an_intervention_is_the_intervened_model(kind):
    layer, x = a_model()[0], images()
    for modes in (("uniform",), ("shuffled",), ("frozen",), ("shuffled", "argmax"), ()):
        expected = gradients(layer, lambda f, x: f(x), x, modes)
        for inside in (True, False):
            torch.testing.assert_close(gradients(layer, CHECKPOINTS[kind], x, modes, inside), expected)
    assert hooks(layer) == 0


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # one reentrant checkpoint in another
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_recomputation_is_recorded_once_and_is_not_the_next_blocks(kind):
    layer, x = a_model()[0], images()
    expected = gradients(layer, lambda f, x: f(x), x)
    layer.zero_grad()
    x = x.requires_grad_()
    with record(layer) as seen:
        y = CHECKPOINTS[kind](layer, x).square().sum()
    with intervene(layer, "uniform"), record(layer) as later:
        y.backward()
    torch.testing.assert_close([x.grad, *(p.grad for p in layer.parameters())], expected)
    with record(layer) as whole:
        CHECKPOINTS[kind](layer, x).square().sum().backward()
    assert [len(r[""].batches) for r in (seen, later, whole)] == [1, 0, 1]
    with intervene(layer, "uniform"), record(layer) as after:
        CHECKPOINTS[kind](layer, x).square().sum().backward()
        layer(x)  # the block goes on
    torch.testing.assert_close(after[""].weights, torch.full((10, 3), 1 / 3, dtype=torch.float64))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_block_inside_the_checkpointed_function_is_entered_again(reentrant):
    layer, x, seen = a_model()[0], images(), []

    def function(x):
        y = layer(x)
        with intervene(layer, "uniform"), record(layer) as inner:
            z = layer(x)
        seen.append(inner)
        return y + z

    expected = gradients(layer, lambda _, x: function(x), x)
    torch.testing.assert_close(gradients(layer, lambda _, x: saving(reentrant)(function, x), x), expected)
    assert [len(r[""].batches) for r in seen] == [1] * len(seen)
    assert len(seen) >= 2


# ---------------------------------------------------------------------------------- copies, threads, transforms


def saved_and_loaded(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda m: pickle.loads(pickle.dumps(m)), "torch.save": saved_and_loaded}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("attention", [None, Brightness, lambda: torch.fx.symbolic_trace(Brightness())])
def test_a_copy_made_inside_a_block_is_free_of_it(how, attention):
    layer = DynamicConv2d(3, 4, 3, num_kernels=2, attention=attention and attention()).double()
    kind, x = type(layer.attention), images()
    layer.register_forward_hook(mine_too)
    y = layer(x)
    with record(layer) as seen, intervene(layer, "uniform"):
        twin = COPIES[how](layer)
        assert hooks(twin) == 1  # the user's own stays
        torch.testing.assert_close(twin(x), y)
    assert not seen["attention"].batches
    torch.testing.assert_close(twin(x), y)
    assert "_watched" not in vars(twin.attention) | vars(layer.attention)
    assert type(layer.attention) is kind
    assert type(twin.attention).__bases__ == kind.__bases__
    assert hooks(layer) == 1


def mine_too(module, args, output):
    """A hook of the user's."""


def test_a_shallow_copy_is_free_too():
    layer = KernelAttention(3)
    with intervene(layer, "uniform"):
        twin = copy.copy(layer)
    assert (hooks(twin), type(twin)) == (0, KernelAttention)


def run_in_threads(*functions):
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_threads_that_record_the_same_model_see_their_own_runs_and_a_worker_is_seen():
    layer, x, seen = a_model()[0], images(), {}

    def recording(n):
        with record(layer) as mine, intervene(layer, "uniform" if n % 2 else "argmax"):
            for _ in range(10):
                layer(x[:n])
        seen[n] = mine[""]

    run_in_threads(*[lambda n=n: recording(n) for n in (1, 2, 3, 4)])
    assert all([len(b) for b in seen[n].batches] == [n] * 10 for n in seen)
    assert [bool((seen[n].weights == 0).any()) for n in (1, 2, 3, 4)] == [False, True, False, True]
    assert (hooks(layer), type(layer.attention)) == (0, KernelAttention)
    with record(layer) as worker, intervene(layer, "uniform"):
        run_in_threads(lambda: layer(x))
    torch.testing.assert_close(worker[""].weights, torch.full((5, 3), 1 / 3, dtype=torch.float64))


def test_replicas_are_seen_and_changed():
    """What torch.nn.DataParallel makes, without the devices: copies that share their hooks with the original."""
    layer, x = a_model()[0], images()

    def replica():
        made = {m: m._replicate_for_data_parallel() for m in layer.modules()}
        for module, twin in made.items():
            twin._parameters = module._parameters
            twin._modules = {name: made[child] for name, child in module._modules.items()}
        return made[layer]

    with record(layer) as seen, intervene(layer, "uniform"):
        twins = [replica(), replica()]
        run_in_threads(lambda: twins[0](x[:2]), lambda: twins[1](x[2:]))
        assert hooks(layer) == 2
    torch.testing.assert_close(seen[""].weights, torch.full((5, 3), 1 / 3, dtype=torch.float64))
    torch.testing.assert_close(twins[0](x), layer(x))
    assert hooks(twins[0]) == 0


def test_tasks_and_generators():
    layer, x = a_model()[0], images()

    async def task(n):
        with record(layer) as seen:
            for _ in range(3):
                layer(x[:n])
                await asyncio.sleep(0)
        return [len(b) for b in seen[""].batches]

    async def together():
        return await asyncio.gather(*map(task, (1, 2)))

    with ThreadPoolExecutor() as pool:  # this thread may run a loop already, as it does for the browser tests
        assert pool.submit(lambda: asyncio.run(together())).result() == [[1] * 3, [2] * 3]

    def batches():
        with intervene(layer, "uniform"):
            yield layer(x)
            yield layer(x)

    first, second = batches(), batches()
    torch.testing.assert_close(next(first), next(second))
    first.close()
    next(second)
    second.close()
    assert (hooks(layer), type(layer.attention)) == (0, KernelAttention)


def test_recordings_under_torch_func_outlive_it():
    layer, x = a_model()[0], images()
    parameters = dict(layer.named_parameters())

    def loss(parameters, image):
        return torch.func.functional_call(layer, parameters, (image[None],)).sum()

    with record(layer) as seen:
        torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
        torch.func.grad(loss)(parameters, x[0])
    own = layer.attention(x).detach()
    torch.testing.assert_close(seen[""].weights, torch.cat([own, own[:1]]))


# ------------------------------------------------------------------------------------------------- torch.compile


class Counting:
    """A backend that counts the runs of compiled code."""

    def __init__(self):
        self.runs = 0

    def __call__(self, graph, example):
        def run(*args):
            self.runs += 1
            return graph(*args)

        return run


COMPILED = {
    "wrapped": lambda m, **how: torch.compile(m, **how),
    "inside": lambda m, **how: m.compile(**how) or m,
    "a part": lambda m, **how: m[0].compile(**how) or m,
    "a function": lambda m, **how: torch.compile(lambda x: m(x), **how),
}


@pytest.mark.parametrize("kind", COMPILED)
def test_only_the_model_at_hand_leaves_compiled_code_and_only_inside_the_block(kind):
    torch._dynamo.reset()  # what other tests have compiled counts against the same limit
    model, x = nn.Sequential(DynamicConv2d(3, 4, 3, temperature=0.1), nn.ReLU()), torch.randn(3, 3, 9, 9)
    ours, others = Counting(), Counting()
    run = COMPILED[kind](model, backend=ours, fullgraph=True)
    other = torch.compile(nn.Sequential(copy.deepcopy(model), nn.Tanh()), backend=others, fullgraph=True)
    with torch.no_grad():
        y, _ = run(x), other(x)
        for blocks in range(1, 11):  # more than torch compiles one function anew
            with intervene(model, "uniform"), record(model) as seen:
                changed = run(x)
                other(x)
            assert (ours.runs, others.runs) == (blocks, blocks + 1)
            torch.testing.assert_close(seen["0"].weights, torch.full((3, 4), 0.25))
            assert not torch.allclose(changed, y)
            torch.testing.assert_close(run(x), y)
        assert ours.runs == 11


def test_what_was_asked_of_the_compiler_holds_again():
    from torch._dynamo import eval_frame

    def stance():
        return eval_frame._stance.stance

    layer = DynamicConv2d(3, 4, 3)
    for asked in ("default", "force_eager", "fail_on_recompile"):
        with torch.compiler.set_stance(asked):
            first, second = ExitStack(), ExitStack()
            first.enter_context(record(layer))
            second.enter_context(record(layer))
            first.close()
            assert stance() == ("force_eager" if asked == "force_eager" else "eager_on_recompile")
            second.close()
            assert stance() == asked
