"""Rows of the kept table can be repeated, the report says what they say, and any network by name is told apart from none."""

import hashlib
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.error import URLError

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from dynconv.lessons.tables import mean_and_std, read
from dynconv.probe import intervene, record
from experiments.trained import by_name, library, networks, offline
from experiments.trained.__main__ import main
from experiments.trained.gates import exposed
from experiments.trained.measure import answers
from experiments.trained.report import report

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
KEPT = read(EXPERIMENTS / "trained.csv", offline.COLUMNS)


def installed():
    try:
        return bool(distribution("rapidocr-onnxruntime") and distribution("onnx2torch"))
    except PackageNotFoundError:
        return False


carried = pytest.mark.skipif(
    not installed(), reason="rapidocr-onnxruntime, which has no release for Python 3.13, or onnx2torch"
)


def kept(network, gates, mode):
    return [line for line in KEPT if (line["network"], line["gates"], line["mode"]) == (network, gates, mode)]


def mean(network, mode, gates="all"):
    return mean_and_std(kept(network, gates, mode), "score")[0]


@carried
@pytest.mark.parametrize(
    ("name", "shape"), [("direction", (3, 48, 192)), ("detector", (3, 96, 64)), ("recogniser", (3, 48, 96))]
)
def test_the_modules_compute_what_the_files_say(name, shape):
    import onnxruntime

    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    package = distribution("rapidocr-onnxruntime")
    (path,) = [str(package.locate_file(file)) for file in package.files if file.name == networks.FILES[name]]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
    with torch.no_grad():
        torch.testing.assert_close(networks.network(name)(x), expected, atol=1e-5, rtol=1e-4)


@carried
@pytest.mark.parametrize(("name", "number"), [("direction", 9), ("detector", 10), ("recogniser", 2)])
def test_the_gates_of_the_carried_networks_are_found(name, number):
    net, gates = exposed(networks.network(name), torch.randn(2, *networks.SHAPES[name]))
    assert len(gates) == number
    for gate in gates:
        assert gate.over == "channels"
        assert gate.steps.replace("BinaryMathOperation, ", "") == "GlobalAveragePool, Conv2d, ReLU, Conv2d, HardSigmoid"
    x = torch.randn(3, *networks.SHAPES[name])
    with torch.no_grad(), record(net) as seen:
        net(x)
    assert [seen[gate.name].weights.flatten(1).shape for gate in gates] == [(3, gate.size) for gate in gates]


@carried
@pytest.mark.parametrize("mode", ["as trained", "shuffled"])
def test_a_row_repeats(mode):
    (line,) = [line for line in kept("direction", "all", mode) if line["seed"] == "0"]
    fresh = offline.run("direction", "all", mode, seed=0)
    assert fresh["command"] == line["command"]
    assert fresh["images"] == int(line["images"])
    assert fresh["score"] == pytest.approx(
        float(line["score"]), abs=0.02
    )  # other versions draw letters a little differently
    assert fresh["varies"] == pytest.approx(float(line["varies"]), rel=0.05)


@carried
def test_the_command_adds_a_row_and_says_what_was_kept(tmp_path, capsys):
    out = tmp_path / "rows.csv"
    command = ["--network", "direction", "--gates", "all", "--mode", "as trained", "--seed", "0", "--out", str(out)]
    assert main(command) == 0
    (line,) = read(out, offline.COLUMNS)
    assert (line["network"], line["gates"], line["mode"], line["seed"]) == ("direction", "all", "as trained", "0")
    assert main(command) == 0  # a row asked for by name runs once more
    assert capsys.readouterr().out.count("(kept: ") == 1
    assert len(read(out)) == 1
    assert main(["--network", "direction", "--gates", "09", "--out", str(out)]) == 1
    assert "no row has gates '09' and seed None" in capsys.readouterr().err


def test_every_row_is_there_with_its_seeds():
    found = sorted((line["network"], line["gates"], line["mode"], int(line["seed"])) for line in KEPT)
    wanted = []
    for network, number in (("direction", 9), ("direction-loose", 0), ("detector", 10), ("recogniser", 2)):
        for mode in (offline.TRAINED, *offline.MODES):
            wanted += [(network, "all", mode, seed) for seed in range(offline.SEEDS[network])]
            wanted += [
                (network, f"{i:02d}", mode, seed) for i in range(number) for seed in range(5) if mode != "argmax"
            ]
    assert found == sorted(wanted)


def test_the_kept_report_is_that_of_the_kept_rows(tmp_path):
    for name in ("trained.csv", "trained_random.csv"):
        (tmp_path / name).write_bytes((EXPERIMENTS / name).read_bytes())
    report(tmp_path / "trained.csv")
    assert (tmp_path / "trained.md").read_text("utf-8") == (EXPERIMENTS / "trained.md").read_text("utf-8")


def test_the_report_says_which_way_it_came_out(tmp_path):
    def lines(frozen):
        for mode, score in (("as trained", 0.8), ("shuffled", 0.8), ("frozen", frozen)):
            for seed in range(3):
                more = {
                    "score": score + seed / 100,
                    "clear": 0.9,
                    "hard": 0.7,
                    "varies": 0.2,
                    "seconds": 1,
                    "images": 5,
                }
                yield (
                    {"network": "detector", "gates": "all", "mode": mode, "seed": seed}
                    | more
                    | {"torch": "2", "command": "c"}
                )

    from experiments.evidence.table import write

    for frozen, words in ((0.7, "clearly worse"), (0.8, "no clear difference"), (0.9, "clearly better: the network")):
        write(tmp_path / "t.csv", list(lines(frozen)), offline.COLUMNS)
        text = report(tmp_path / "t.csv")[0].read_text("utf-8")
        assert f"frozen: {100 * (frozen - 0.8):+.1f} ± 0.0 points, {words}" in text.replace("-0.0", "+0.0")
        assert "## Any network by name" not in text  # no empty table
        assert "## Each gate alone" not in text


def lesson(number):
    (path,) = (EXPERIMENTS.parent / "notebooks").glob(f"{number}_*.ipynb")
    return path.read_text("utf-8")


def test_what_the_lessons_say_of_it():
    for network in ("direction", "direction-loose"):
        assert mean(network, "shuffled") < mean(network, "as trained") - 0.15
        assert mean(network, "frozen") < mean(network, "as trained") - 0.03
    assert abs(mean("detector", "shuffled") - mean("detector", "as trained")) < 0.01
    assert abs(mean("detector", "frozen") - mean("detector", "as trained")) < 0.01
    varies = {
        name: mean_and_std(kept(name, "all", "as trained"), "varies")[0]
        for name in ("direction", "detector", "recogniser")
    }
    assert max(varies, key=varies.get) == "detector"
    lost = {
        (name, mode): 100 * (mean(name, "as trained") - mean(name, mode))
        for name in varies
        for mode in ("shuffled", "frozen")
    }
    in_words = f"another image's cost {lost['direction', 'shuffled']:.0f} points, frozen ones {lost['direction', 'frozen']:.0f}:"
    assert in_words in lesson("06")
    assert f"{lost['recogniser', 'shuffled']:.0f} and {lost['recogniser', 'frozen']:.1f}:" in lesson("06")
    in_words = f"{lost['direction', 'shuffled']:.0f} points worse; reading, {lost['recogniser', 'shuffled']:.0f}; finding text, none"
    assert in_words in lesson("11")


FOUND = {
    "skresnet18": "8: 8 over branches",
    "resnest14d": "4: 4 over branches",
    "legacy_seresnet18": "8: 8 over channels",
    "mobilenetv3_small_050": "9: 9 over channels",
    "tf_efficientnet_cc_b0_4e": "40: 16 over channels, 24 over kernels",
    "ecaresnet26t": "8: 8 over channels",
}


@pytest.mark.parametrize("name", FOUND)
def test_gates_are_found_by_structure_and_replacing_them_reaches_the_output(name):
    net = library.load(f"timm/{name}", random=True).net
    x = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    twin, gates = exposed(net, x[:2])
    assert by_name.found(gates) == FOUND[name]
    with torch.no_grad():
        y = net(x)
        torch.testing.assert_close(twin(x), y)
        for mode in ("uniform", "argmax"):
            with intervene(twin, mode):
                assert not torch.equal(twin(x), y), mode
    assert dict(twin.named_modules())[gates[0].name].over == gates[0].over
    assert dict(net.named_modules())[gates[0].at] is not None  # the place is one of the network's own


def test_what_is_no_gate_is_left_alone():
    class AfterThePool(nn.Module):
        """A gate, and two factors that are none: one at the only position that is left, one that no image has a part in."""

        def __init__(self):
            super().__init__()
            self.conv, self.scale = nn.Conv2d(3, 4, 3), nn.Parameter(torch.rand(1, 4, 1, 1))

        def forward(self, x):
            maps = self.conv(x)
            maps = maps * maps.mean((2, 3), keepdim=True).sigmoid() * self.scale
            pooled = maps.mean((2, 3), keepdim=True)
            return (pooled * pooled.sigmoid()).flatten(1)

    (gate,) = exposed(AfterThePool().eval(), torch.randn(2, 3, 8, 8))[1]
    assert (gate.size, gate.steps) == (4, "mean, sigmoid")


def test_no_batch_is_too_small_to_shuffle():
    net, x = (
        exposed(library.load("timm/lcnet_050", random=True).net, torch.randn(2, 3, 64, 64))[0],
        torch.randn(5, 3, 64, 64),
    )
    assert len(answers(net, x, x, "shuffled", batch=2)) == 5


def test_networks_without_gates_say_so():
    with pytest.raises(ValueError, match="ResNet multiplies by nothing that it computes from the whole image"):
        exposed(timm.create_model("resnet10t").eval(), torch.randn(2, 3, 64, 64))
    with pytest.raises(ValueError, match="gates inside of NormFreeBlock are not to be seen"):
        exposed(timm.create_model("eca_nfnet_l0").eval(), torch.randn(2, 3, 64, 64))
    with pytest.raises(ValueError, match="at least 2 images, which tells a batch from a parameter, got 1"):
        exposed(nn.Identity(), torch.randn(1, 3, 64, 64))

    class Branches(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"torch.fx cannot trace Branches: symbolically traced variables"):
        exposed(Branches(), torch.randn(2, 3, 8, 8))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Empty caches of both libraries, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))

    def refuse(*_, **__):
        raise URLError("no network in this test")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number, name in enumerate(("0/a.png", "0/b.png", "goldfish/c.jpg", "n01440764/d.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.mark.parametrize("model", ["timm/skresnet18.ra_in1k", "timm/skresnet18", "torchvision/mobilenet_v3_small"])
def test_offline_it_says_so(model, cache, photos, capsys):
    assert main(["--model", model, "--images", str(photos)]) == 1
    said = capsys.readouterr().err
    assert f"the weights of {model.partition('/')[2]} are not in the cache" in said
    assert "cannot be reached: is this machine offline?" in said
    assert "--random does without" in said
    assert len(said.splitlines()) == 1


def in_the_hubs_cache(cache, content, sha):
    """As the hub's client lays a file out: the bytes under their SHA-256, and a link by name."""
    home = cache / "hub" / "models--timm--skresnet18.ra_in1k"
    commit = "0" * 40
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (home / folder).mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    (home / "blobs" / sha).write_bytes(content)
    link = home / "snapshots" / commit / "model.safetensors"
    os.symlink(home / "blobs" / sha, link)
    return link


@pytest.mark.skipif(os.name == "nt", reason="the hub's cache has no links there")
def test_a_damaged_download_of_timm_is_named_and_removed(cache, photos, capsys):
    sha = hashlib.sha256(b"what it should be").hexdigest()
    link = in_the_hubs_cache(cache, b"what it sh", sha)
    assert main(["--model", "timm/skresnet18.ra_in1k", "--images", str(photos)]) == 1
    said = capsys.readouterr().err
    assert "the weights of skresnet18.ra_in1k were damaged: the SHA-256 of model.safetensors begins with" in said
    assert f"not with {sha[:12]}. The file has been removed" in said
    assert not link.exists()
    assert not link.is_symlink()
    assert not list((cache / "hub").rglob(sha))
    assert (
        main(["--model", "timm/skresnet18.ra_in1k", "--images", str(photos)]) == 1
    )  # and the next run would load it anew
    assert "are not in the cache" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="the hub's cache has no links there")
def test_whole_weights_of_timm_are_loaded(cache, photos, capsys):
    from safetensors.torch import save

    net = timm.create_model("skresnet18")
    content = save(net.state_dict())
    in_the_hubs_cache(cache, content, hashlib.sha256(content).hexdigest())
    loaded = library.load("timm/skresnet18.ra_in1k").net
    for (name, one), other in zip(net.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_damaged_download_of_torchvision_is_named_and_removed(cache, photos, capsys):
    path = cache / "torch" / "checkpoints" / "mobilenet_v3_small-047dcff4.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of it")
    assert main(["--model", "torchvision/mobilenet_v3_small", "--images", str(photos)]) == 1
    said = capsys.readouterr().err
    assert "the SHA-256 of mobilenet_v3_small-047dcff4.pth begins with" in said
    assert "not with 047dcff4. The file has been removed" in said
    assert not path.exists()


def test_a_download_is_checked_when_it_arrives(cache, monkeypatch):
    def download(url, path, progress):
        Path(path).write_bytes(b"as it came")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    begins = hashlib.sha256(b"as it came").hexdigest()[:8]
    assert library._from_url("net", f"https://example.org/net-{begins}.pth").read_bytes() == b"as it came"
    with pytest.raises(library.WeightsError, match="not with deadbeef"):
        library._from_url("net", "https://example.org/net-deadbeef.pth")
    assert not (cache / "torch" / "checkpoints" / "net-deadbeef.pth").exists()


def test_a_folder_of_known_classes_gives_accuracy(photos, tmp_path, capsys):
    out = tmp_path / "rows.csv"
    command = ["--model", "timm/lcnet_050", "--images", str(photos), "--random", "--each", "--out", str(out)]
    assert main(command) == 0
    lines = read(out, by_name.COLUMNS)
    assert [line["gates"] for line in lines] == ["00"] * 5 + ["01"] * 5 + ["all"] * 5
    assert {line["found"] for line in lines} == {"2: 2 over channels"}
    plain = [line for line in lines if line["mode"] == "as trained"]
    assert {(line["agreement"], line["moved"]) for line in plain} == {("1", "0")}
    assert all(0 <= float(line["accuracy"]) <= 1 for line in lines)
    moved = {(line["gates"], line["mode"]): float(line["moved"]) for line in lines}
    assert moved["all", "argmax"] > 0
    assert "accuracy" in capsys.readouterr().out


def test_a_folder_of_unknown_classes_gives_agreement(photos, capsys):
    (photos / "goldfish").rename(photos / "my holidays")
    assert main(["--model", "timm/lcnet_050", "--images", str(photos), "--random"]) == 0
    said = capsys.readouterr().out
    assert "'my holidays' is no class of the network, so no accuracy, only the agreement" in said
    assert ": accuracy" not in said


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: folder.rename(folder.with_name("elsewhere")), "there is no folder"),
        (lambda folder: [path.unlink() for path in sorted(folder.rglob("*.*"))[1:]], "at least 2 images are needed"),
        (lambda folder: (folder / "0" / "b.png").write_bytes(b"no image"), "b.png cannot be read as an image"),
    ],
    ids=["no folder", "one image", "no image"],
)
def test_a_folder_that_will_not_do(photos, capsys, spoil, words):
    spoil(photos)
    assert main(["--model", "timm/lcnet_050", "--images", str(photos), "--random"]) == 1
    assert words in capsys.readouterr().err


def test_names_that_are_none(photos, capsys):
    assert main(["--model", "timm/skresnet81", "--images", str(photos)]) == 1
    assert "timm has no network 'skresnet81'; close to it: skresnet18" in capsys.readouterr().err
    assert main(["--model", "skresnet18", "--images", str(photos)]) == 1
    assert "model must be timm/NAME or torchvision/NAME, got 'skresnet18'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--model", "timm/skresnet18"])
    assert "--model needs --images FOLDER" in capsys.readouterr().err
