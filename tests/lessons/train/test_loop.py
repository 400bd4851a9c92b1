"""The loop learns and repeats itself from its seed."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from dynconv import DynamicConv2d, StaticMixConv2d
from dynconv.lessons.train import attention_by_class, fit, load_checkpoint, save_checkpoint
from dynconv.lessons.train.loop import _Run


def test_fit_learns_and_repeats_itself():
    x = torch.randn(64, 1, 12, 12)
    y = nn.functional.conv2d(x, torch.randn(1, 1, 3, 3))
    start, runs = StaticMixConv2d(1, 1, 3).eval(), []
    for seed in (1, 1, 2):
        model = copy.deepcopy(start)
        runs.append(list(fit(model, x, y, epochs=20, lr=0.05, seed=seed, progress=False)))
        assert not model.training  # left in the mode it came in
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][-1]["loss"] < 0.02 * runs[0][1]["loss"]


@pytest.mark.parametrize("training", [True, False])
def test_whoever_trains_and_looks_finds_the_model_in_its_mode(training):
    x, y = a_problem()
    net, looked = a_net().train(training), []

    def evaluate(model):
        looked.append(any(module.training for module in model.modules()))
        return {"test_loss": 1.0}

    for _ in fit(net, x, y, epochs=2, evaluate=evaluate, progress=False):
        assert all(module.training == training for module in net.modules())
    assert looked == [False, False, False]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_shares_of_a_short_batch_are_one_batch(count):
    """What two processes average is the gradient of the whole batch, though one has fewer of its images, or none."""
    x, y = a_problem()
    index, loss = torch.arange(count), nn.functional.mse_loss
    settings = {"images": len(x), "epochs": 1, "batch_size": 8, "lr": 0.1, "optimizer": "sgd", "weight_decay": 0.0}

    def step(rank, world):
        run = _Run(copy.deepcopy(start), settings | {"anneal": None, "seed": 0}, None)
        run.rank, run.world = rank, world
        return run.step(index, x, y, loss), [p.grad for p in run.model.parameters()]

    torch.manual_seed(0)
    start = DynamicConv2d(1, 1, 3)
    total, expected = step(0, 1)
    torch.testing.assert_close(total, count * loss(start(x[index]), y[index]).detach())
    (first, ours), (second, theirs) = step(0, 2), step(1, 2)
    torch.testing.assert_close(first + second, total)
    for one, other, whole in zip(ours, theirs, expected, strict=True):
        torch.testing.assert_close((one + other) / 2, whole)


def test_fit_cools_as_told_and_records_it():
    layer, x = DynamicConv2d(1, 1, 3), torch.randn(20, 1, 6, 6)
    records = list(fit(layer, x, x[..., 1:-1, 1:-1], epochs=4, batch_size=10, anneal=(30, 1, 0.5), progress=False))
    assert [r["temperature"] for r in records] == pytest.approx([30, 15.5, 1, 1, 1])


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"batch_size": 0}, {"targets": torch.zeros(3, 1, 4, 4)}])
def test_bad_fits(changes):
    arguments = {"inputs": torch.zeros(4, 1, 6, 6), "targets": torch.zeros(4, 1, 4, 4), "epochs": 1} | changes
    with pytest.raises(ValueError, match="must be"):
        next(fit(DynamicConv2d(1, 1, 3), **arguments))


def a_problem():
    x = torch.randn(40, 1, 10, 10, generator=torch.Generator().manual_seed(3))
    return x, nn.functional.conv2d(x, torch.ones(1, 1, 3, 3) / 9)


def a_net():
    torch.manual_seed(4)
    return nn.Sequential(DynamicConv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.ReLU(), nn.Conv2d(4, 1, 1))


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
def test_stopped_and_started_again_it_is_the_same_run(tmp_path, optimizer):
    x, y = a_problem()
    options = {
        "epochs": 5,
        "batch_size": 16,
        "lr": 1e-2,
        "optimizer": optimizer,
        "anneal": (30, 1, 0.6),
        "progress": False,
    }
    watch = {"evaluate": lambda m: {"test_loss": nn.functional.mse_loss(m(x), y).item()}}
    whole = a_net()
    records = list(fit(whole, x, y, **options, **watch))
    half = a_net()
    for record in fit(half, x, y, **options, **watch, folder=tmp_path):
        if record["epoch"] == 2:
            break
    torch.manual_seed(99)  # what happens in between has no part in it
    again = a_net()
    resumed = list(fit(again, x, y, **options, **watch, folder=tmp_path))
    assert resumed == records
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    best = load_checkpoint(tmp_path / "best.pt")
    assert best["record"] == min(records, key=lambda r: r["test_loss"])
    assert best["record"] in records
    again.load_state_dict(best["model"])
    assert nn.functional.mse_loss(again.eval()(x), y).item() == pytest.approx(best["record"]["test_loss"])


def test_training_leaves_the_callers_random_numbers_alone():
    x, y = a_problem()
    net = a_net()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    list(fit(net, x, y, epochs=1, progress=False))
    assert torch.equal(torch.rand(3), expected)


def test_a_folder_of_another_run_is_refused(tmp_path):
    x, y = a_problem()
    list(fit(a_net(), x, y, epochs=1, folder=tmp_path, progress=False))
    with pytest.raises(ValueError, match=r"last.pt belongs to a run with lr=0.01, not 0.02: give another folder"):
        list(fit(a_net(), x, y, epochs=1, lr=0.02, folder=tmp_path, progress=False))


def test_other_data_or_another_temperature_is_another_run(tmp_path):
    x, y = a_problem()
    list(fit(a_net(), x, y, epochs=1, folder=tmp_path, progress=False, about={"data.path": "cats"}))
    with pytest.raises(ValueError, match="about cannot hold 'lr', which is one of fit's own settings"):
        next(fit(a_net(), x, y, epochs=1, progress=False, about={"lr": 1}))
    for inputs, targets, temperature, about, words in (
        (x + 1e-3, y, 30, "cats", "data="),
        (x, y * 2, 30, "cats", "data="),
        (x, y, 7, "cats", r"temperatures=\[30.0\], not \[7.0\]"),
        (x, y, 30, "dogs", "data.path=cats, not dogs"),
        (x, y, 30, None, "data.path=cats, not None"),
    ):
        net = a_net()
        net[0].attention.temperature.fill_(temperature)
        more = {"data.path": about} if about else None
        with pytest.raises(ValueError, match=rf"last.pt belongs to a run with {words}.*: give another folder"):
            next(fit(net, inputs, targets, epochs=1, folder=tmp_path, progress=False, about=more))


TWO = """
import sys, torch
from dynconv.lessons.train.alone import alone
with alone(sys.argv[1]):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_two_processes_in_one_folder(tmp_path):
    x, y = a_problem()
    options = {"epochs": 1, "folder": tmp_path, "progress": False}
    other = subprocess.Popen(
        [sys.executable, "-c", TWO, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(
            ValueError, match=r"another run is going on in .*: wait until it has ended, or give another"
        ):
            next(fit(a_net(), x, y, **options))
        other.kill()  # what holds it ends with it
    list(fit(a_net(), x, y, **options))
    first = fit(a_net(), x, y, **{**options, "folder": tmp_path / "new"})
    next(first)
    again = fit(a_net(), x, y, **{**options, "folder": tmp_path / "new"})
    next(again)  # a loop that this process may have left shuts nobody out
    with pytest.raises(ValueError, match=r"another run was begun in .*new after this one: give each a folder"):
        next(first)
    assert next(again)["epoch"] == 1


def test_a_folder_of_another_network_is_refused(tmp_path):
    x, y = a_problem()
    list(fit(a_net(), x, y, epochs=1, folder=tmp_path, progress=False))
    with pytest.raises(ValueError, match=r"last.pt belongs to a run of another network: give another folder"):
        list(fit(nn.Conv2d(1, 1, 3), x, y, epochs=1, folder=tmp_path, progress=False))


def places(value, path=()):
    """Every path of keys into nested dicts and lists, but not into the optimiser's own memory."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in inside:
        if (*path, key) != ("optimizer", "state"):
            yield (*path, key)
            yield from places(entry, (*path, key))


def changed(state, path, new):
    """A copy of `state` with another value there, or with none."""
    state = at = copy.deepcopy(state)
    for key in path[:-1]:
        at = at[key]
    if new == "nothing":
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return state


def a_stopped_run(folder, **options):
    x, y = a_problem()
    options |= {"epochs": 4, "batch_size": 16, "anneal": (30, 1, 0.5), "progress": False}
    options |= {"evaluate": lambda m: {"test_loss": nn.functional.mse_loss(m(x), y).item()}}
    for record in fit(a_net(), x, y, folder=folder, **options):
        if record["epoch"] == 1:
            break
    return load_checkpoint(folder / "last.pt"), lambda net: fit(net, x, y, folder=folder, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["model"], r"'model' must be a dict, got None; it holds '0.weight'"),
        (lambda s: torch.ones(2), r"is not the checkpoint of a run but a Tensor"),
        (
            lambda s: {"model": s["model"], "record": {}},
            r"'optimizer' must be a dict, got None; it holds 'model', 'record'",
        ),
        (lambda s: s | {"schedules": []}, r"\['schedules'\] must have 2 entries, got 0"),
        (lambda s: s | {"history": s["history"][:1]}, r"after 0 epochs its schedules are at steps \[3, 3\]"),
        (lambda s: s | {"history": ["a", "b"]}, r"is not the checkpoint of a run \(AttributeError"),
        (lambda s: changed(s, ("history", 1, "test_loss"), "low"), r"test_loss must be a number, got 'low'"),
        (
            lambda s: changed(s, ("model", "4.weight"), torch.ones(3)),
            r"\['4.weight'\] must be \(1, 4, 1, 1\), got \(3,\)",
        ),
        (lambda s: changed(s, ("optimizer", "param_groups", 0, "lr"), "x"), r"\[0\]\['lr'\] must be a float, got 'x'"),
        (lambda s: changed(s, ("optimizer", "state"), 3), r"\['state'\] must be a dict, got 3"),
    ],
)
def test_what_is_well_formed_but_no_run_is_refused_and_nothing_is_loaded(tmp_path, change, message):
    state, go_on = a_stopped_run(tmp_path)
    save_checkpoint(tmp_path / "last.pt", change(state))
    net = a_net()
    with pytest.raises(ValueError, match=rf"last\.pt .*{message}.*: give another folder"):
        next(go_on(net))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), a_net().state_dict().values(), strict=True))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_changed_checkpoint_is_refused_whole_or_gone_on_from(tmp_path, optimizer):
    """Every entry replaced by every kind of value, one by one; what torch keeps in its optimiser's memory is its own."""
    state, go_on = a_stopped_run(tmp_path, optimizer=optimizer)
    fresh, outcomes = a_net().state_dict(), {"refused": 0, "read": 0}
    for path in places(state):
        for new in ("nothing", None, "x", -1, 2.5, [], {}, torch.zeros(7)):
            save_checkpoint(tmp_path / "last.pt", changed(state, path, new))
            net, said = a_net(), None
            try:
                next(go_on(net))
            except ValueError as error:
                said = str(error)
            outcomes["refused" if said else "read"] += 1
            assert not said or str(tmp_path / "last.pt") in said
            assert not said or all(torch.equal(value, fresh[name]) for name, value in net.state_dict().items()), path
    assert min(outcomes.values()) > 100, outcomes


def test_a_loss_that_is_no_number_stops_the_run_and_is_not_kept(tmp_path):
    x, y = a_problem()
    y[7] = float("nan")
    with pytest.raises(
        FloatingPointError, match=r"the loss of epoch 1 is nan: try an lr below 0.01, and look at the data"
    ):
        list(fit(a_net(), x, y, epochs=3, folder=tmp_path, progress=False))
    kept = load_checkpoint(tmp_path / "last.pt")
    assert len(kept["history"]) == 1
    assert all(value.isfinite().all() for value in kept["model"].values())


def test_bytes_are_images():
    x = torch.randint(0, 256, (8, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    one, two = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)
    two.load_state_dict(one.state_dict())
    y = torch.zeros(8, 1, 4, 4)
    assert list(fit(one, x, y, epochs=2, progress=False)) == list(
        fit(two, x.float() / 255, y, epochs=2, progress=False)
    )


def test_weight_decay_spares_the_attention():
    layer, x = DynamicConv2d(1, 1, 3), torch.zeros(4, 1, 6, 6)  # no gradient reaches anything but the bias
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    list(fit(layer, x, torch.zeros(4, 1, 4, 4), epochs=3, optimizer="adamw", weight_decay=0.5, progress=False))
    after = layer.state_dict()
    assert after["weight"].norm() < before["weight"].norm()
    assert torch.equal(after["attention.fc1.weight"], before["attention.fc1.weight"])


def test_annealing_takes_a_fraction_of_the_steps():
    x, y = a_problem()
    with pytest.raises(ValueError, match=r"anneal's last number is a fraction of the steps, 0 to 1, got 30"):
        next(fit(a_net(), x, y, epochs=1, anneal=(30, 1, 30)))


def test_unknown_optimizer():
    x, y = a_problem()
    with pytest.raises(ValueError, match=r"optimizer must be one of 'adam', .*, got 'adamm'"):
        next(fit(a_net(), x, y, epochs=1, optimizer="adamm"))


def test_attention_by_class_is_the_mean_of_what_the_layer_uses():
    net, x, classes = a_net().eval(), torch.randn(9, 1, 8, 8), torch.tensor([0, 1, 2] * 3)
    seen = attention_by_class(net, x, classes)
    assert list(seen) == ["0.attention"]
    with torch.no_grad():
        expected = torch.stack([net[0].attention(x)[classes == c].mean(0) for c in range(3)])
    torch.testing.assert_close(torch.tensor(seen["0.attention"]), expected)
    with pytest.raises(ValueError, match="class 1 has no image"):
        attention_by_class(net, x[:2], torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="equally many, got 9 and 2"):
        attention_by_class(net, x, torch.tensor([0, 2]))
