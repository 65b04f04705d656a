"""DICOM files opened however incomplete they are: without preamble, meta header or transfer syntax, or with wrong ones.

What a file does not state is found by trying, against the structure of its data elements (PS3.5 7.1), and said in a
note. Only what cannot be opened in any way is refused.
"""

import contextlib
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from pydicom import filereader, uid
from pydicom.datadict import dictionary_has_tag, repeater_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from medssl.errors import UnusableImageError

from .codestreams import codestream_syntaxes, is_encapsulated
from .dicom_numbers import whole_number, written
from .reading import decoding

HEAD = 4096  # bytes that are looked at to tell how a file is written
PREAMBLE, MARK = 128, b"DICM"
FEWEST_ELEMENTS = 3  # that make sense in a row, for a file without its mark to be DICOM
LAST_FIRST_GROUP = 0x0028  # of the tag that a file begins with
UNDEFINED = 0xFFFFFFFF
PIXELS = {0x7FE00008: "OF", 0x7FE00009: "OD", 0x7FE00010: "OW"}  # float, double and integer ones
EXPLICIT, DEFLATED = uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian
PLAIN = (EXPLICIT, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian)
GE_SYNTAX = UID("1.2.840.113619.5.2")  # Implicit VR Little Endian, but the pixels are big endian

Read = tuple[FileDataset, tuple[str, ...], bool]


class _Element(NamedTuple):
    tag: int
    vr: str  # empty in implicit VR
    length: int
    start: int  # of its value


def is_dicom(path: str | Path) -> bool:
    """Whether a file is DICOM by its first bytes, whatever its name; the preamble or the meta header may be missing.

    Raises:
        OSError: it cannot be opened.
    """
    path = Path(path)
    if not path.is_file():  # a pipe would wait for ever
        return False
    with path.open("rb") as stream:
        return _start(stream.read(HEAD), path.stat().st_size) is not None


def read_dataset(path: str | Path) -> tuple[FileDataset, tuple[str, ...]]:
    """Read a DICOM file however incomplete its beginning, as far as its pixels.

    Returns:
        The data set, whose ``file_meta.TransferSyntaxUID`` says how it was read, and notes on what was found out or put
        right. Pixels that are cut off are handed on as short as they are.

    Raises:
        UnusableImageError: ``damaged``: it is no DICOM, or ends in its header; the sentence begins with the path.
        OSError: it cannot be opened.
    """
    return _read(Path(path))[:2]


def read_header(path: str | Path, tags: Sequence[str | int]) -> Read:
    """As `read_dataset`, some tags alone and no pixels; and whether the file goes on as far as its pixels should.

    Uncompressed pixels are counted, so ``Rows``, ``Columns``, ``NumberOfFrames``, ``SamplesPerPixel`` and
    ``BitsAllocated`` must be among the tags; of compressed ones a beginning is enough.
    """
    return _read(Path(path), tags)


def _read(path: Path, tags: Sequence[str | int] | None = None) -> Read:
    size = path.stat().st_size
    if not path.is_file():  # a pipe would wait for ever
        raise UnusableImageError("damaged", f"{path} is a folder, a pipe or a device: name a file.")
    with path.open("rb") as stream:
        start = _start(stream.read(HEAD), size)
        if start is None:
            what = "is empty (0 bytes)" if size == 0 else "is no DICOM file, or its beginning is damaged"
            raise UnusableImageError("damaged", f"{path} {what}: copy it again, or take it away.")
        stream.seek(start)
        with decoding(f"{path} cannot be read as DICOM", "copy it again", "damaged"):
            return _parse(path, stream, tags)


def _parse(path: Path, stream: BinaryIO, tags: Sequence[str | int] | None) -> Read:
    lacks = [] if stream.tell() == PREAMBLE + len(MARK) else ["preamble"]
    meta = FileMetaDataset(_group(stream, 0x0002, implicit=False))
    commands = _group(stream, 0x0000, implicit=True)  # PS3.7 6.3; of a message that was saved as it came
    stated = UID(written(meta, "TransferSyntaxUID"))
    if not stated:
        lacks.append("transfer syntax" if meta else "file meta header")
    stream, plain = _data_set(stream, stated)
    is_empty = not _peek(stream)
    wanted: list[BaseTag | int] | None = [Tag(tag) for tag in tags] if tags else None
    header = filereader.read_dataset(
        stream, *_encoding(plain), stop_when=lambda tag, vr, length: tag in PIXELS, specific_tags=wanted
    )
    if is_empty or not (header or wanted or _peek(stream)):  # an element that never ended took the others with it
        raise UnusableImageError("damaged", f"{path} ends in its header: it was cut off; copy it again.")
    header.update(commands)
    dataset = FileDataset(str(path), header, None, meta, *_encoding(plain))
    dataset.set_original_encoding(*_encoding(plain), header._character_set)
    syntax, is_whole = plain if stated in ("", DEFLATED, *PLAIN) else stated, False
    pixels = next(_elements(_peek(stream), *_encoding(plain)), None)
    if pixels and pixels.tag in PIXELS:
        stream.seek(pixels.start, 1)
        beginning = _peek(stream)
        possible = codestream_syntaxes(beginning) if is_encapsulated(beginning) else (plain,)
        syntax = possible[0] if possible and stated not in possible else stated
        is_whole = _left(stream) >= (1 if is_encapsulated(beginning) else _count_bytes(header))
        if not tags:
            dataset[pixels.tag] = _read_pixels(stream, pixels, stated)
    meta.TransferSyntaxUID = syntax
    return dataset, _notes(lacks, stated, syntax), is_whole


def _count_bytes(header: Dataset) -> int:
    """How many bytes the uncompressed pixels that a header announces have."""
    tags = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated")
    bits = math.prod(max(whole_number(header, tag) or 1, 1) for tag in tags)
    if str(header.get("PhotometricInterpretation")).endswith("_422"):
        bits = bits * 2 // 3  # two pixels share their colour (PS3.3 C.7.6.3.1.2)
    return -(-bits // 8)


def _notes(lacks: Sequence[str], stated: UID, syntax: UID) -> tuple[str, ...]:
    if lacks:
        return (f"{' and '.join(lacks)} missing, read as {syntax.name}",)
    return () if syntax == stated else (f"transfer syntax {stated.name} read as {syntax.name}, which it is",)


def _start(head: bytes, size: int) -> int | None:
    """Where the meta header begins, or the data set where there is none; None of a file that is not DICOM."""
    behind = PREAMBLE + len(MARK)
    if head[PREAMBLE:behind] == MARK:
        return behind
    places = [0] if not head.startswith(MARK) else [len(MARK)]
    places += [place for place in (PREAMBLE, behind) if head[place : place + 2] == b"\2\0"]  # the mark is damaged
    return next((place for place in places if _is_beginning(head[place:], size - place)), None)


def _is_beginning(head: bytes, size: int) -> bool:
    beginnings = (list(islice(_sensible(head, size, syntax), FEWEST_ELEMENTS)) for syntax in PLAIN)
    return any(len(first) == FEWEST_ELEMENTS and first[0].tag >> 16 <= LAST_FIRST_GROUP for first in beginnings)


def _sensible(head: bytes, size: int, syntax: UID) -> Iterator[_Element]:
    """Elements from the first on, as long as they are such as a data set may have (PS3.5 7.1)."""
    last = -1
    for element in _elements(head, *_encoding(syntax)):
        is_length = element.tag & 0xFFFF == 0 and element.length == 4  # of a group, retired
        is_private = element.tag >> 16 & 1
        is_known = is_length or is_private or dictionary_has_tag(element.tag) or repeater_has_tag(element.tag)
        fits = element.length == UNDEFINED or element.start + element.length <= size
        if element.tag <= last or not is_known or not fits or (element.vr and element.vr not in STANDARD_VR):
            return
        yield element
        last = element.tag


def _elements(data: bytes, implicit: bool, little: bool) -> Iterator[_Element]:
    """Elements one after the other, up to one of undefined length, which is the last."""
    order, start, length = "<" if little else ">", 0, 0
    while length != UNDEFINED and start + 8 <= len(data):
        group, number = struct.unpack_from(f"{order}HH", data, start)
        vr = "" if implicit else data[start + 4 : start + 6].decode("latin1")
        place, kind = (start + 4, "L") if implicit else (start + 6, "H")
        if vr in EXPLICIT_VR_LENGTH_32:
            place, kind = start + 8, "L"
        if place + 4 > len(data):
            return
        (length,) = struct.unpack_from(f"{order}{kind}", data, place)
        start = place + (4 if kind == "L" else 2)
        yield _Element(group << 16 | number, vr, length, start)
        start += length


def _group(stream: BinaryIO, group: int, implicit: bool) -> Dataset:
    return filereader.read_dataset(stream, implicit, True, stop_when=lambda tag, vr, length: tag >> 16 != group)


def _encoding(syntax: UID) -> tuple[bool, bool]:
    """Whether a data set is in implicit VR and whether it is little endian; with compressed pixels it is explicit."""
    return syntax in (uid.ImplicitVRLittleEndian, GE_SYNTAX), syntax != uid.ExplicitVRBigEndian


def _data_set(stream: BinaryIO, stated: UID) -> tuple[BinaryIO, UID]:
    """The data set, inflated where it is deflated, and the uncompressed syntax in which its elements are written."""
    own = next(syntax for syntax in PLAIN if _encoding(syntax) == _encoding(stated))
    head, size = _peek(stream), _left(stream)
    if stated and any(_sensible(head, size, own)):
        return stream, own
    counts = {syntax: sum(1 for _ in _sensible(head, size, syntax)) for syntax in PLAIN}
    if any(counts.values()):
        return stream, max(counts, key=counts.__getitem__)
    place = stream.tell()
    with contextlib.suppress(zlib.error):
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read())
        if any(_sensible(inflated[:HEAD], len(inflated), EXPLICIT)):
            return BytesIO(inflated), DEFLATED
    stream.seek(place)
    return stream, own


def _read_pixels(stream: BinaryIO, pixels: _Element, stated: UID) -> DataElement:
    # Compressed ones to the end: where their delimiter is missing, pydicom's search for it loses the whole data set.
    compressed = is_encapsulated(_peek(stream))
    value = stream.read() if compressed else stream.read(min(pixels.length, _left(stream)))
    if stated == GE_SYNTAX:
        value = np.frombuffer(value[: len(value) // 2 * 2], ">u2").astype("<u2").tobytes()
    vr = pixels.vr if pixels.vr in ("OB", "OW") else PIXELS[pixels.tag]
    return DataElement(pixels.tag, vr, value, is_undefined_length=compressed)


def _peek(stream: BinaryIO) -> bytes:
    place = stream.tell()
    head = stream.read(HEAD)
    stream.seek(place)
    return head


def _left(stream: BinaryIO) -> int:
    place = stream.tell()
    end = stream.seek(0, 2)
    stream.seek(place)
    return end - place
