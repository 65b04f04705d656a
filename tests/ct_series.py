"""Series of CT slices, good and bad ones, for tests of several rooms (pytest puts this folder on the path)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file


def save_series(folder: Path, places: Sequence[float] = range(20), name: str = "", number: str = "1") -> list[Path]:
    """A series of slices at ``places`` mm along the body."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}{place:02}.dcm" for place in range(len(places))]
    for file, place in zip(files, places, strict=True):
        dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        dataset.SeriesInstanceUID = f"1.2.{number}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.{number}.{place}"
        dataset.ImagePositionPatient = [0, 0, place]
        dataset.PixelData = np.roll(dataset.pixel_array, int(place)).tobytes()
        dataset.save_as(file)
    return files


def cut(file: Path) -> None:
    """Take away the second half of a file."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def series_of_three_kinds(folder: Path, apart: bool) -> None:
    """A good series, one without 6 of its 20 slices, and one with a slice that is cut; in a folder each, or in one."""
    for number, kind in enumerate(("good", "uneven", "cut")):
        places = [place for place in range(20) if kind != "uneven" or not 7 <= place < 13]
        files = save_series(folder / kind if apart else folder, places, kind, str(number))
        if kind == "cut":
            cut(files[9])
