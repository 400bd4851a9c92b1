"""An image that a learner uploads, from the widgets of both generations."""

from __future__ import annotations

import io

from torch import Tensor

from .folder import open_image

__all__ = ["uploaded_image"]

MOST_BYTES = 20_000_000


def uploaded_image(value, size: int = 96, *, grey: bool = False) -> Tensor | None:
    """The image in an ``ipywidgets.FileUpload``'s ``value`` as floats in 0 … 1, (C, S, S); None before there is one.

    Reference: https://ipywidgets.readthedocs.io/en/stable/user_migration_guides.html (the value's form in 7 and in 8)

    The file is only ever decoded as an image, after its size and its header were checked.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 30), "red").save(file, "PNG")
        >>> uploaded_image(({"name": "red.png", "content": file.getvalue()},), size=8).shape
        torch.Size([3, 8, 8])
        >>> uploaded_image(()) is None
        True

    Args:
        value: of the widget: a tuple of files in ipywidgets 8, a dict of them in 7. The last one counts.
        size: S, in pixels; the centre square is resized.
        grey: one channel instead of three.

    Raises:
        ValueError: not an image of a known format, damaged, or too large; names the file.
    """
    if not value:
        return None
    if isinstance(value, dict):
        name, file = list(value.items())[-1]
    else:
        file = value[-1]
        name = file["name"]
    content = bytes(file["content"])
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name} is too large: {len(content):,} bytes, more than {MOST_BYTES:,}")
    return open_image(io.BytesIO(content), name, size, grey=grey).float() / 255
