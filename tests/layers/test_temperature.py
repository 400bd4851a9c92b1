"""The temperature of every layer: on the meta device, sharded, stacked, averaged, moved at any time, and only where it is meant."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import dynconv as d
from dynconv.schedule import TemperatureSchedule
from dynconv.surgery import set_temperature, temperatures

TEMPERED = {
    "KernelAttention": lambda: d.KernelAttention(8, temperature=7.0),
    "sigmoid": lambda: d.KernelAttention(8, temperature=7.0, activation="sigmoid"),
    "LearnedAttention": lambda: d.LearnedAttention(4, temperature=7.0),
    "OmniAttention": lambda: d.OmniAttention(8, 8, 9, temperature=7.0),
    "SpatialGate": lambda: d.SpatialGate(8, temperature=7.0),
    "DynamicConv2d": lambda: d.DynamicConv2d(8, 6, 3, temperature=7.0),
    "StaticMixConv2d": lambda: d.StaticMixConv2d(8, 6, 3, temperature=7.0),
    "ODConv2d": lambda: d.ODConv2d(8, 6, 3, temperature=7.0),
    "SparseBlock": lambda: d.SparseBlock(8, temperature=7.0),
}
OTHERS = {"CondConv2d": lambda: d.CondConv2d(8, 6, 3), "ILN": lambda: d.ILN(8), "AdaLIN": lambda: d.AdaLIN(8)}
PICTURES = [
    name for name in TEMPERED if name not in ("KernelAttention", "sigmoid", "LearnedAttention", "OmniAttention")
]


def buffers(module):
    return [buffer for name, buffer in module.named_buffers() if name.endswith("temperature")]


def total(y):
    return sum(part.float().square().sum() for part in (y.values() if isinstance(y, dict) else [y]))


# ------------------------------------------------------------------------------------------------- meta and resetting


@pytest.mark.parametrize("name", TEMPERED)
def test_it_prints_on_the_meta_device_and_says_its_number_elsewhere(name):
    with torch.device("meta"):
        assert "temperature=(meta)" in repr(TEMPERED[name]())
    assert "temperature=7" in repr(TEMPERED[name]())


@pytest.mark.parametrize("name", {**TEMPERED, **OTHERS})
def test_deferred_initialisation_leaves_nothing_as_memory_was(name):
    make = {**TEMPERED, **OTHERS}[name]
    with torch.device("meta"):
        layer = make()
    layer.to_empty(device="cpu")
    for tensor in layer.state_dict().values():
        tensor.fill_(float("nan") if tensor.is_floating_point() else 3)
    for module in layer.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    fresh = make()
    for key, tensor in fresh.state_dict().items():
        ours = layer.state_dict()[key]
        assert ours.isfinite().all(), key
        if key.endswith("temperature") or (tensor.numel() > 1 and len(tensor.unique()) == 1):  # 7, 0, 1 or 0.9
            assert torch.equal(ours, tensor), key
        elif tensor.numel() > 100:
            assert ours.std().item() == pytest.approx(tensor.std().item(), rel=0.3), key


def test_a_reset_draws_the_stack_as_its_constructor_does():
    torch.manual_seed(0)
    layer = d.DynamicConv2d(8, 6, 3, groups=2)
    weight, bias = layer.weight.clone(), layer.bias.clone()
    torch.manual_seed(0)
    layer.reset_parameters()
    assert torch.equal(layer.weight, weight)
    assert torch.equal(layer.bias, bias)
    torch.manual_seed(0)
    first = nn.Conv2d(8, 6, 3, groups=2).weight
    torch.testing.assert_close(weight[0], first, atol=0, rtol=1e-6)  # as nn.Conv2d draws its own


def test_a_temperature_on_meta_is_not_set_in_silence():
    with torch.device("meta"):
        layer = d.DynamicConv2d(8, 6, 3)
    for move in (lambda: set_temperature(layer, 2.0), lambda: TemperatureSchedule(layer, steps=3)):
        with pytest.raises(ValueError, match=r"on the meta device cannot be set: first model.to_empty"):
            move()


# ------------------------------------------------------------------------------------------------------------ autograd


@pytest.mark.parametrize("name", TEMPERED)
@pytest.mark.parametrize("how", ["set_temperature", "a checkpoint"])
def test_it_may_move_between_forward_and_backward(name, how):
    layer, x = TEMPERED[name]().eval(), torch.randn(2, 8, 9, 9)
    if name in ("SpatialGate", "SparseBlock"):
        layer.train()
    if name == "LearnedAttention":
        nn.init.normal_(layer.logits)
    other = copy.deepcopy(layer)
    gradients = []
    for module, moves in ((other, False), (layer, True)):
        torch.manual_seed(0)
        loss = total(module(x))
        if moves and how == "set_temperature":
            set_temperature(module, 2.0, where=lambda name, module: True)
        elif moves:
            state = {key: t * 2 for key, t in module.state_dict().items() if key.endswith("temperature")}
            module.load_state_dict(state, strict=False)
        gradients.append(torch.autograd.grad(loss, list(module.parameters()), allow_unused=True))
    torch.testing.assert_close(gradients[1], gradients[0])


# ------------------------------------------------------------------------------------------------- stacked and averaged


@pytest.mark.parametrize("name", [*TEMPERED, "CondConv2d"])
def test_stacked_models_under_vmap(name):
    make = {**TEMPERED, **OTHERS}[name]
    models = [make().eval() for _ in range(3)]
    for i, model in enumerate(models):
        for buffer in buffers(model):
            buffer.fill_(1.0 + i)  # each its own
        if isinstance(model, d.SparseBlock):
            model.sparse = False  # where patches are gathered, shapes hang on values
    x = torch.randn(2, 8, 9, 9)
    parameters, state = stack_module_state(models)
    one = copy.deepcopy(models[0])

    def loss(p, b):
        return total(functional_call(one, (p, b), (x,)))

    losses = vmap(loss)(parameters, state)
    torch.testing.assert_close(losses, torch.stack([total(model(x)) for model in models]))
    if name == "SpatialGate":  # a comparison in eval mode: no gradient
        return
    gradients = vmap(grad(loss))(parameters, state)
    for i, model in enumerate(models):
        own = dict(model.named_parameters())
        expected = torch.autograd.grad(total(model(x)), list(own.values()), allow_unused=True, materialize_grads=True)
        for (key, _), theirs in zip(own.items(), expected, strict=True):
            torch.testing.assert_close(gradients[key][i], theirs, atol=1e-4, rtol=1e-4)


def test_averages_of_torch_keep_the_temperature_of_the_model():
    model = nn.Sequential(d.DynamicConv2d(8, 6, 3), d.StaticMixConv2d(6, 6, 3))
    averages = AveragedModel(model), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    schedule = TemperatureSchedule(model, steps=5)
    for _ in range(3):
        schedule.step()
        for average in averages:
            average.update_parameters(model)
            assert [t.item() for t in temperatures(average)] == pytest.approx([schedule.temperature] * 2)


@pytest.mark.parametrize("first", ["schedule", "average"])
def test_an_average_of_buffers_too_is_given_to_the_schedule(first):
    model = nn.Sequential(d.DynamicConv2d(8, 6, 3))
    averages = {
        "ema": AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True),
        "swa": AveragedModel(model, use_buffers=True),
    }
    alone = copy.deepcopy(averages["ema"])
    schedule = TemperatureSchedule([model, *averages.values()], steps=5)
    for _ in range(5):
        steps = [lambda: [average.update_parameters(model) for average in averages.values()], schedule.step]
        for step in steps if first == "average" else reversed(steps):
            step()
        alone.update_parameters(model)
    for average in averages.values():
        assert temperatures(average)[0].item() == pytest.approx(1.0)
    assert temperatures(alone)[0] > 5  # what the docstring warns of: the mean of 30 … 1


# ------------------------------------------------------------------------------------------------------------- sharded


@pytest.fixture
def one_process():
    """A group of one process, as FSDP needs."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def a_net():
    torch.manual_seed(0)
    return nn.Sequential(d.DynamicConv2d(8, 6, 3), nn.ReLU(), d.StaticMixConv2d(6, 6, 3), d.ODConv2d(6, 4, 3), d.ILN(4))


def trained(model, whole, x):
    """The outputs of ``whole`` before and after one step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = whole(x)
    before.square().mean().backward()
    optimizer.step()
    return before.detach(), whole(x).detach()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_fsdp2_computes_the_same_and_its_deferred_start_is_complete(one_process):
    from torch.distributed.fsdp import fully_shard

    x, model = torch.randn(4, 8, 12, 12), a_net()
    expected = trained(model, model, x)
    sharded = a_net()
    for child in (*sharded, sharded):
        fully_shard(child)
    torch.testing.assert_close(trained(sharded, sharded, x), expected, atol=1e-5, rtol=1e-4)
    assert set_temperature(sharded, 3.0) == 3
    with torch.device("meta"):
        late = a_net()
    fully_shard(late)
    late.to_empty(device="cpu")
    for module in late.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert [t.item() for t in temperatures(late)] == [30, 1, 1]
    assert late(x).isfinite().all()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_fsdp1_computes_the_same_and_its_deferred_start_is_complete(one_process):
    from torch.distributed.fsdp import FullyShardedDataParallel

    options = {"device_id": torch.device("cpu"), "use_orig_params": True}
    x, model = torch.randn(4, 8, 12, 12), a_net()
    expected = trained(model, model, x)
    sharded = FullyShardedDataParallel(a_net(), **options)
    torch.testing.assert_close(trained(sharded, sharded, x), expected, atol=1e-5, rtol=1e-4)
    with torch.device("meta"):
        late = a_net()
    late = FullyShardedDataParallel(late, **options)  # calls reset_parameters of every module that owns something
    assert [t.item() for t in temperatures(late)] == [30, 1, 1]
    assert late(x).isfinite().all()


# ------------------------------------------------------------------------------------------------- what moves, what not


class Foreign(nn.Module):
    """Another library's: its temperature is something else."""

    def __init__(self, value):
        super().__init__()
        self.register_buffer("temperature", torch.as_tensor(value))


class Own(nn.Module):
    """A user's own attention, temperature and all."""

    def __init__(self):
        super().__init__()
        self.register_buffer("temperature", torch.tensor(9.0))
        self.scores = nn.Linear(8, 4)

    def forward(self, x):
        return torch.softmax(self.scores(x.mean((2, 3))) / self.temperature, 1)


def a_mixed_model():
    return nn.ModuleDict(
        {
            "stem": d.DynamicConv2d(8, 8, 3),
            "body": nn.Sequential(d.ODConv2d(8, 8, 3), d.StaticMixConv2d(8, 8, 3)),
            "own": d.DynamicConv2d(8, 8, 3, attention=Own()),
            "sparse": d.SparseBlock(8),
            "calibration": Foreign([1.0, 1.5, 2.0]),
            "logit_scale": Foreign(0.07),
            "steps": Foreign(3),
        }
    )


def moved(model):
    return sorted(key.removesuffix(".temperature") for key, b in model.named_buffers() if (b == 4.0).all())


def test_what_is_not_theirs_stays():
    model = a_mixed_model()
    assert set_temperature(model, 4.0) == 4
    assert moved(model) == ["body.0.attention", "body.1.attention", "own.attention", "stem.attention"]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("body", ["body.0.attention", "body.1.attention"]),
        (["stem.attention", "own"], ["own.attention", "stem.attention"]),
        ("body.*", ["body.0.attention", "body.1.attention"]),
        ("sparse", ["sparse.gate"]),
        (lambda name, module: not name.startswith(("stem", "sparse")), ["body.0.attention", "body.1.attention", "own.attention"]),
        (lambda name, module: isinstance(module, d.SpatialGate), ["sparse.gate"]),
    ],
    ids=["inside", "list", "wildcard", "a gate by name", "left out", "by kind"],
)  # fmt: skip
def test_where_says_which_move(where, names):
    model = a_mixed_model()
    assert set_temperature(model, 4.0, where) == len(names)
    assert moved(model) == names
    model = a_mixed_model()
    schedule = TemperatureSchedule(model, steps=2, start=8.0, end=4.0, where=where)
    schedule.step()
    schedule.load_state_dict({**schedule.state_dict(), "last_step": 2})
    assert moved(model) == names


def test_a_gate_and_several_models_that_are_given_are_moved():
    gate, first, second = d.SpatialGate(8), d.DynamicConv2d(8, 8, 3), d.StaticMixConv2d(8, 8, 3)
    assert set_temperature(gate, 4.0) == 1
    assert gate.temperature == 4
    assert set_temperature([first, second, first], 4.0) == 2
    schedule = TemperatureSchedule(iter([first, second]), steps=1)
    schedule.step()
    assert first.attention.temperature == second.attention.temperature == 1
    with pytest.raises(
        ValueError, match=r"'steps' fits no layer with a temperature; there are: stem.attention, body.0"
    ):
        set_temperature(a_mixed_model(), 4.0, "steps")
    with pytest.raises(ValueError, match="SparseBlock has no layer with a temperature"):
        TemperatureSchedule(d.SparseBlock(8), steps=5)
    with pytest.raises(ValueError, match="Foreign has no layer with a temperature"):
        set_temperature(Foreign(1.0), 4.0)
