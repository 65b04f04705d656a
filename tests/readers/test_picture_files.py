"""Pictures of every depth, colour, transparency and photometric keep the grey values they hold."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from dicom_files import picture
from PIL import Image

from medssl.errors import UnusableImageError
from medssl.readers.pictures import read_picture

LUMA = np.array([0.299, 0.587, 0.114])
GREY = picture(top=255).astype(np.uint8)
DEEP = picture(top=65535).astype(np.uint16)
SHAPE = GREY.shape
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1).astype(int)


def png(path: Path, samples: np.ndarray, kind: int, bits: int, *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG of samples [H, W] or [H, W, C]: kind 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha."""
    rows, columns = samples.shape[:2]
    lines = samples.reshape(rows, -1)
    if bits < 8:
        deep = np.unpackbits(lines.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        packed = np.packbits(deep.reshape(rows, -1), axis=-1)
    else:
        packed = lines.astype(f">u{bits // 8}").view(np.uint8)
    data = b"".join(b"\0" + line.tobytes() for line in packed)
    head = struct.pack(">IIBBBBB", columns, rows, bits, kind, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    blocks = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(blocks))
    return path


def tiff(
    path: Path,
    samples: np.ndarray,
    order: str,
    photometric: int | None,
    deflated: bool = False,
    bits: int = 0,
    planes: bool = False,
    more: Mapping[int, Sequence[int]] | None = None,
) -> Path:
    """A TIFF.

    Args:
        path: of the file.
        samples: [H, W] or [H, W, C].
        order: of bytes, as NumPy writes it.
        photometric: 0 white zero, 1 black zero, 2 RGB, 3 palette; or not stated.
        deflated: compressed.
        bits: of a sample, if they are fewer than its type has.
        planes: each channel by itself.
        more: other tags, of 16 bits.
    """
    bits = bits or 8 * samples.dtype.itemsize
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    strips = []
    for part in np.moveaxis(samples, -1, 0) if planes else [samples]:
        if bits in (1, 2, 4, 12):
            deep = np.unpackbits(part.astype(">u2")[..., None].view(np.uint8), axis=-1)[..., 16 - bits :]
            data = np.packbits(deep.reshape(len(part), -1), axis=-1).tobytes()
        else:
            data = part.astype(f"{order}{part.dtype.str[1:]}").tobytes()
        data = zlib.compress(data) if deflated else data
        strips.append(data + bytes(len(data) % 2))
    offsets = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    entries: list[tuple[int, str, Sequence[int]]] = [
        (256, "I", [samples.shape[1]]),
        (257, "I", [samples.shape[0]]),
        (258, "H", [bits] * channels),
        (259, "H", [8 if deflated else 1]),
        *([] if photometric is None else [(262, "H", [photometric])]),
        (273, "I", offsets),
        (277, "H", [channels]),
        (278, "I", [samples.shape[0]]),
        (279, "I", [len(strip) for strip in strips]),
        (284, "H", [2 if planes else 1]),
        (339, "H", [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * channels),
        *((tag, "H", values) for tag, values in (more or {}).items()),
    ]
    place = 8 + sum(map(len, strips))
    listed = behind = b""
    for tag, kind, values in sorted(entries):
        value = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(value) > 4:
            where = place + 2 + 12 * len(entries) + 4 + len(behind)
            value, behind = struct.pack(f"{order}I", where), behind + value
        listed += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + value.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, place)
    directory = struct.pack(f"{order}H", len(entries)) + listed + bytes(4)
    path.write_bytes(head + b"".join(strips) + directory + behind)
    return path


def check(path: Path, expected: np.ndarray, tolerance: float = 1e-3) -> tuple[str, ...]:
    reading = read_picture(path)
    assert reading.affine is None
    assert reading.modality == ""
    np.testing.assert_allclose(np.asarray(reading.values, dtype=float), expected, rtol=1e-6, atol=tolerance)
    return reading.notes


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_pngs(tmp_path: Path, bits: int) -> None:
    samples = DEEP >> (16 - bits)
    scale = 255 / ((1 << bits) - 1) if bits < 8 else 1
    assert not check(png(tmp_path / "file.png", samples, 0, bits), samples * scale)
    gamma = (b"gAMA", struct.pack(">I", 100000))
    assert not check(png(tmp_path / "gamma.png", samples, 0, bits, gamma), samples * scale)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alike", [False, True])
def test_colour_pngs(tmp_path: Path, bits: int, alike: bool) -> None:
    colour = (np.stack([DEEP] * 3, axis=-1) if alike else COLOUR * 251) >> (16 - bits)
    notes = () if alike else ("colour was turned to grey",)
    assert check(png(tmp_path / "file.png", colour, 2, bits), colour @ LUMA) == notes
    opaque = np.concatenate([colour, np.full((*SHAPE, 1), (1 << bits) - 1)], axis=-1)
    assert check(png(tmp_path / "opaque.png", opaque, 6, bits), colour @ LUMA) == notes


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_transparent_is_black(tmp_path: Path, bits: int) -> None:
    grey, top = DEEP >> (16 - bits), (1 << bits) - 1
    alpha = np.full(SHAPE, top)
    alpha[:4], alpha[4] = 0, top // 3
    with_alpha = np.stack([grey, alpha], axis=-1)
    for path in (
        png(tmp_path / "grey.png", with_alpha, 4, bits),
        png(tmp_path / "colour.png", with_alpha[..., [0, 0, 0, 1]], 6, bits),
    ):
        assert check(path, np.where(alpha, grey, 0)) == ("transparent pixels are black",)
    for values, kind in ((grey, 0), (np.stack([grey] * 3, axis=-1), 2)):
        key = struct.pack(">H", int(grey[5, 5])) * (3 if kind else 1)
        path = png(
            tmp_path / "key.png",
            values + (grey == 7).reshape(*SHAPE, *[1] * (values.ndim - 2)),
            kind,
            bits,
            (b"tRNS", key),
        )
        check(path, np.where(grey == grey[5, 5], 0, grey))
    for value, said in ((0, "all transparent"), (top // 3, "in part")):
        path = png(tmp_path / "faint.png", np.stack([grey, np.full_like(grey, value)], axis=-1), 4, bits)
        assert said in check(path, grey)[0]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(tmp_path: Path, bits: int) -> None:
    indices, entries = GREY >> (8 - bits), np.linspace(250, 3, 1 << bits).astype(np.uint8)
    palette = (b"PLTE", np.repeat(entries, 3).tobytes())
    assert not check(png(tmp_path / "file.png", indices, 3, bits, palette), entries[indices])
    seen = (b"tRNS", b"\0")  # the first entry is transparent
    assert check(png(tmp_path / "seen.png", indices, 3, bits, palette, seen), np.where(indices, entries[indices], 0))
    if bits < 4:
        return
    for factor in (1, 256, 257):  # 8 bits in 16, as they should not be, as most write them, and as they should be
        colours = np.tile(entries.astype(int) * factor, 3)
        path = tiff(tmp_path / "file.tif", indices, "<", 3, bits=bits, more={320: colours.tolist()})
        assert not check(path, entries[indices])


WIDTHS = {"u": (1, 2, 4, 8, 12, 16, 32), "i": (8, 16, 32), "f": (16, 32, 64)}


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "bits"), [(kind, bits) for kind, widths in WIDTHS.items() for bits in widths])
def test_grey_tiffs_of_either_zero(tmp_path: Path, kind: str, bits: int, order: str, deflated: bool) -> None:
    low, high = {"u": (0, (1 << bits) - 1), "i": (-(1 << bits - 1), (1 << bits - 1) - 1), "f": (-3, 250)}[kind]
    samples = low + (high - low) * (DEEP / 65535)
    samples = samples.astype(f"{kind}{max(bits // 8, 2 if bits == 12 else 1)}")
    low, high = (samples.min(), samples.max()) if kind == "f" else (low, high)
    scale = 255 / high if bits < 8 else 1
    expected = samples.astype(float)
    path = tiff(tmp_path / "black.tif", samples, order, 1, deflated, bits=bits)
    assert not check(path, expected * scale, tolerance=1e-6 * float(np.abs(expected).max()))
    path = tiff(tmp_path / "white.tif", samples, order, 0, deflated, bits=bits)
    inverted = float(low) + float(high) - expected
    assert check(path, inverted * scale, tolerance=1e-6 * float(np.abs(expected).max())) == (
        "its zero is white: inverted",
    )


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_of_deep_colour_and_alpha(tmp_path: Path, order: str, deflated: bool) -> None:
    colour = (COLOUR * 257 - 3 * (COLOUR > 9)).astype(np.uint16)
    check(tiff(tmp_path / "rgb.tif", colour, order, 2, deflated), colour @ LUMA)
    alpha = np.where(np.arange(SHAPE[0])[:, None] < 4, 0, 65535) + np.zeros(SHAPE, int)
    both = np.stack([DEEP, alpha], axis=-1).astype(np.uint16)
    assert check(tiff(tmp_path / "la.tif", both, order, 1, deflated, more={338: [2]}), np.where(alpha, DEEP, 0))
    planes = tiff(tmp_path / "planes.tif", colour, order, 2, deflated, planes=True)
    assert "of its 16 bits the upper 8 were read" in check(planes, (colour >> 8) @ LUMA)


def test_a_tiff_that_does_not_say_which_zero(tmp_path: Path) -> None:
    for samples in (GREY, DEEP):
        notes = check(tiff(tmp_path / "file.tif", samples, "<", None), samples)
        assert notes == ("PhotometricInterpretation missing, zero taken as black",)


def test_a_tiff_with_fewer_rows_than_it_announces(tmp_path: Path) -> None:
    path = tiff(tmp_path / "file.tif", GREY, "<", 1)
    rows = struct.pack("<HHII", 257, 4, 1, SHAPE[0])
    path.write_bytes(path.read_bytes().replace(rows, struct.pack("<HHII", 257, 4, 1, 2 * SHAPE[0])))
    with pytest.raises(UnusableImageError, match="fewer rows"):
        read_picture(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I", "F", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg", ".jp2"])
def test_every_mode_that_pillow_writes(tmp_path: Path, mode: str, suffix: str) -> None:
    smooth = np.add.outer(np.arange(40) * 4, np.arange(24) * 3).astype(np.uint8)
    smooth = np.where(smooth > 127, 255, 0).astype(np.uint8) if mode == "1" else smooth
    deep = {"I": np.int32, "F": np.float32, "I;16": np.uint16}.get(mode, np.uint8)
    image = Image.fromarray(smooth.astype(deep))
    path = tmp_path / f"file{suffix}"
    try:
        (image if deep != np.uint8 else image.convert(mode)).save(
            path, **({"quality": 100} if suffix == ".jpg" else {})
        )
    except (OSError, ValueError, KeyError) as error:
        pytest.skip(f"Pillow does not write it ({error})")
    check(path, smooth, tolerance=(12 if mode == "1" else 2.5) if suffix in (".jpg", ".jp2") else 1.01)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_turned_pictures_are_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"file{suffix}"
    Image.fromarray(GREY).save(path, exif=exif, quality=98)
    turned = {1: GREY, 2: GREY[:, ::-1], 3: GREY[::-1, ::-1], 4: GREY[::-1], 5: GREY.T}
    turned |= {6: np.rot90(GREY, -1), 7: GREY[::-1, ::-1].T, 8: np.rot90(GREY)}
    check(path, turned[orientation], tolerance=40 if suffix == ".jpg" else 0)


def test_damaged_exif_costs_a_note(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "file.png", exif=b"Exif\0\0rubbish!")
    assert "EXIF" in check(tmp_path / "file.png", GREY)[0]


def test_pages(tmp_path: Path) -> None:
    image, small = Image.fromarray(GREY), Image.fromarray(GREY[::2, ::2])
    image.save(tmp_path / "two.tif", save_all=True, append_images=[image])
    image.save(tmp_path / "moving.png", save_all=True, append_images=[Image.fromarray(GREY[::-1])])
    for name in ("two.tif", "moving.png"):
        with pytest.raises(UnusableImageError, match=name) as caught:
            read_picture(tmp_path / name)
        assert caught.value.reason == "several frames"
    small.encoderinfo = {"tiffinfo": {254: 1}}  # a smaller version of the same
    image.save(tmp_path / "pyramid.tif", save_all=True, append_images=[small])
    check(tmp_path / "pyramid.tif", GREY)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.png").write_bytes(content)
    with pytest.raises(UnusableImageError, match=r"file\.png") as caught:
        read_picture(tmp_path / "file.png")
    assert caught.value.reason == "unreadable"
