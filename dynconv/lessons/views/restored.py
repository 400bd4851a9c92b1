"""Pictures that a network restores while it learns: what it is given, what is wanted, and what its mixed kernels make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor

from .images import MOST_IMAGES, encoded_once, error_before
from .instrument import encode

__all__ = ["restored"]


def restored(record: Mapping, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the network of a record makes of some pictures: the kernel that each one gets, and the picture restored with it.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458

    y = (Σ π W) ∗ x + Σ π β, with sums over the K kernels W and their biases β, and the picture's own shares π.

    Example:
        >>> import torch
        >>> record = {"shares": [[1.0, 0.0]], "kernels": [[0.0] * 4 + [2.0] + [0.0] * 4, [0.0] * 9]}
        >>> shown = restored(record, {"ones": torch.ones(1, 4, 4)})
        >>> shown["mixed"].shape, shown["restored"].tolist()
        (torch.Size([1, 3, 3]), [[[2.0, 2.0], [2.0, 2.0]]])

    Args:
        record: of an epoch, with "shares" and the "biases" if there are any, see :func:`dynconv.lessons.data.recordings.check_record`.
        images: name → (1, H, W), those whose shares it holds.

    Returns:
        "mixed" (B, k, k) and "restored" (B, H − k + 1, W − k + 1), without padding.
    """
    shares, kernels = torch.tensor(record["shares"]), torch.tensor(record["kernels"])
    biases = shares @ torch.tensor(record.get("biases") or [0.0] * len(kernels))
    size = round(kernels.shape[1] ** 0.5)
    mixed = (shares @ kernels).unflatten(1, (size, size))
    found = [F.conv2d(x, kernel[None, None])[0] for x, kernel in zip(images.values(), mixed, strict=True)]
    return {"mixed": mixed, "restored": torch.stack(found) + biases[:, None, None]}


def pictures(images: Mapping[str, Tensor] | None, wanted: Mapping[str, Tensor] | None, sizes: Iterable[int]) -> dict:
    """The pictures as they travel to the page, once they are found to fit kernels of these sizes; without any, nothing.

    Raises:
        ValueError: there are more than 8, or shapes or names do not fit.
    """
    images, wanted = dict(images or {}), dict(wanted or {})
    if not images and not wanted:
        return {}
    shapes = [{name: tuple(array.shape) for name, array in some.items()} for some in (images, wanted)]
    fitting = all(_fits(shapes, size) for size in sizes)
    if not fitting or len(images) > MOST_IMAGES:
        raise ValueError(
            f"images must be 1 to {MOST_IMAGES}, (1, H, W) of one size, with as much wanted of each as the kernels reach "
            f"without padding, (H - k + 1, W - k + 1), got {shapes[0]} and {shapes[1]} for k = {', '.join(map(str, sizes))}"
        )
    data = {"names": list(images), "images": [encode(image) for image in images.values()]}
    data |= {"shape": list(next(iter(images.values())).shape[1:])} | encoded_once([wanted[name] for name in images])
    return data | {"before": [error_before(image, wanted[name]) for name, image in images.items()]}


def checked_name(name: str, images: Mapping[str, Tensor]) -> str:
    """The name of a picture that is there; none where there are no pictures."""
    if name not in (images or [""]):
        offered = f"one of {', '.join(images)}" if images else "empty, for there are no images"
        raise traitlets.TraitError(f"image must be {offered}, got {name!r}")
    return name


def _fits(shapes: list[dict], size: int) -> bool:
    given, wanted = (set(some.values()) for some in shapes)
    if shapes[0].keys() != shapes[1].keys() or len(given) != 1:
        return False
    (channels, *sides), reached = next(iter(given)), size - 1
    return (
        channels == 1
        and len(sides) == 2
        and wanted == {tuple(side - reached for side in sides)}
        and min(sides) > reached
    )
