"""Which transfer syntaxes a compressed image may be stated as, by its own first bytes."""

from __future__ import annotations

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
    if image[:3] == b"\xff\xd8\xff":
        return _jpeg(image)
    if image[:4] == b"\xff\x4f\xff\x51":
        # ISO/IEC 15444-15: a CAP marker, right after the sizes, tells the high-throughput form.
        after_sizes = 4 + int.from_bytes(image[4:6], "big")
        return HIGH_THROUGHPUT if image[after_sizes : after_sizes + 2] == b"\xff\x50" else JPEG_2000
    if image[4:12] == b"\x00\x00\x00\x0cjP  ":  # the file format JP2, which DICOM does not want, around the stream
        return JPEG_2000
    is_rle = 1 <= int.from_bytes(image[:4], "little") <= 15 and int.from_bytes(image[4:8], "little") == RLE_HEADER
    return (uid.RLELossless,) if is_rle else ()


def _jpeg(image: bytes) -> tuple[UID, ...]:
    """By the kind of the frame (ISO/IEC 10918-1 B.2.2), which stands behind tables and comments of any length."""
    place = 2
    while place + 5 <= len(image) and image[place] == 0xFF:
        marker, precision = image[place + 1], image[place + 4]
        if marker == 0xF7:
            return JPEG_LS
        if marker == 0xC3:
            return LOSSLESS
        if marker in (0xC0, 0xC1, 0xC2):
            return BASELINE if precision == 8 else EXTENDED
        place += 1 if marker == 0xFF else 2 + int.from_bytes(image[place + 2 : place + 4], "big")
    return ()
