"""Compressed images within DICOM: which transfer syntaxes they agree with, and whether their headers are sound."""

from collections.abc import Iterator

from pydicom import uid
from pydicom.uid import UID

ITEM = b"\xfe\xff\x00\xe0"  # PS3.5 A.4: each piece of compressed pixels begins with it
ITEM_HEADER = 8
RLE_HEADER = 64  # PS3.5 G.5: also the place of the first segment

BASELINE = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
EXTENDED = (uid.JPEGExtended12Bit,)
LOSSLESS = (uid.JPEGLosslessSV1, uid.JPEGLossless)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000, uid.JPEG2000Lossless, uid.JPEG2000MC, uid.JPEG2000MCLossless)
HIGH_THROUGHPUT = (uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL)

JPEG_START, JPEG_2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
HUFFMAN_TABLE, QUANTISATION_TABLE, SCAN, JFIF, ADOBE, LS_FRAME = 0xC4, 0xDB, 0xDA, 0xE0, 0xEE, 0xF7
FRAMES = {0xC0: BASELINE, 0xC1: BASELINE, 0xC2: BASELINE, 0xC3: LOSSLESS, LS_FRAME: JPEG_LS}
SEGMENTS = (*FRAMES, HUFFMAN_TABLE, QUANTISATION_TABLE, SCAN, 0xDD, 0xFE, 0xF8, *range(0xE0, 0xF0))


def is_encapsulated(value: bytes) -> bool:
    """Whether the value of a pixel element consists of items, as that of compressed pixels does."""
    return value[:4] == ITEM


def codestream_syntaxes(value: bytes) -> tuple[UID, ...]:
    """The transfer syntaxes that the first image in a pixel element's value agrees with, the likeliest first.

    Args:
        value: at least the first few thousand bytes, from the offset table on.

    Returns:
        None of them where the image is of no known kind.
    """
    table = ITEM_HEADER + int.from_bytes(value[4:8], "little")
    image = value[table + ITEM_HEADER :] if is_encapsulated(value[table : table + 4]) else value[ITEM_HEADER:]
    if image.startswith(JPEG_START):
        frames = (pair for pair in _segments(image) if pair[0] in FRAMES)
        marker, frame = next(frames, (0, b""))
        return EXTENDED if FRAMES.get(marker) is BASELINE and frame[0] > 8 else FRAMES.get(marker, ())
    if image.startswith(JPEG_2000_START):
        # ISO/IEC 15444-15: a CAP marker, right after the sizes, tells the high-throughput form.
        after_sizes = 4 + int.from_bytes(image[4:6], "big")
        return HIGH_THROUGHPUT if image[after_sizes : after_sizes + 2] == b"\xff\x50" else JPEG_2000
    if image[4:8] == b"jP  ":  # the file format JP2, which DICOM does not want, around the stream
        return JPEG_2000
    is_rle = 1 <= int.from_bytes(image[:4], "little") <= 15 and int.from_bytes(image[4:8], "little") == RLE_HEADER
    return (uid.RLELossless,) if is_rle else ()


def header_fault(image: bytes, rows: int, columns: int, samples: int) -> str:
    """What is wrong with the header of a JPEG, JPEG-LS or JPEG 2000 image; empty where it is sound, or of another kind.

    GDCM 3.2 ends the whole process on such faults, where an error would do. The size is that in the DICOM header.
    """
    if image.startswith(JPEG_START):
        segments = dict(_segments(image))
        tables = {HUFFMAN_TABLE} if 0xC3 in segments else {HUFFMAN_TABLE, QUANTISATION_TABLE}
        frame = next((segments[marker] for marker in FRAMES if marker in segments), b"")
        colours, version = segments.get(ADOBE, b"")[11:12], segments.get(JFIF, b"")[5:6]
        if SCAN not in segments or len(frame) < 6 or not (LS_FRAME in segments or tables <= set(segments)):
            return "the header of its JPEG image is damaged"
        own = (int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"), frame[5])
        is_sound = 2 <= frame[0] <= 16 and colours <= b"\2" and version in (b"", b"\1")
    elif image.startswith(JPEG_2000_START) and len(image) > 42:
        right, bottom, left, top = (int.from_bytes(image[place : place + 4], "big") for place in range(8, 24, 4))
        own = (bottom - top, right - left, int.from_bytes(image[40:42], "big"))
        is_sound = (image[42] & 0x7F) < 32  # bits, less one
    else:
        return ""
    if own != (rows, columns, samples):
        return f"its compressed image has the size {own} where {(rows, columns, samples)} is announced"
    return "" if is_sound else "the header of its compressed image is damaged"


def _segments(image: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers of a JPEG with what follows each, up to its data or to one that cannot be (ISO/IEC 10918-1 B.1.1)."""
    place = 2
    while place + 4 <= len(image) and image[place] == 0xFF:
        marker, length = image[place + 1], int.from_bytes(image[place + 2 : place + 4], "big")
        if marker == 0xFF:  # fills up
            place += 1
            continue
        if marker not in SEGMENTS or place + 2 + length > len(image):
            return
        yield marker, image[place + 4 : place + 2 + length]
        if marker == SCAN:
            return
        place += 2 + length
