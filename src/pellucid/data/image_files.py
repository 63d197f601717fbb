"""One image file -> pixels: uint8 [height, width, channels], grey or colour, of the size that is asked for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pellucid.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
GREY = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "LA", "La")


class Form(NamedTuple):
    """What images are brought to."""

    height: int
    width: int
    channels: int  # 1 or 3


class Unreadable(Exception):
    """An image that cannot be decoded, and why."""


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def form_of(data: bytes) -> Form:
    """The form that an image has by itself, from its header alone."""
    with _opened(data) as image:
        return _form(image)


def _form(image) -> Form:  # PIL.Image.Image
    width, height = image.size
    if _may_be_turned(image) and image.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # lies on its side
        width, height = height, width
    return Form(height, width, 1 if image.mode in GREY else 3)


def _may_be_turned(image) -> bool:
    """Asking for EXIF data costs as much as a small image; most have none."""
    return "exif" in image.info or image.format not in ("JPEG", "PNG", "WEBP", "BMP", "GIF")


def decode(data: bytes, form: Form) -> np.ndarray:
    """Pixels in this form: see `decode_as`."""
    return decode_as(data, form)[0]


def decode_as(data: bytes, form: Form) -> tuple[np.ndarray, Form]:
    """Pixels in this form, and the form that the image has by itself.

    Another size is scaled until it covers the form, and cut to it around the middle (bilinear, antialiased); turned as
    the EXIF data say; what is transparent lies on white; 16-bit grey is scaled to 8.

    Raises `Unreadable`.
    """
    from PIL import Image, ImageOps

    with _opened(data) as image:
        try:
            own = _form(image)
            if own != form or image.mode != ("RGB" if form.channels == 3 else "L"):
                if image.format == "JPEG":  # decoded at once at 1/2, 1/4 or 1/8 of its size, where that is still enough
                    image.draft("RGB" if form.channels == 3 else "L", (2 * form.width, 2 * form.height))
                image = ImageOps.exif_transpose(image) if _may_be_turned(image) else image
                image = _in_channels(image, form.channels)
                if image.size != (form.width, form.height):
                    image = ImageOps.fit(image, (form.width, form.height), Image.Resampling.BILINEAR)
            elif _may_be_turned(image):
                image = ImageOps.exif_transpose(image)
            return np.frombuffer(image.tobytes(), np.uint8).reshape(form), own
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise Unreadable(str(error) or type(error).__name__) from error


def _in_channels(image, channels: int):  # PIL.Image.Image -> the same
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA", "La") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float64)
        top = 65535.0 if image.mode.startswith("I") and values.max() > 255 else max(float(values.max()), 255.0)
        image = Image.fromarray(np.clip(values * (255 / top), 0, 255).round().astype(np.uint8))
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _opened(data: bytes):  # -> PIL.Image.Image
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise Unreadable("not an image, or damaged at its very beginning" if data else "the file is empty") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(str(error)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise Unreadable(str(error)) from error


def unreadable(path: Path, why: object, fix: str = "mend or remove it") -> DataError:
    return DataError(
        "an image cannot be read", where=path, expected="a JPEG, PNG, WebP, BMP, GIF or TIFF file", got=why, fix=fix
    )


def read_images(paths: list[Path], shape: tuple[int, ...]) -> np.ndarray:
    """Image files as uint8 [n, *shape], brought to that form; `DataError` names one that cannot be read."""
    form = Form(*shape)
    out = np.empty((len(paths), *form), np.uint8)
    for row, path in zip(out, paths, strict=True):
        try:
            row[:] = decode(path.read_bytes(), form)
        except Unreadable as error:
            raise unreadable(path, error) from None
        except OSError as error:
            raise unreadable(path, error.strerror or error) from None
    return out
