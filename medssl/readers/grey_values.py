"""Everything DICOM does to a grey value on its way from the file to the screen (PS3.3 C.11), on plain arrays.

In this order: stored bits; modality LUT or rescale; VOI LUT or window; inversion. Three of pydicom 3.0.2's functions
for them are wrong: `apply_voi` counts inputs in as many bits as an entry has, so a 12-bit image wraps 16 times in a LUT
of 8-bit entries; `apply_windowing` takes the rescaled top of the stored range for the highest value, so a negative
slope turns the picture round; `pixel_array` takes the lowest bits for the stored ones, whatever High Bit says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LINEAR, LINEAR_EXACT, SIGMOID = FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, eq=False)
class LookUpTable:
    """A modality, VOI or palette LUT (PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5).

    Attributes:
        first: the input value of the first entry, which those below it get as well, as those above the last get that.
        entries: [N] none negative.
        bits: of an entry, as announced, or as many as the largest one has.
    """

    first: int
    entries: np.ndarray
    bits: int


@dataclass(frozen=True)
class Window:
    """A VOI window (PS3.3 C.11.2.1.2): its centre, its width and one of `FUNCTIONS`."""

    centre: float
    width: float
    function: str = LINEAR

    @property
    def is_possible(self) -> bool:
        """Whether its numbers are such as the standard allows."""
        least_width = self.width >= 1 if self.function == LINEAR else self.width > 0
        return least_width and bool(np.isfinite([self.centre, self.width]).all())


def stored_bits(raw: np.ndarray, bits_stored: int, high_bit: int, signed: bool) -> np.ndarray:
    """The stored values within pixel cells (PS3.5 8.1.1); what other bits hold, such as overlays, is left out.

    Args:
        raw: [...] the cells, of any integer type.
        bits_stored: how many bits a value has.
        high_bit: the highest of them, counted from 0 for the cell's lowest.
        signed: whether that one is the sign (two's complement).

    Returns:
        [...] of the same width, signed or not.
    """
    width = 8 * raw.dtype.itemsize
    native = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    cells = native.view(f"{'i' if signed else 'u'}{raw.dtype.itemsize}")
    return cells if bits_stored == width else cells << (width - 1 - high_bit) >> (width - bits_stored)


def stored_range(bits_stored: int, signed: bool) -> tuple[int, int]:
    """The lowest and the highest value that so many bits can hold."""
    count = 1 << bits_stored
    return (-count // 2, count // 2 - 1) if signed else (0, count - 1)


def rescale(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Stored values [...] to the modality's units, such as HU (PS3.3 C.11.1.1.2); float64."""
    return values.astype(np.float64) * slope + intercept


def look_up_table(
    descriptor: Sequence[int], data: bytes, little: bool, in_words: bool, inputs: tuple[float, float]
) -> LookUpTable | None:
    """A LUT by its descriptor and data, in every form in which they come.

    Args:
        descriptor: entries (0 are 65536), first input value, bits of an entry.
        data: entries of 16 bits; or of 8, one to a word or, where the data are so short, one to a byte. Fewer than
            announced are taken as they are.
        little: the byte order of words.
        in_words: two entries of 8 bits share a word (VR OW), so that its byte order matters to them.
        inputs: the lowest and the highest value that may be looked up, which tell whether a first value that was
            written in 16 bits is negative.

    Returns:
        None where there are no entries.
    """
    count, first, bits = descriptor[0] & 0xFFFF or 1 << 16, descriptor[1], min(descriptor[2] & 0xFF, 16)
    if first >= 1 << 15 and (first - (1 << 16) >= inputs[0] or first > inputs[1]):
        first -= 1 << 16
    words = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2")
    if len(data) < 2 * count and len(data) <= count + 1 and (bits <= 8 or len(data) >= count):
        words = words.astype("<u2").view(np.uint8) if in_words else np.frombuffer(data, np.uint8)
    entries = words[:count].astype(np.uint16)
    if not len(entries):
        return None
    return LookUpTable(first, entries, max(bits, int(entries.max()).bit_length()))


def look_up(values: np.ndarray, table: LookUpTable) -> np.ndarray:
    """Values [...] through a LUT (PS3.3 C.11.1.1.1, C.11.2.1.1); values between two inputs go to the nearer one."""
    places = np.rint(values).astype(np.int64) - table.first
    return table.entries[places.clip(0, len(table.entries) - 1)]


def apply_window(values: np.ndarray, window: Window, low: float, high: float) -> np.ndarray:
    """Values [...] through a window, out to ``low`` … ``high``; float64.

    By value, whatever the slope of a rescale before it: low input values give low ones (PS3.3 C.11.2.1.2.1 for LINEAR,
    C.11.2.1.3.1 for SIGMOID, C.11.2.1.3.2 for LINEAR_EXACT).
    """
    values = values.astype(np.float64)
    if window.function == SIGMOID:
        # 1 / (1 + exp(-4 t)), in a form that does not overflow
        return low + (high - low) * 0.5 * (1 + np.tanh(2 * (values - window.centre) / window.width))
    lag = 1 if window.function == LINEAR else 0  # its centre lies half a value lower, its ends one value closer
    distance, width = values - (window.centre - lag / 2), window.width - lag
    if width == 0:
        return np.where(distance > 0, float(high), float(low))
    return low + (high - low) * (distance / width + 0.5).clip(0, 1)


def invert(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values [...] between ``low`` and ``high`` with black and white changed (PS3.3 C.11.6, C.7.6.3.1.2)."""
    return low + high - values


def is_padding(stored: np.ndarray, value: float, limit: float | None = None) -> np.ndarray:
    """Where stored values [...] only fill the rectangle of an image (PS3.3 C.7.5.1.1.2), from one value to another."""
    first, last = sorted((value, value if limit is None else limit))
    return (stored >= first) & (stored <= last)


def to_grey(colour: np.ndarray) -> np.ndarray:
    """Red, green and blue [..., 3] to luma [...] (ITU-R BT.601, as in Pillow); float64; where they are equal, that."""
    red, green, blue = (colour[..., channel].astype(np.float64) for channel in range(3))
    return 0.299 * red + 0.587 * green + 0.114 * blue
