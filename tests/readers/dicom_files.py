"""DICOM files drawn for the tests of readers: any layout of pixels, any LUT, any transfer syntax."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid


def picture(rows: int = 24, columns: int = 20, top: int = 4095) -> np.ndarray:
    """[rows, columns] a slope from 0 to ``top`` with a bright corner: turned, mirrored or inverted it is another."""
    row, column = np.mgrid[:rows, :columns]
    image = (3 * row + column) * top // (3 * rows + columns - 4)
    image[1:4, 2:8] = top
    return image


def radiograph(cells: np.ndarray, syntax: UID = ExplicitVRLittleEndian, bits: int = 0, **tags: object) -> FileDataset:
    """A radiograph of cells [rows, columns] or, in colour, [rows, columns, 3], as wide and signed as their type is."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        DigitalXRayImageStorageForPresentation,
        generate_uid(),
    )
    data = FileDataset("", {}, b"\0" * 128, meta, syntax.is_implicit_VR, syntax.is_little_endian)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality = "DX"
    data.Rows, data.Columns = cells.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = 8 * cells.dtype.itemsize
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(cells.dtype.kind == "i")
    if cells.ndim == 3:
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.PixelData = cells.astype(cells.dtype.newbyteorder("<" if syntax.is_little_endian else ">")).tobytes()
    data["PixelData"].VR = "OB" if data.BitsAllocated == 8 and not syntax.is_implicit_VR else "OW"
    for name, value in tags.items():
        if isinstance(value, tuple):  # with its VR
            data.add_new(name, *value)
        else:
            setattr(data, name, value)
    return data


def lut(
    first: int, entries: np.ndarray, bits: int, form: str = "US", count: int | None = None, big: bool = False
) -> Dataset:
    """An item with a LUT.

    Args:
        first: the input of the first entry.
        entries: [N].
        bits: of an entry, as announced.
        form: ``US`` or ``OW``: an entry a word; ``packed``: two a word; ``OB``: bytes.
        count: as announced; as many as there are by default.
        big: the data are for a big-endian file.
    """
    item, order = Dataset(), ">" if big else "<"
    count = (len(entries) if count is None else count) & 0xFFFF
    item.add_new(
        "LUTDescriptor",
        "SS" if first < 0 else "US",
        [count - 65536 if first < 0 and count > 32767 else count, first, bits],
    )
    if form == "US":
        item.add_new("LUTData", "US", entries.tolist())
    elif form == "OW":
        item.add_new("LUTData", "OW", entries.astype(f"{order}u2").tobytes())
    else:
        padded = np.pad(entries, (0, len(entries) % 2)).astype(np.uint8)
        words = padded.view("<u2").astype(f"{order}u2") if form == "packed" else padded
        item.add_new("LUTData", "OB" if form == "OB" else "OW", words.tobytes())
    return item


def save(path: Path, data: FileDataset) -> Path:
    """Write it in its transfer syntax."""
    data.save_as(path, enforce_file_format=True)
    return path
