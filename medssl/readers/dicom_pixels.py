"""The stored values of a DICOM file's frames, from every transfer syntax that an installed decoder reads."""

import contextlib
import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.uid import UID

from medssl.errors import UnusableImageError, UserError

from .codestreams import header_fault, is_encapsulated
from .dicom_numbers import text, whole_number
from .grey_values import stored_bits
from .reading import decoding

FLOATING = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
KEYWORDS = ("PixelData", *FLOATING)
GREY = ("MONOCHROME2", "MONOCHROME1", "PALETTE COLOR")  # of one sample; the first where nothing is stated
COLOUR = ("RGB", *(name for name in map(str, PhotometricInterpretation) if name not in (*GREY, "RGB")))
READ_AS = {
    # pydicom's decoder refuses samples of 12 bits, which GDCM decodes when it is told that they are lossless.
    uid.JPEGExtended12Bit: uid.JPEGLossless,
    # OpenJPEG, in Pillow and GDCM, decodes these since 2.5, and pydicom does not ask it to.
    **dict.fromkeys((uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL), uid.JPEG2000Lossless),
}
"""Transfer syntaxes, each with another by which pydicom's decoders read it."""
OWN_BITS = (*uid.JPEG2000TransferSyntaxes, *uid.JPEGLSTransferSyntaxes, uid.HTJ2K, uid.HTJ2KLossless)
"""Syntaxes whose images say themselves how wide a sample is."""


@dataclass(frozen=True)
class PixelFormat:
    """How a file's pixels lie, as the elements of its header say (PS3.3 C.7.6.3), by their names in pydicom's decoders.

    Attributes:
        pixel_keyword: one of `KEYWORDS`.
        photometric_interpretation: ``MONOCHROME1``, ``MONOCHROME2``, ``PALETTE COLOR``, ``RGB``, ….
        planar_configuration: 1 where all samples of one colour follow each other.
        bits_allocated: of a cell.
        bits_stored: of a value within it, the highest of which is ``high_bit``, counted from 0.
        pixel_representation: 1 where that one is a sign.
    """

    pixel_keyword: str
    number_of_frames: int
    rows: int
    columns: int
    samples_per_pixel: int
    photometric_interpretation: str
    planar_configuration: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int

    @property
    def is_float(self) -> bool:
        """Whether the pixels are floating-point numbers."""
        return self.pixel_keyword in FLOATING

    @property
    def is_signed(self) -> bool:
        """Whether values have a sign."""
        return self.pixel_representation == 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a frame: rows, columns and, of colour, samples."""
        shape = (self.rows, self.columns, self.samples_per_pixel)
        return shape[:2] if self.samples_per_pixel == 1 else shape

    @property
    def count_bytes(self) -> int:
        """Bytes of all frames where they are not compressed."""
        bits = self.number_of_frames * math.prod(self.shape) * self.bits_allocated
        return -(-(bits * 2 // 3 if self.photometric_interpretation.endswith("_422") else bits) // 8)


def pixel_format(path: Path, dataset: FileDataset) -> tuple[PixelFormat, tuple[str, ...]]:
    """How the pixels of a data set lie, with a note on everything that it does not say or that cannot be.

    Raises:
        UnusableImageError: ``no pixels``; ``unreadable`` where rows and columns are not stated.
    """
    keyword = next((keyword for keyword in KEYWORDS if keyword in dataset), None)
    if keyword is None:
        raise UnusableImageError("no pixels", f"{path} is DICOM without an image: take it out of the datalist.")
    notes: list[str] = []

    def stated(tag: str, possible: Container[int], otherwise: int) -> int:
        value = whole_number(dataset, tag)
        if value is None or value not in possible:
            notes.append(f"{tag} missing or impossible, taken as {otherwise}")
            value = otherwise
        return value

    rows, columns = whole_number(dataset, "Rows") or 0, whole_number(dataset, "Columns") or 0
    if rows < 1 or columns < 1:
        sentence = f"{path} does not say how many rows and columns it has: correct its header, or take it away."
        raise UnusableImageError("unreadable", sentence)
    photometric = text(dataset, "PhotometricInterpretation")
    samples = stated("SamplesPerPixel", (1, 3, 4), 3 if photometric in COLOUR else 1)
    if photometric not in (possible := GREY if samples == 1 else COLOUR):
        photometric = possible[0]
        notes.append(f"PhotometricInterpretation missing or impossible, taken as {photometric}")
    frames = stated("NumberOfFrames", range(1, 1 << 31), 1) if "NumberOfFrames" in dataset else 1
    value = dataset[keyword].value
    whole_bytes = len(value) // (frames * rows * columns * samples)  # of a cell, where they are not compressed
    planar = stated("PlanarConfiguration", (0, 1), 0) if samples > 1 else 0
    if keyword in FLOATING:
        allocated = stored = FLOATING[keyword]
        high_bit, signed = stored - 1, 1
    else:
        allocated = stated("BitsAllocated", range(1, 65), 8 * whole_bytes or 16)
        stored = stated("BitsStored", range(1, allocated + 1), allocated)
        high_bit = stated("HighBit", range(stored - 1, allocated), stored - 1)
        signed = stated("PixelRepresentation", (0, 1), 0)
    if photometric == "YBR_FULL_422" and not is_encapsulated(value) and whole_bytes * 8 >= allocated:
        photometric = "YBR_FULL"
        notes.append("each pixel has a colour of its own, as YBR_FULL has, though YBR_FULL_422 is stated")
    cell = (allocated, stored, high_bit, signed)
    return PixelFormat(keyword, frames, rows, columns, samples, photometric, planar, *cell), tuple(notes)


def read_frames(
    path: Path, dataset: FileDataset, form: PixelFormat, indices: Sequence[int]
) -> Iterator[tuple[np.ndarray, bool]]:
    """Decode frames.

    Args:
        path: of the file, for what is raised.
        dataset: with its pixels, as `read_dataset` gives it.
        form: how they lie.
        indices: of the frames, from 0, ascending.

    Yields:
        For each frame its stored values [rows, columns], of colour [rows, columns, 3] as RGB, and whether bits above
        those of a value were left out.

    Raises:
        UnusableImageError: ``unreadable``: no decoder knows the syntax, or the pixels are damaged or cut off.
    """
    syntax, value = dataset.file_meta.TransferSyntaxUID, dataset[form.pixel_keyword].value
    readable = _readable(syntax)
    if not readable:
        sentence = (
            f"{path} is compressed as {syntax.name}, which no installed decoder reads: save it uncompressed, for "
            "example with gdcmconv --raw, or take it away."
        )
        raise UnusableImageError("unreadable", sentence)
    if not is_encapsulated(value) and len(value) < form.count_bytes:
        sentence = f"{path} ends before its pixels do ({len(value)} of {form.count_bytes} bytes): copy it again."
        raise UnusableImageError("unreadable", sentence)
    value = value if is_encapsulated(value) else value[: form.count_bytes + form.count_bytes % 2]
    is_stream = syntax in uid.JPEGTransferSyntaxes  # of samples as they are, not of cells with gaps
    high_bit = form.bits_stored - 1 if is_stream else form.high_bit
    with decoding(f"{path} cannot be decoded", "it is damaged; copy it again, or take it away"):
        for raw in _decoded(dataset, value, readable, form, indices):
            if form.is_float or syntax in OWN_BITS:
                yield raw, False
            else:
                stored = stored_bits(raw, form.bits_stored, high_bit, form.is_signed)
                yield stored, high_bit == form.bits_stored - 1 and not np.array_equal(stored, raw)


def _readable(syntax: UID) -> tuple[UID, ...]:
    """The syntaxes by which pydicom's decoders may be asked for pixels of this one, one after the other."""
    found: list[UID] = []
    for one in filter(None, (syntax, READ_AS.get(syntax))):
        with contextlib.suppress(NotImplementedError):  # pydicom has never heard of it
            found += [one] if get_decoder(one).is_available else []
    return tuple(found)


def _decoded(
    dataset: FileDataset, value: bytes, syntaxes: Sequence[UID], form: PixelFormat, indices: Sequence[int]
) -> Iterator[np.ndarray]:
    if form.bits_allocated not in (1, 8, 16, 32, 64) and not is_encapsulated(value):
        yield from _unpacked(value, form, indices)
        return
    options: dict[str, Any] = asdict(form)
    options |= {"pixel_vr": dataset[form.pixel_keyword].VR, "correct_unused_bits": False}
    if is_encapsulated(value):
        if "ExtendedOffsetTable" in dataset:
            options["extended_offsets"] = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
        for image in generate_frames(value, number_of_frames=form.number_of_frames):
            if fault := header_fault(image, form.rows, form.columns, form.samples_per_pixel):
                raise UserError(fault)
    for syntax in syntaxes:
        frames = get_decoder(syntax).iter_array(value, indices=indices, **options)
        try:
            first, _ = next(frames)
        except Exception:  # each decoder raises its own kinds
            if syntax == syntaxes[-1]:
                raise
            continue
        yield first
        yield from (frame for frame, _ in frames)
        return


def _unpacked(value: bytes, form: PixelFormat, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """Frames of cells of any number of bits, one after the other (PS3.5 8.1.1); pydicom reads 1, 8, 16, 32, 64."""
    count = math.prod(form.shape) * form.bits_allocated
    bits = np.unpackbits(np.frombuffer(value, np.uint8), bitorder="little")
    for index in indices:
        cells = bits[index * count : (index + 1) * count].reshape(-1, form.bits_allocated)
        wide = np.packbits(np.pad(cells, ((0, 0), (0, 64 - form.bits_allocated))), axis=-1, bitorder="little")
        yield wide.view("<u8").reshape(form.shape)
