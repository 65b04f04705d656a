"""Pictures (PNG, JPEG, TIFF, BMP, …) by Pillow, with the grey values that they hold.

Pillow 13 reads other values than the file has, in silence, in six cases, which are put right here: of colour with 16
bits it keeps the high byte; TIFFs with a white zero it inverts up to 8 bits only; TIFF samples of 8 bits with a sign it
takes for such without, those of 32 bits without for such with one; in compressed big-endian TIFFs it swaps the bytes of
signed and floating-point samples; uncompressed planes of 16 bits it reads as if they had 8; and of uncompressed TIFFs
that lie on their side it takes the rows for columns.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

from medssl.errors import UnusableImageError, UserError

from .grey_values import invert, stored_range, to_grey
from .reading import Reading, decoding

Notes = tuple[str, ...]
PAGE_KIND, ROWS, BITS, PHOTOMETRIC, PLANES, COLOURS, SAMPLE_FORMAT = 254, 257, 258, 262, 284, 320, 339  # TIFF tags
SMALLER_OR_MASK = 0b101  # bits of a page's kind
FAX = ("tiff_ccitt", "group3", "group4")  # compressions of black on white
SIGNED, FLOATING = 2, 3  # sample formats
NATIVE = ">" if sys.byteorder == "big" else "<"

# Layouts of TIFF that Pillow has decoders for but not in its table, where they stand by byte order, photometric
# interpretation (0: white zero), sample format, order of bits, bits and extra samples. What it knows stays as it is.
LAYOUTS = {
    (order, photometric, (kind,), 1, bits, extra): layout
    for order, big in ((TiffImagePlugin.II, ""), (TiffImagePlugin.MM, "B"))
    for photometric in (0, 1)
    for kind, bits, extra, layout in (
        (1, (12,), (), ("I;16", "I;12")),
        (1, (16,), (), (f"I;16{big}", f"I;16{big}")),
        (1, (32,), (), ("I", f"I;32{big}S")),
        (2, (8,), (), ("L", "L")),
        (2, (16,), (), ("I", f"I;16{big}S")),
        (2, (32,), (), ("I", f"I;32{big}S")),
        (3, (16,), (), (f"I;16{big}", f"I;16{big}")),
        (3, (32,), (), ("F", f"F;32{big}F")),
        (3, (64,), (), ("F", f"F;64{big}F")),
        (1, (16, 16), (2,), ("RGBA", "LA;16B" if big else "LA;16L")),
    )
}
for key, layout in LAYOUTS.items():
    TiffImagePlugin.OPEN_INFO.setdefault(key, layout)


def read_picture(path: Path) -> Reading:
    """Read a picture as grey values.

    Grey comes as it is, with fewer than 8 bits on the scale of 8; colour as its luma, CMYK by way of RGB, LAB by its
    lightness. What cannot be seen is black, what is transparent in part is as it is. Turned pictures are upright.

    Raises:
        UnusableImageError: ``unreadable`` or ``several frames``.
    """
    advice = "copy it again, save it as PNG, or take it out of the datalist"
    fault = f"{path} cannot be read as PNG, JPEG, TIFF or DICOM"
    with decoding(fault, f"it is damaged, no image, or of a rare kind; {advice}"):
        return _read(path)


def several_frames(path: Path, count: int) -> UnusableImageError:
    """The refusal of a file that holds so many frames."""
    sentence = f"{path} holds {count} frames, and a radiograph is one: save the frame you want as a file of its own."
    return UnusableImageError("several frames", sentence)


def _read(path: Path) -> Reading:
    picture, rawmode, tags, notes = _load(path)
    is_deep = ";16" in rawmode and not picture.mode.startswith("I")
    if is_deep and tags.get(PLANES) == 2:
        notes.append("of its 16 bits the upper 8 were read")
        is_deep = False
    grey, alpha = _deep(path, picture, rawmode) if is_deep else _shallow(picture, tags)
    if grey.ndim == 3:
        notes += ["colour was turned to grey"] if np.ptp(grey, axis=2).any() else []
        grey = to_grey(grey)
    elif picture.mode in ("YCbCr", "LAB"):
        notes.append("of its colour the lightness was taken")
    elif tags:
        grey, more = _as_tagged(grey, picture, tags)
        notes += more
    if alpha is not None and alpha.min() < 1:
        grey, note = _seen(grey, alpha)
        notes.append(note)
    return Reading(grey, None, tuple(notes))


def _seen(grey: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, str]:
    if not alpha.any():
        return grey, "its pixels are all transparent, which was ignored"
    if alpha.all():
        return grey, "pixels that are transparent in part were left as they are"
    return np.where(alpha > 0, grey, 0), "transparent pixels are black"


def _load(path: Path, low_bytes: bool = False) -> tuple[Image.Image, str, Mapping[int, Any], list[str]]:
    """A picture upright (of deep colour its low bytes), Pillow's name for its samples, its TIFF tags, and notes."""
    # From a stream, since Pillow maps named files into memory, those that lie on their side with their sides exchanged.
    with path.open("rb") as stream, Image.open(stream) as picture:
        picture.seek(_only_page(path, picture))
        tags = getattr(picture, "tag_v2", {})
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            _mend(picture)
        rawmode = _rawmode(picture)
        if rawmode.startswith("LA;16"):
            _set_rawmode(picture, "RGBA")  # its four bytes as they are
        elif low_bytes:
            _set_rawmode(picture, rawmode[:-1] + ("L" if _order(rawmode) == ">" else "B"))
        picture.load()
        try:
            return ImageOps.exif_transpose(picture), rawmode, tags, []
        except Exception:  # Pillow's, of EXIF data that are damaged
            return picture.copy(), rawmode, tags, ["its EXIF data cannot be read, so it was not turned"]


def _only_page(path: Path, picture: Image.Image) -> int:
    """Which page holds the image; in TIFF smaller ones and masks do not count, in JPEG previews."""
    pages = range(getattr(picture, "n_frames", 1))
    if len(pages) == 1 or picture.format == "MPO":
        return 0
    images = []
    for page in pages:
        picture.seek(page)
        if not getattr(picture, "tag_v2", {}).get(PAGE_KIND, 0) & SMALLER_OR_MASK:
            images.append(page)
    if len(images) != 1:
        raise several_frames(path, len(pages))
    return images[0]


def _rawmode(picture: ImageFile.ImageFile) -> str:
    args = picture.tile[0].args if picture.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _set_rawmode(picture: ImageFile.ImageFile, rawmode: str) -> None:
    picture.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in picture.tile
    ]


def _order(rawmode: str) -> str:
    """The byte order of a raw mode, as NumPy has it."""
    return {"B": ">", "L": "<"}.get(rawmode[-1], NATIVE)


def _mend(picture: TiffImagePlugin.TiffImageFile) -> None:
    """Count the rows, send planes of 16 bits through libtiff, and take what it gives in the machine's byte order."""
    tags = picture.tag_v2
    if max(tile.extents[3] for tile in picture.tile if tile.extents) < tags[ROWS]:
        raise UserError("it holds fewer rows than it announces")
    if tags.get(PLANES) == 2 and tags.get(BITS, (1,))[0] == 16 and not picture.use_load_libtiff:
        picture.use_load_libtiff = True
        args = (f"{picture.mode};16N", False, tags.offset)
        picture.tile = [
            picture.tile[0]._replace(codec_name="libtiff", extents=(0, 0, *picture.size), offset=0, args=args)
        ]
    rawmode = _rawmode(picture)
    if picture.use_load_libtiff and rawmode.endswith(("BS", "BF")) and NATIVE == "<":
        _set_rawmode(picture, rawmode[:-2] + rawmode[-1])


def _deep(path: Path, picture: Image.Image, rawmode: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour or alpha with 16 bits: [H, W] or [H, W, 3], and alpha [H, W] from 0 to 1."""
    pixels = np.asarray(picture)
    if rawmode.startswith("LA"):
        grey, alpha = np.moveaxis(pixels.view(f"{_order(rawmode)}u2"), -1, 0)
        return grey, alpha / 65535
    samples = pixels.astype(np.uint16) << 8 | np.asarray(_load(path, low_bytes=True)[0])
    if rawmode.startswith("CMYK"):
        rest = 1 - samples / 65535
        return rest[..., :3] * rest[..., 3:] * 65535, None
    key = picture.info.get("transparency")
    if isinstance(key, tuple):
        return samples, (samples != key).any(axis=-1).astype(float)
    return samples[..., :3], samples[..., 3] / 65535 if samples.shape[-1] == 4 else None


def _shallow(picture: Image.Image, tags: Mapping[int, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Everything else: [H, W] or [H, W, 3], and alpha [H, W] from 0 to 1."""
    mode, key = picture.mode, picture.info.get("transparency")
    if mode in ("P", "PA") and COLOURS in tags:
        return _coloured(np.asarray(picture), tags)
    if mode in ("P", "PA", "RGBa"):
        picture = picture.convert("RGBA" if mode != "P" or key is not None else "RGB")
    elif mode in ("CMYK", "RGBX", "HSV"):
        picture = picture.convert("RGB")
    elif mode in ("1", "La"):
        picture = picture.convert("L" if mode == "1" else "LA")
    samples = np.asarray(picture)
    if picture.mode in ("LA", "RGBA"):
        return samples[..., :-1].squeeze(-1) if picture.mode == "LA" else samples[..., :3], samples[..., -1] / 255
    if mode in ("YCbCr", "LAB"):
        return samples[..., 0], None  # which is the luma already, or the lightness
    if key is None or mode == "P":
        return samples, None
    differs = samples != np.asarray(key)
    return samples, (differs.any(axis=-1) if samples.ndim == 3 else differs).astype(float)


def _coloured(indices: np.ndarray, tags: Mapping[int, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Indices, and alpha after them, by the palette of a TIFF, which has 16 bits, though some fill only 8 of them."""
    entries = np.asarray(tags[COLOURS]).reshape(3, -1)
    if entries.max() > 255:
        entries = entries / (257 if (entries & 255).any() else 256)
    places, alpha = (indices[..., 0], indices[..., 1] / 255) if indices.ndim == 3 else (indices, None)
    return np.moveaxis(entries[:, places], 0, -1), alpha


def _as_tagged(values: np.ndarray, picture: Image.Image, tags: Mapping[int, Any]) -> tuple[np.ndarray, Notes]:
    """Grey values of a TIFF with the sign and the direction that its tags say."""
    kind, bits, stated = tags.get(SAMPLE_FORMAT, (1,))[0], tags.get(BITS, (1,))[0], tags.get(PHOTOMETRIC)
    if values.dtype == np.uint8 and kind == SIGNED:
        values = values.view(np.int8)
    if values.dtype == np.int32 and kind not in (SIGNED, FLOATING):
        values = values.view(np.uint32)
    if values.dtype.itemsize == 2 and kind == FLOATING:
        values = values.view(values.dtype.str.replace("u", "f")).astype(np.float32)
    is_fax = picture.info.get("compression") in FAX
    white_zero = stated == 0 or (stated is None and is_fax)
    is_done = stated in (0, None) and kind != SIGNED and picture.mode in ("1", "L")
    if white_zero != is_done:
        low, high = stored_range(max(bits, 8), kind == SIGNED)
        if kind == FLOATING:
            low, high = values.min(), values.max()
        values = invert(values.astype(np.float64), low, high)
    notes: Notes = ("its zero is white: inverted",) if white_zero and not is_fax else ()
    if stated is None:
        notes += (f"PhotometricInterpretation missing, zero taken as {'white' if white_zero else 'black'}",)
    return values, notes
