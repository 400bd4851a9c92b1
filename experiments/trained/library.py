"""A network of timm or torchvision by name: its weights downloaded once into the library's own cache, and checked."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["Known", "WeightsError", "load"]


class WeightsError(RuntimeError):
    """The weights cannot be had, and what to do about it."""


@dataclass(eq=False)
class Known:
    """A network in eval mode; what makes its input of a PIL image; and the class that a folder's name stands for."""

    net: nn.Module
    transform: Callable[[Any], Tensor]
    classes: dict[str, int]


def load(name: str, random: bool = False) -> Known:
    """The network of a name, such as timm/skresnet18.ra_in1k or torchvision/mobilenet_v3_small.

    Reference: https://github.com/huggingface/pytorch-image-models; https://docs.pytorch.org/vision/stable/models.html

    Example:
        >>> load("torchvision/mobilenet_v3_small", random=True).classes["goldfish"]
        1
        >>> load("timm/skresnet81", random=True)
        Traceback (most recent call last):
        ValueError: timm has no network 'skresnet81'; close to it: skresnet18, ...

    Args:
        name: library/network; timm's may have the tag of its weights after a dot.
        random: random weights of seed 0, and nothing is downloaded.

    Raises:
        ValueError: no such network; WeightsError: its weights cannot be downloaded, or what is there is damaged.
    """
    library, _, network = name.partition("/")
    if library not in ("timm", "torchvision") or not network:
        raise ValueError(f"model must be timm/NAME or torchvision/NAME, got {name!r}")
    torch.manual_seed(0)
    known = (_of_timm if library == "timm" else _of_torchvision)(network, random)
    if random:
        _as_after_training(known.net)
    known.net.eval()
    return known


def _as_after_training(net: nn.Module) -> None:
    """Many networks begin with branches multiplied by 0, in which nothing would be seen of what gates do."""
    for module in net.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 1.5)


def _of_timm(network: str, random: bool) -> Known:
    import timm
    from timm.data import ImageNetInfo, create_transform, resolve_model_data_config

    try:
        net = timm.create_model(network, pretrained=False)
    except RuntimeError:
        raise _unknown("timm", network, timm.list_models()) from None
    if not random:
        config = net.pretrained_cfg
        if config.get("hf_hub_id"):
            path = _from_hub(network, config["hf_hub_id"], config.get("hf_hub_filename") or "model.safetensors")
        elif config.get("url"):
            path = _from_url(network, config["url"])
        else:
            raise WeightsError(f"timm has no weights for {network}; --random does without")
        net = timm.create_model(network, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    classes = {}
    if net.num_classes == 1000:
        info = ImageNetInfo()
        for index in range(1000):
            classes |= _called(index, info.index_to_label_name(index), info.index_to_description(index))
    return Known(net, create_transform(**resolve_model_data_config(net), is_training=False), classes)


def _of_torchvision(network: str, random: bool) -> Known:
    from torchvision import models

    try:
        weights = models.get_model_weights(network).DEFAULT
    except (ValueError, AttributeError):
        raise _unknown("torchvision", network, models.list_models()) from None
    net = models.get_model(network, weights=None)
    if not random:
        path = _from_url(network, weights.url)
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    classes: dict[str, int] = {}
    for index, label in enumerate(weights.meta["categories"]):
        classes |= _called(index, label)
    return Known(net, weights.transforms(), classes)


def _unknown(library: str, network: str, names: list[str]) -> ValueError:
    close = difflib.get_close_matches(network, names, n=3)
    return ValueError(f"{library} has no network {network!r}" + (f"; close to it: {', '.join(close)}" if close else ""))


def _called(index: int, *names: str) -> dict[str, int]:
    """The number, and every name of a class: "goldfish, Carassius auratus" counts for two."""
    each = [part.strip().lower() for name in names for part in name.split(",")]
    return {str(index): index} | dict.fromkeys(each, index)


def _from_hub(network: str, repository: str, filename: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import EntryNotFoundError

    repository, _, revision = repository.partition("@")
    try:
        path = Path(hf_hub_download(repository, filename, revision=revision or None))
    except (OSError, EntryNotFoundError) as error:
        raise _unreachable(network, f"{repository} on the Hugging Face hub", error) from error
    blob = path.resolve()  # the hub's cache calls a large file by its SHA-256
    expected = blob.name if re.fullmatch(r"[0-9a-f]{64}", blob.name) else _told_by_hub(repository, filename, revision)
    return _checked(network, path, expected)


def _told_by_hub(repository: str, filename: str, revision: str) -> str:
    """The SHA-256 that the hub names, where the cache has no links and so no such names; "" when offline."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        etag = get_hf_file_metadata(hf_hub_url(repository, filename, revision=revision or None)).etag
    except OSError:
        return ""
    return etag if etag and re.fullmatch(r"[0-9a-f]{64}", etag) else ""


def _from_url(network: str, url: str) -> Path:
    path = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    begins = re.search(r"-([0-9a-f]{8,64})\.", path.name)  # torch's own habit: name-hash.pth
    expected = begins[1] if begins else ""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=True)
        except OSError as error:
            raise _unreachable(network, url, error) from error
    return _checked(network, path, expected)


def _unreachable(network: str, source: str, error: Exception) -> WeightsError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return WeightsError(
        f"the weights of {network} are not in the cache, and {source} cannot be reached: is this machine offline? "
        f"With a connection they are downloaded once; --random does without. ({type(error).__name__}: {reason})"
    )


def _checked(network: str, path: Path, expected: str) -> Path:
    """A file whose SHA-256 begins as it should; a damaged one is removed."""
    if not expected:
        print(f"{path.name}: nobody says what its SHA-256 should be; it is used unchecked")
        return path
    digest = _sha256(path)
    if digest.startswith(expected):
        return path
    for each in {path.resolve(), path}:
        each.unlink(missing_ok=True)
    raise WeightsError(
        f"the weights of {network} were damaged: the SHA-256 of {path.name} begins with {digest[:12]}, not with "
        f"{expected[:12]}. The file has been removed ({path}); the next run downloads it again."
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
