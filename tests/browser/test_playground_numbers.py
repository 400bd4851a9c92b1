"""What the playground trains on, and how it trains, is what torch does with the same numbers, in float64."""

import base64
import math

import pytest
import torch
import torch.nn.functional as F

from dynconv.lessons.data import DEGRADATIONS, SHIFTS, best_filter
from dynconv.lessons.systems import filter_network
from dynconv.lessons.views.playground import standardised
from dynconv.surgery import set_temperature
from tests.browser.scripts import evaluate

SIZE, K, STEPS = 40, 3, 100
TASKS = {"damages": DEGRADATIONS, "shifts": SHIFTS}
SETTINGS = {"temperature": 2.0, "cooling": True, "num_kernels": K, "learning_rate": 0.02, "seed": 4, "batch_size": 16}
# of every network its parameters before and after the steps, and where the curves are after them
TRAIN = f"""
  const data = m.prepared(d.photos, 'damages'), run = m.trainer(data, d.settings);
  const all = () => Object.fromEntries(Object.entries(run.now.nets).map(([name, net]) => [name, Array.from(net.own.value.all)]));
  const first = all();
  for (let i = 0; i < {STEPS}; i++) {{
    if (i === 50 && d.later) run.set({{...d.settings, ...d.later}});
    run.step();
  }}
  return {{first, last: all(), measured: run.measure(), references: data.held.references}};
"""


class Random:
    """mulberry32 and Box and Muller, as random.js says it has them."""

    def __init__(self, seed):
        self.state, self.spare = seed, None

    def uniform(self):
        self.state = (self.state + 0x6D2B79F5) % 2**32
        a = (self.state ^ self.state >> 15) * (self.state | 1) % 2**32
        b = (a + (a ^ a >> 7) * (a | 61)) % 2**32 ^ a
        return (b ^ b >> 14) / 2**32

    def normal(self):
        if self.spare is not None:
            value, self.spare = self.spare, None
            return value
        radius, angle = math.sqrt(-2 * math.log(1 - self.uniform())), 2 * math.pi * self.uniform()
        self.spare = radius * math.sin(angle)
        return radius * math.cos(angle)

    def below(self, n):
        return int(n * self.uniform())


@pytest.fixture(scope="module")
def photos():
    """Two to train on and one held out, of 40 × 40 pixels; with something to see at every scale."""
    generator = torch.Generator().manual_seed(0)
    made = [F.interpolate(torch.rand(1, 1, n, n, generator=generator), SIZE, mode="bicubic")[0, 0] for n in (8, 14, 20)]
    return [(255 * p).clamp(0, 255).round() for p in made]


def sent(photos):
    texts = [base64.b64encode(p.byte().numpy().tobytes()).decode() for p in photos]
    return {"train": texts[:2], "held": texts[2:], "size": SIZE}


def cut(photos, damages, each, seed, monkeypatch):
    """The patches as Python makes them: degraded, clean (N, 1, 24, 24) and kind (N,), with the page's random numbers."""
    random, found = Random(seed), []
    noise = lambda shape, generator: torch.tensor(  # noqa: E731
        [random.normal() for _ in range(math.prod(shape))], dtype=torch.float64
    ).reshape(shape)
    monkeypatch.setattr("dynconv.lessons.data.degradations.torch.randn", noise)
    for clean in map(standardised, photos):
        for kind, damage in enumerate(damages.values()):
            given = damage(clean, None)
            for _ in range(each):
                top, left = random.below(SIZE - 23), random.below(SIZE - 23)
                window = (..., slice(top, top + 24), slice(left, left + 24))
                found.append((given[window], clean[window], torch.tensor([kind])))
    monkeypatch.undo()
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("task", TASKS)
def test_patches_are_those_of_python(request, tmp_path, monkeypatch, photos, task):
    body = """
      return m.patches(d.photos.map((p) => m.standardised(Uint8Array.from(p))), d.size, Object.values(m.TASKS[d.task]), 3, 9)
        .map(({given, wanted, kind}) => [Array.from(given), Array.from(wanted), kind, Object.keys(m.TASKS[d.task])[kind]]);"""
    data = {"photos": [p.flatten().tolist() for p in photos], "size": SIZE, "task": task}
    got = evaluate(request, tmp_path, "degradations", body, data)
    degraded, clean, kind = cut(photos, TASKS[task], 3, 9, monkeypatch)
    assert [one[2] for one in got] == kind.tolist()
    assert [one[3] for one in got] == [list(TASKS[task])[k] for k in kind.tolist()]
    for i, expected in enumerate((degraded, clean)):
        page = torch.tensor([one[i] for one in got], dtype=torch.float64).reshape(expected.shape)
        torch.testing.assert_close(page, expected, atol=1e-12, rtol=0)


@pytest.fixture(scope="module")
def page(request, tmp_path_factory, photos):
    """100 steps in the page, and what it says of the two lines."""
    data = {"photos": sent(photos), "settings": SETTINGS}
    return evaluate(request, tmp_path_factory.mktemp("page"), "trainer", TRAIN, data)


@pytest.fixture(scope="module")
def patches(photos):
    with pytest.MonkeyPatch.context() as patch:
        return [
            cut(some, DEGRADATIONS, *more, patch) for some, more in ((photos[:2], (24, 11)), (photos[2:], (16, 12)))
        ]


def inner(clean):
    return clean[..., 4:-4, 4:-4]


def test_the_two_lines_are_those_of_least_squares(page, patches):
    (x, y, kind), (held, wanted, other) = patches
    one = best_filter_with_bias(x, y)
    restored = F.conv2d(held, *one)
    assert page["references"]["one"] == pytest.approx(F.mse_loss(restored, inner(wanted)).item(), rel=1e-9)
    own = [best_filter_with_bias(x[kind == k], y[kind == k]) for k in range(4)]
    errors = [F.mse_loss(F.conv2d(held[other == k], *own[k]), inner(wanted[other == k])).item() for k in range(4)]
    assert page["references"]["each"] == pytest.approx(sum(errors) / 4, rel=1e-9)


def best_filter_with_bias(x, y):
    """:func:`best_filter`'s least squares with a constant beside the pixels, by torch's own solver."""
    columns = F.unfold(x, 9).movedim(1, 2).flatten(0, 1)  # (N · 256, 81)
    columns = torch.cat([columns, torch.ones(len(columns), 1, dtype=x.dtype)], dim=1)
    found = torch.linalg.lstsq(columns, inner(y).flatten()).solution
    return found[:81].reshape(1, 1, 9, 9), found[81:]


def test_a_constant_brings_the_lines_little(patches):
    """best_filter has none: the lesson's lines and the page's are of one kind."""
    (x, y, _), _ = patches
    with_bias, without = best_filter_with_bias(x, y), best_filter(x, y)
    errors = [F.mse_loss(F.conv2d(x, *w), inner(y)).item() for w in (with_bias, (without,))]
    assert errors[0] <= errors[1] < 1.02 * errors[0]


# names of the page's parts → torch's parameters, in the page's order; K kernels with their biases are one part there
PARTS = {
    "plain": ["kernels"],
    "mix": ["attention.logits", "kernels"],
    "dynamic": [
        *(f"attention.{name}" for name in ("1.weight", "1.bias", "4.weight", "4.bias")),
        *(f"attention.5.{name}" for name in ("fc1.weight", "fc2.weight", "fc2.bias")),
        "kernels",
    ],
}


def flat(model, name):
    own = dict(model.named_parameters())
    kernels = torch.cat([own["weight"].reshape(-1, 81), own["bias"].reshape(-1, 1)], dim=1)  # (K, 82)
    return torch.cat([(kernels if part == "kernels" else own[part]).flatten() for part in PARTS[name]]).detach()


def put(model, name, values):
    own, at = dict(model.named_parameters()), 0
    for part in PARTS[name]:
        if part == "kernels":
            kernels = values[at:].reshape(-1, 82)
            own["weight"].data.copy_(kernels[:, :81].reshape(own["weight"].shape))
            own["bias"].data.copy_(kernels[:, 81].reshape(own["bias"].shape))
        else:
            own[part].data.copy_(values[at : at + own[part].numel()].reshape(own[part].shape))
            at += own[part].numel()


def trained_by_torch(name, first, patches, later=None):
    """The same start, batches, temperatures and rates, by autograd and torch.optim.Adam."""
    (x, y, _), _ = patches
    model = filter_network({"plain": "static"}.get(name, name), num_kernels=K).double().train()
    put(model, name, torch.tensor(first, dtype=torch.float64))
    optimizer, random, now = torch.optim.Adam(model.parameters()), Random(1000 + SETTINGS["seed"]), dict(SETTINGS)
    for step in range(STEPS):
        if step == 50:
            now |= later or {}
        batch = [random.below(len(x)) for _ in range(now["batch_size"])]
        hot = max(1.0, 30 - 29 * step / 800) if now["cooling"] else now["temperature"]
        if name != "plain":
            set_temperature(model, hot)
        rate = now["learning_rate"] * (0.02 + 0.98 * (1 + math.cos(math.pi * step / 3000)) / 2)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        F.mse_loss(model(x[batch]), inner(y[batch])).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("name", PARTS)
def test_a_hundred_steps_end_where_torch_ends(page, patches, name):
    model = trained_by_torch(name, page["first"][name], patches)
    last = torch.tensor(page["last"][name], dtype=torch.float64)
    moved = (last - torch.tensor(page["first"][name], dtype=torch.float64)).abs()
    assert (moved > 1e-3).float().mean() > 0.9  # and nearly everything has moved on the way
    torch.testing.assert_close(last, flat(model, name), atol=1e-10, rtol=0)
    held, wanted, kind = patches[1]
    set_temperature(model.eval(), page["measured"]["T"]) if name != "plain" else model.eval()
    with torch.no_grad():
        assert page["measured"][name] == pytest.approx(F.mse_loss(model(held), inner(wanted)).item(), abs=1e-10)
        if name == "dynamic":  # as trained: by the running statistics
            attention = model.attention(held)
            expected = torch.stack([attention[kind == k].mean(0) for k in range(4)])
            got = torch.tensor(page["measured"]["attention"], dtype=torch.float64)
            torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


def test_what_is_changed_on_the_way_counts_from_then_on(request, tmp_path, photos, patches):
    later = {"cooling": False, "temperature": 0.7, "learning_rate": 0.005, "batch_size": 32}
    data = {"photos": sent(photos), "settings": SETTINGS, "later": later}
    got = evaluate(request, tmp_path, "trainer", TRAIN, data)
    model = trained_by_torch("dynamic", got["first"]["dynamic"], patches, later)
    last = torch.tensor(got["last"]["dynamic"], dtype=torch.float64)
    torch.testing.assert_close(last, flat(model, "dynamic"), atol=1e-10, rtol=0)
