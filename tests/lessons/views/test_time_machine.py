"""TimeMachine's Python side: what is shown of recorded runs is what the layer does, and arguments are checked."""

import base64
import json

import pytest
import torch
import traitlets

from dynconv.lessons.data.recordings import recording
from dynconv.lessons.tasks import task
from dynconv.lessons.train import fit
from dynconv.lessons.views import TrainingView
from dynconv.lessons.views.time_machine import TimeMachine, time_state
from experiments.evidence.recording import watch

WIDGET = "application/vnd.jupyter.widget-view+json"


def a_run(epochs=3, num_kernels=2, size=3, first=0, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [
        {
            "epoch": epoch,
            "temperature": 30.0 / (epoch + 1),
            "test_loss": torch.rand((), generator=random).item(),
            "attention": torch.randn(2, num_kernels, generator=random).softmax(1).tolist(),
            "kernels": torch.randn(num_kernels, size**2, generator=random).tolist(),
        }
        for epoch in range(first, first + epochs)
    ]


def test_state_is_what_the_layer_does():
    digits = task("digits")
    model = digits.network("dynamic", num_kernels=3, temperature=1.0)
    data = (digits.train.inputs[:200], digits.train.targets[:200])
    plain = lambda seen: {n: v.tolist() if isinstance(v, torch.Tensor) else v for n, v in seen.items()}  # noqa: E731
    watched = fit(model, *data, epochs=2, loss=digits.loss, progress=False, evaluate=lambda m: plain(watch(m, digits)))
    runs = {"mine": list(watched)}
    TimeMachine(runs, digits.classes)
    shown = time_state(runs, 2)["mine"]
    with torch.no_grad():
        place = next(m for m in model.modules() if hasattr(m, "attention"))
        seen = []
        place.attention.register_forward_hook(lambda module, args, out: seen.append(out))
        model.eval()(digits.test.inputs)
    pi = seen[0]  # (N, K)
    for c in range(10):
        mine = pi[digits.test.classes == c]
        assert shown["leaders"][c] == mine.mean(0).argmax()
        perplexity = torch.distributions.Categorical(mine).entropy().exp().mean()
        torch.testing.assert_close(shown["effective"][c], perplexity, atol=1e-5, rtol=1e-5)


def test_runs_of_different_lengths_and_sizes():
    runs = {"short": a_run(2), "late": a_run(3, num_kernels=8, size=5, first=2), "one": a_run(1, num_kernels=1, size=1)}
    machine = TimeMachine(runs, ["x", "y"])
    assert machine.last == 4
    assert [run["epoch"] for run in time_state(runs, 0).values()] == [0, 2, 0]
    assert [run["epoch"] for run in time_state(runs, 4).values()] == [1, 4, 0]
    entropy = torch.distributions.Categorical(torch.tensor(runs["late"][0]["attention"])).entropy()
    torch.testing.assert_close(time_state(runs, 2)["late"]["effective"], entropy.exp())
    for packed, records in zip(json.loads(machine.data)["runs"], runs.values(), strict=True):
        values = torch.frombuffer(bytearray(base64.b64decode(packed["kernels"])), dtype=torch.float32)
        expected = torch.tensor([r["kernels"] for r in records])
        assert torch.equal(values.reshape(expected.shape), expected)
        assert (packed["num_kernels"], packed["size"] ** 2) == expected.shape[1:]


def test_it_plays_what_training_view_has_seen():
    view = TrainingView(["x", "y"], epochs=2, num_kernels=2, kernel_size=3)
    for record in a_run():
        view.add(record)
    assert TimeMachine({"mine": view.history}, view.classes).last == 2


def test_epoch_is_checked():
    machine = TimeMachine({"mine": a_run()}, ["x", "y"], epoch=1)
    machine.epoch = 2
    for value in (3, -1):
        with pytest.raises(traitlets.TraitError, match=f"epoch must be 0 to 2, got {value}"):
            machine.epoch = value
    assert machine.epoch == 2
    with pytest.raises(traitlets.TraitError, match="epoch must be 0 to 2, got 7"):
        TimeMachine({"mine": a_run()}, ["x", "y"], epoch=7)


@pytest.mark.parametrize(
    ("runs", "more", "message"),
    [
        ({}, {}, "runs must be 1 to 4, got 0"),
        ({str(i): a_run() for i in range(5)}, {}, "runs must be 1 to 4, got 5"),
        ({"a": a_run()}, {"classes": ["x"]}, r"run 'a', epoch 0: .* attention must be 1 × 2 numbers, got \(2, 2\)"),
        ({"a": a_run()}, {"classes": []}, "one class, got 1 and 0"),
        ({"a": a_run()}, {"references": {"floor": float("nan")}}, "reference 'floor' must be finite, got nan"),
    ],
)
def test_bad_arguments(runs, more, message):
    with pytest.raises(ValueError, match=message):
        TimeMachine(**{"runs": runs, "classes": ["x", "y"], **more})


def pictures(size=7, kernel=3, names=("a", "b")):
    """Arguments `images` and `wanted` for kernels of `kernel` pixels."""
    random = torch.Generator().manual_seed(1)
    reached = size - kernel + 1
    return {
        "images": {name: torch.randn(1, size, size, generator=random) for name in names},
        "wanted": {name: torch.randn(reached, reached, generator=random) for name in names},
    }


def with_shares(records, count=2):
    random = torch.Generator().manual_seed(2)
    K = len(records[0]["kernels"])
    return [r | {"shares": torch.randn(count, K, generator=random).softmax(1).tolist()} for r in records]


def test_pictures_are_sent_and_chosen():
    given = pictures()
    machine = TimeMachine({"mine": with_shares(a_run())}, ["x", "y"], **given, image="b")
    sent = json.loads(machine.data)["pictures"]
    assert (sent["names"], sent["shape"], sent["goals"], machine.image) == (["a", "b"], [7, 7], [0, 1], "b")
    middle = given["images"]["a"][0, 1:6, 1:6]
    assert sent["before"][0] == pytest.approx(torch.nn.functional.mse_loss(middle, given["wanted"]["a"]).item())
    same = given | {"wanted": dict.fromkeys("ab", given["wanted"]["a"])}  # one photo, damaged in two ways
    sent = json.loads(TimeMachine({"mine": with_shares(a_run())}, ["x", "y"], **same).data)["pictures"]
    assert (len(sent["wanted"]), sent["goals"]) == (1, [0, 0])
    with pytest.raises(traitlets.TraitError, match="image must be one of a, b, got 'c'"):
        machine.image = "c"
    none = TimeMachine({"mine": a_run()}, ["x", "y"])
    assert none.image == ""
    with pytest.raises(traitlets.TraitError, match="image must be empty, for there are no images, got 'a'"):
        none.image = "a"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("wanted"), r"got \{'a': \(1, 7, 7\), 'b': \(1, 7, 7\)\} and \{\}"),
        (lambda p: p.pop("images"), "got {} and"),
        (lambda p: p["wanted"].pop("a"), r"and \{'b': \(5, 5\)\} for k = 3"),
        (lambda p: p["wanted"].update(a=torch.zeros(7, 7)), r"'a': \(7, 7\)"),
        (lambda p: p["images"].update(a=torch.zeros(3, 7, 7)), r"'a': \(3, 7, 7\)"),
        (lambda p: p["images"].update(a=torch.zeros(1, 8, 7)), r"'a': \(1, 8, 7\)"),
        (lambda p: p["images"].update(a=torch.zeros(7, 7), b=torch.zeros(7, 7)), r"'a': \(7, 7\)"),
        (lambda p: p.update(pictures(names="abcdefghi")), "images must be 1 to 8"),
        (lambda p: p.update(pictures(size=2)), r"'a': \(1, 2, 2\)"),
    ],
)
def test_pictures_that_do_not_fit(change, message):
    given = pictures()
    change(given)
    records = with_shares(a_run(), len(given.get("images", "")) or 1)
    with pytest.raises(ValueError, match=message):
        TimeMachine({"mine": records}, ["x", "y"], **given)
    with pytest.raises(ValueError, match=message):
        TrainingView(["x", "y"], 2, num_kernels=2, kernel_size=3, **given)


def test_kernels_of_another_size_and_records_without_shares():
    runs = {"mine": with_shares(a_run()), "large": with_shares(a_run(size=5))}
    with pytest.raises(ValueError, match=r"for k = 3, 5"):
        TimeMachine(runs, ["x", "y"], **pictures())
    with pytest.raises(ValueError, match="run 'mine', epoch 0: a record's shares must be 2 × 2 numbers, got None"):
        TimeMachine({"mine": a_run()}, ["x", "y"], **pictures())
    view = TrainingView(["x", "y"], 2, num_kernels=2, kernel_size=3, **pictures())
    with pytest.raises(ValueError, match="a record's shares must be 2 × 2 numbers, got None"):
        view.add(a_run()[0])
    for record in with_shares(a_run()):
        view.add(record)
    assert TimeMachine({"mine": view.history}, view.classes, **pictures()).image == "a"


def test_training_view_refuses_what_cannot_be_drawn():
    view = TrainingView(["x", "y"], epochs=2, num_kernels=2, kernel_size=3)
    with pytest.raises(ValueError, match="test_loss must be finite, got nan"):
        view.add(a_run()[0] | {"test_loss": float("nan")})
    assert view.history == []


@pytest.mark.parametrize("epochs", [1, 3])
def test_output_carries_widget_still_and_words(epochs):
    runs = {"cold": a_run(epochs), "warm": a_run(1, num_kernels=4)}
    data, metadata = TimeMachine(runs, ["x", "y"], {"floor": 0.1})._repr_mimebundle_()
    assert set(data) == {WIDGET, "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == data["text/plain"]
    assert f"cold with test loss {runs['cold'][-1]['test_loss']:.4f}" in data["text/plain"]
    assert "warm with test loss" in data["text/plain"]


def test_the_still_says_how_the_shipped_runs_end():
    kept = recording("restoration")
    words = TimeMachine(kept["runs"], kept["classes"], kept["references"]).still().alt
    for name, run in time_state(kept["runs"], 25).items():
        assert f"{name} with test loss {run['test_loss']:.4f}" in words
