"""The kept rows can be repeated, the report is that of the rows, and the measures are what they are called."""

import math
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dynconv import DynamicConv2d, StaticMixConv2d
from dynconv.lessons.data import digits_in_clutter
from dynconv.lessons.networks import cam_network
from dynconv.lessons.site.execute import NOTEBOOKS
from dynconv.lessons.tables import read
from dynconv.lessons.tasks import Split
from experiments.questions import branches, convexity, importance, maps, similarity, temperature
from experiments.questions.__main__ import main
from experiments.questions.common import percent, pm, task
from experiments.questions.report import report
from experiments.questions.rows import COLUMNS, QUESTIONS, found, row
from experiments.questions.statistics import alike, effective_rank, participation_ratio, ranks, spearman, spectra_alike

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
KEPT = EXPERIMENTS / "questions.csv"


# the measures


def test_ranks_share_their_mean_place():
    assert ranks(torch.tensor([5.0, 1.0, 5.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]


def test_spearman_is_the_formula_of_the_squared_differences():
    """Without ties: 1 - 6 Σ d² / (n (n² - 1))."""
    generator = torch.Generator().manual_seed(0)
    for n in (4, 9):
        a, b = (torch.randn(20, n, generator=generator) for _ in "ab")
        squared = (a.argsort(1).argsort(1) - b.argsort(1).argsort(1)).double().square().sum(1)
        torch.testing.assert_close(spearman(a, b), 1 - 6 * squared / (n * (n**2 - 1)))
        torch.testing.assert_close(spearman(a, a.exp()), torch.ones(20, dtype=torch.float64))
        torch.testing.assert_close(spearman(a, -a), -torch.ones(20, dtype=torch.float64))


def test_spearman_with_ties_and_without_an_order():
    """Ranks 1.5 1.5 3 4 and 1 2 3 4: by hand 4.5 / √(4.5 · 5)."""
    one, other = torch.tensor([1.0, 1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert spearman(one, other).item() == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert spearman(torch.ones(4), other).isnan()


def test_ranks_of_matrices_by_hand():
    rows = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # singular values 2 and 1
    assert participation_ratio(rows) == pytest.approx((4 + 1) ** 2 / (16 + 1))
    assert effective_rank(rows) == pytest.approx(math.exp(-(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)))
    same = torch.randn(1, 7, generator=torch.Generator().manual_seed(0)).expand(4, 7) * torch.tensor(
        [[1.0], [2], [3], [-4]]
    )
    assert (participation_ratio(same), effective_rank(same)) == (pytest.approx(1), pytest.approx(1, abs=1e-5))
    assert (participation_ratio(5 * torch.eye(4)), effective_rank(5 * torch.eye(4))) == (4, 4)


def test_likeness_of_kernels():
    kernel = torch.randn(1, 2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    assert alike(kernel.expand(4, -1, -1, -1, -1)) == 1
    assert alike(torch.cat([kernel, -kernel])) == -1
    assert (
        spectra_alike(torch.cat([kernel, -kernel, kernel.roll(1, -1)])) == 1
    )  # a sign or a shift changes no amplitude
    three = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert alike(three) == pytest.approx((2 / math.sqrt(2) + 0) / 3)


# the questions


def test_importance_is_what_breaks_without_a_kernel():
    """A layer of three kernels, of which the second is empty and the third does half of the first's work."""
    torch.manual_seed(0)
    layer, x = StaticMixConv2d(1, 1, 3, num_kernels=3, bias=False).eval(), torch.randn(50, 1, 8, 8)
    with torch.no_grad():
        layer.weight[1] = 0
        layer.weight[2] = layer.weight[0] / 2
        layer.attention.logits.copy_(torch.tensor([0.2, 0.6, 0.2]).log())
        split = Split(x, layer(x), torch.zeros(50))
        numbers = importance.rank(layer, split)
        # by hand: without kernel k the error is what it adds
        errors = [(0.2 * F.conv2d(x, w[None, 0])).square().mean().item() for w in layer.weight[[0, 2]]]
        assert importance._adds(layer, split, layer.attention()).mean(0).tolist() == pytest.approx(
            [errors[0], 0, errors[1]]
        )
        first = importance._without(layer, split, layer.attention(), "dropped").mean(0)
        assert first.tolist() == pytest.approx([errors[0], 0, errors[1]], abs=1e-7)
        left = importance._without(layer, split, layer.attention(), "renormalised").mean(0)
        whole = 0.2 * layer.weight[0] + 0.2 * layer.weight[2]
        one = F.conv2d(x, (0.6 * layer.weight[1] + 0.2 * layer.weight[2]) / 0.8 - whole).square().mean().item()
        assert left[0].item() == pytest.approx(one, rel=1e-4)
    assert numbers["adds, dropped"] == pytest.approx(1)
    assert numbers["adds, dropped, first"] == 1
    assert numbers["weight, dropped, first"] == 0  # the empty kernel has most weight
    assert numbers["test_loss"] == pytest.approx(0, abs=1e-12)


def test_importance_within_an_image_is_ranked_image_by_image():
    torch.manual_seed(0)
    layer = DynamicConv2d(2, 1, 3, num_kernels=3, reduction=1, temperature=0.1).eval()
    x = 3 * torch.randn(20, 2, 8, 8)
    numbers = importance.rank(layer, Split(x, torch.randn(20, 1, 6, 6), torch.zeros(20)))
    assert {f"{guess}, {way}, image" for guess in ("weight", "adds") for way in ("dropped", "renormalised")} < set(
        numbers
    )
    assert all(-1 <= value <= 1 for name, value in numbers.items() if name.endswith("image"))


@pytest.mark.parametrize("kind", convexity.KINDS)
def test_the_five_kinds_of_weights_share_scores_and_differ_in_what_is_made_of_them(kind):
    plain, model = (task("digits").network("dynamic", temperature=1.0) for _ in range(2))
    convexity.attend(plain, "unnormalised", seed=3)
    convexity.attend(model, kind, seed=3)
    convexity.blend(model, 1.0)  # the signed weights are past their beginning
    features = 5 * torch.rand(6, 8, 8, 8)
    scores, weights = (convexity.layer_of(m).attention(features).detach() for m in (plain, model))
    expected = {
        "softmax": scores.softmax(1),
        "sigmoid": scores.sigmoid(),
        "sigmoid / sum": scores.sigmoid() / scores.sigmoid().sum(1, keepdim=True),
        "signed": scores / scores.abs().sum(1, keepdim=True),
        "unnormalised": scores,
    }
    torch.testing.assert_close(weights, expected[kind])
    assert convexity.KINDS[kind][0] == bool(torch.allclose(weights.sum(1), torch.ones(6)))


def test_signed_weights_begin_as_one_kernel():
    model = task("digits").network("dynamic", temperature=1.0)
    convexity.attend(model, "signed", seed=0)
    for over, blend in ((0, 1.0), (0.25, 0.75), (2.0, 0.0)):
        convexity.blend(model, over)
        assert convexity.layer_of(model).attention.blend.item() == blend


@pytest.mark.parametrize("depth", branches.WIDTHS)
def test_branches_fold_into_networks_that_cost_the_same(depth):
    costs = set()
    for kind in branches.KINDS:
        model = branches.network(depth, kind).eval()
        folded = branches.fold(model)
        x = torch.rand(3, 1, 8, 8)
        torch.testing.assert_close(folded(x), model(x), atol=1e-5, rtol=1e-5)
        cost = branches.summary(folded, x[:1])
        costs.add((cost.parameters, cost.macs))
    assert len(costs) == 1


def test_converted_kernels_begin_alike_and_noise_tells_them_apart(monkeypatch):
    monkeypatch.setattr(similarity, "train", lambda model, on, seed: model.eval())
    for name in ("clutter", "restoration"):
        likeness = {}
        for start in similarity.STARTS:
            torch.manual_seed(0)
            likeness[start] = alike(similarity.layer_of(similarity._start(name, 1.0, start, 0)).weight.detach())
        assert likeness["converted"] == pytest.approx(1, abs=1e-6)
        assert 0.98 < likeness["converted, noise"] < 0.999
        assert abs(likeness["drawn"]) < 0.3


def test_gradients_of_equal_weights_are_pulled_the_same_way():
    on = task("digits")
    model = on.network("dynamic", num_kernels=4, temperature=1e6).eval()
    seen = temperature.state(model, on)
    assert (seen["kernels"], seen["rank"], seen["ratio"]) == (pytest.approx(4), *[pytest.approx(1, abs=1e-3)] * 2)


# the maps


def test_boxes_are_the_digits_places():
    test = digits_in_clutter("test", 5)
    for mask, (top, left, bottom, right) in zip(maps.boxes(test), test.boxes.tolist(), strict=True):
        assert mask[top:bottom, left:right].all()
        assert mask.sum() == 16 * 16


class Counting(nn.Module):
    """Sure of class 0 as far as there is light, in a picture of 40 × 40."""

    def forward(self, x):
        logit = x.mean((1, 2, 3))
        return torch.stack([logit, torch.zeros_like(logit)], dim=1)


def test_curves_delete_and_insert_the_brightest_pixels_first():
    test = digits_in_clutter("test", 2)._replace(
        images=torch.ones(2, 1, 40, 40), labels=torch.zeros(2, dtype=torch.long)
    )
    ramp = torch.arange(1600.0).view(1, 40, 40).expand(2, -1, -1)
    shares = torch.linspace(0, 1, maps.STEPS + 1)
    torch.testing.assert_close(maps.curve(Counting(), test, ramp, deletes=False), shares.sigmoid())
    torch.testing.assert_close(maps.curve(Counting(), test, ramp, deletes=True), (1 - shares).sigmoid())
    lit = test.images.clone()
    lit[..., :20, :] = 0  # only the brighter half of the map has light
    kept = maps.curve(Counting(), test._replace(images=lit), ramp, deletes=False)
    torch.testing.assert_close(kept, torch.minimum(shares, torch.tensor(0.5)).sigmoid())


def test_scores_of_the_place_itself():
    test = digits_in_clutter("test", 6)
    numbers = maps.scores(cam_network().eval(), test, maps.boxes(test))
    assert (numbers["pointing"], numbers["energy"]) == (1, pytest.approx(1))
    even = maps.scores(cam_network().eval(), test, torch.ones(6, 40, 40))
    assert even["energy"] == pytest.approx(16 * 16 / 40**2)
    assert even["drop"] == pytest.approx(0)  # the whole picture is kept


def test_the_public_packages_find_our_maps(monkeypatch):
    """On a net that learned nothing: the training is the evidence's own."""
    torch.manual_seed(0)
    net = cam_network().eval()
    monkeypatch.setattr(maps, "trained", lambda seed: net)
    monkeypatch.setitem(maps.CASES, "few", 8)
    if find_spec("pytorch_grad_cam") is None:  # torchcam takes its part
        with pytest.raises(ImportError, match=r"pip install 'dynconv\[evidence\]'"):
            maps.run("few", 0)
        monkeypatch.setattr(maps, "_pytorch_grad_cam", maps._torchcam)
    numbers = maps.run("few", 0)
    assert max(numbers[f"{name}, off"] for name in ("torchcam", "pytorch-grad-cam")) < 1e-5
    assert numbers["box, pointing"] == 1
    assert len(numbers) == 1 + len(maps.METHODS) * len(maps.SCORES) + 2


# rows and report


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_case_that_is_kept_has_all_its_seeds(question):
    """Cases may be missing, and the report says how many are; no mean is over fewer seeds than the others."""
    numbers = found(KEPT, question)
    assert len(numbers) >= 1
    assert {case: len(lines) for case, lines in numbers.items()} == dict.fromkeys(
        numbers, len(QUESTIONS[question].SEEDS)
    )


REPEATED = {
    "importance": "restoration, mix",
    "similarity": "clutter, T = 1, drawn",
    "convexity": "digits, sigmoid / sum",
    "branches": "digits, two layers, one convolution",
    "temperature": "clutter, K = 4, T = 30",
    "maps": "digits in clutter",  # a minute
}


@pytest.mark.parametrize(("question", "case"), REPEATED.items())
def test_a_row_of_each_kind_is_repeated(question, case, monkeypatch):
    monkeypatch.setattr(maps, "_pytorch_grad_cam", maps._torchcam)  # the one package that the tests do not install
    kept = found(KEPT, question)[case]
    again = QUESTIONS[question].run(case, 0)
    name = {"temperature": "late test_loss", "maps": "CAM, energy"}.get(question, "test_loss")
    spread = torch.tensor([line[name] for line in kept]).std().item()
    assert again[name] == pytest.approx(kept[0][name], abs=max(spread, 1e-3))  # machines sum in other orders
    assert again.keys() == kept[0].keys()


def test_the_kept_report_is_that_of_the_kept_rows(tmp_path):
    (tmp_path / KEPT.name).write_bytes(KEPT.read_bytes())
    written = report(tmp_path)
    assert written[0].read_text("utf-8") == (EXPERIMENTS / "questions.md").read_text("utf-8")
    assert [path.name for path in written[1:]] == sorted(path.name for path in EXPERIMENTS.glob("questions_*.png"))


# what the lessons quote: lesson, cell → question, numbers of cases
QUOTED = {
    ("03", "parallel-seen"): (
        "similarity",
        [
            ("clutter, T = 1, drawn", "cosine before"),
            ("clutter, T = 1, drawn", "cosine after"),
            ("clutter, T = 30, drawn", "cosine after"),
            ("restoration, T = 1, drawn", "cosine before"),
            ("restoration, T = 1, drawn", "cosine after"),
        ],
    ),
    ("03", "c37"): (
        "temperature",
        [(f"clutter, K = 4, {T}", "early ratio") for T in ("T = 1", "T = 30")]
        + [(f"restoration, K = 4, {T}", "late ratio") for T in ("T = 1", "T = 30")],
    ),
    ("05", "c52"): (
        "temperature",
        [(f"clutter, K = 4, {T}", f"{when} test_loss") for T in ("T = 1", "T = 30") for when in ("early", "late")]
        + [("clutter, K = 4, T = 30 → 1 over 30%", "late test_loss")]
        + [
            (f"restoration, K = 4, {T}", "late test_loss")
            for T in ("T = 1", "T = 30", "T = 30 → 1 over 10%", "T = 30 → 1 over 50%")
        ],
    ),
    ("07", "c47"): ("maps", [("digits in clutter", f"{name}, energy") for name in ("CAM", "Grad-CAM")]),
    ("12", "2e2f24c0"): (
        "convexity",
        [
            (f"{on}, {k}", "test_loss")
            for on in ("clutter", "restoration")
            for k in ("softmax", "signed", "unnormalised")
        ],
    ),
    ("12", "0bcfdcf0"): (
        "branches",
        [(f"{on}, two layers, {kind}", "test_loss") for on in ("digits", "clutter") for kind in branches.KINDS]
        + [(f"digits, four layers, {kind}", "test_loss") for kind in ("one convolution", "ACNet")],
    ),
    ("12", "fefbad43"): (
        "importance",
        [("clutter, mix", f"{guess}, {way}") for way in importance.WAYS for guess in importance.GUESSES],
    ),
}


@pytest.mark.parametrize(("lesson", "cell"), QUOTED)
def test_the_lessons_quote_the_kept_rows(lesson, cell):
    question, quoted = QUOTED[lesson, cell]
    (path,) = NOTEBOOKS.glob(f"{lesson}_*.ipynb")
    (source,) = [c.source for c in nbformat.read(path, as_version=4).cells if c.id == cell]
    kept = found(KEPT, question)
    for case, name in quoted:
        digits = ".3f" if case.startswith("restoration") and name.endswith("loss") else ".2f"
        said = percent(kept[case], name) if question == "maps" else pm(kept[case], name, digits)
        assert said in source, (case, name)
    assert "../experiments/questions.md" in source


def test_the_command_keeps_rows_and_knows_its_names(tmp_path, capsys, monkeypatch):
    path = tmp_path / "questions.csv"
    calls = []
    monkeypatch.setattr(branches, "run", lambda case, seed: calls.append((case, seed)) or {"test_loss": 0.123456789})
    for _ in range(2):  # the second time all is there
        assert main(["branches", "--case", "digits, two*", "--seed", "1", "--out", str(path)]) == 0
    assert calls == [(case, 1) for case in branches.CASES if case.startswith("digits, two")]
    assert read(path, COLUMNS)[0]["numbers"] == '{"test_loss": 0.123457}'
    command = 'python -m experiments.questions branches --case "digits, two layers, ACNet" --seed 1'
    assert command in [line["command"] for line in read(path, COLUMNS)]
    for wrong, words in (
        (["nothing"], "no question 'nothing'"),
        (["branches", "--case", "x"], "no case 'x'"),
        ([], "say which"),
    ):
        with pytest.raises(SystemExit):
            main(wrong)
        assert words in capsys.readouterr().err
    assert row("branches", "digits, two layers, ACNet", 1)["seed"] == "1"
