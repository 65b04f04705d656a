"""From DICOM files to slices with their place in space, by headers only; whatever is no slice gets its reason."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import UID

from medssl.errors import UnusableImageError

# What tells volumes of one series and one place apart, the most telling first; the names on the right of a pair are
# those of enhanced multi-frame files.
SEPARATING_TAGS = (
    *("AcquisitionNumber", "FrameAcquisitionNumber"),
    *("TemporalPositionIdentifier", "TemporalPositionIndex"),
    "StackID",
    *("EchoNumbers", "EchoTime", "EffectiveEchoTime"),
    *("TriggerTime", "NominalPercentageOfCardiacPhase"),
    "DiffusionBValue",
    *("ImageType", "FrameType"),
    "ConvolutionKernel",
    *("ContentTime", "AcquisitionTime"),
)
PLACE_TAGS = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
RESCALE_TAGS = ("RescaleSlope", "RescaleIntercept")
KIND_TAGS = ("SOPClassUID", "Modality", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "ModalityLUTSequence")
GROUP_TAGS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
HEADER_TAGS = ["SeriesInstanceUID", *KIND_TAGS, *PLACE_TAGS, *RESCALE_TAGS, *SEPARATING_TAGS, *GROUP_TAGS]
LENGTHS = {"PixelSpacing": 2, "ImagePositionPatient": 3, "ImageOrientationPatient": 6}  # of others one
OVERVIEWS = ("LOCALIZER", "SCOUT", "TOPOGRAM")


@dataclass(frozen=True)
class Slice:
    """One slice: a file, or one frame of a multi-frame file.

    Attributes:
        file: where it is.
        frame: which frame of the file, from 0.
        series: its SeriesInstanceUID; may be empty.
        modality: ``CT``, ``MR``, …
        corner: centre of the first pixel in LPS mm.
        cosines: directions in which the columns (first three) and the rows (last three) are counted.
        spacing: distance of rows and of columns in mm.
        shape: rows and columns.
        slope: with ``intercept``, from stored values to HU or the modality's own units.
        intercept: see ``slope``.
        tags: its values of `SEPARATING_TAGS`, empty where it has none.
    """

    file: Path
    frame: int
    series: str
    modality: str
    corner: tuple[float, ...]
    cosines: tuple[float, ...]
    spacing: tuple[float, ...]
    shape: tuple[int, int]
    slope: float
    intercept: float
    tags: tuple[str, ...]


def read_slices(file: Path) -> list[Slice]:
    """The slices of one file, from its header: one, or one a frame.

    Raises:
        UnusableImageError: the file is damaged, no image, a localiser, or lacks what a slice needs; the sentence calls
            the file "it".
    """
    try:
        header, is_whole = _read_header(file)
        _refuse_other_kinds(header, is_whole)
        frames = _frames(header)
        return [_slice(file, number, frame) for number, frame in enumerate(frames)]
    except UnusableImageError:
        raise
    except Exception as error:  # pydicom raises nearly anything on a damaged file
        raise UnusableImageError("damaged", f"It cannot be read as DICOM ({one_line(error)}).") from error


def one_line(error: Exception) -> str:
    """An error's own words in one line, or its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _read_header(file: Path) -> tuple[pydicom.FileDataset, bool]:
    """The tags that matter here, and whether pixels follow them; uncompressed ones are counted by the file's size."""
    size = file.stat().st_size
    if size == 0:
        raise UnusableImageError("damaged", "It is empty (0 bytes).")
    with file.open("rb") as stream:
        header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(HEADER_TAGS))
        left = size - stream.tell()  # the stream stands at the pixels, or at or beyond the end where there are none
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax and syntax.is_deflated:
        return header, True  # read in one piece
    if not syntax or syntax.is_encapsulated:
        return header, left > 0
    values = [int(header.get(tag) or 1) for tag in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")]
    expected = math.prod(values) * int(header.get("BitsAllocated") or 8) // 8
    return header, left >= expected + (8 if syntax.is_implicit_VR else 12)  # their tag and length come first


def _refuse_other_kinds(header: pydicom.FileDataset, is_whole: bool) -> None:
    meta = header.file_meta
    name = UID(meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID") or "").name
    modality = str(header.get("Modality") or "")
    if "Segmentation" in name or modality == "SEG":
        raise UnusableImageError("segmentation", f"It is a segmentation ({name}), no scan.")
    if name.startswith("RT Dose") or modality == "RTDOSE":
        raise UnusableImageError("dose", "It is a distribution of dose, no scan.")
    # The syntax comes last in the meta header: without it the file ends there, and the name may be cut.
    if meta.get("TransferSyntaxUID") and "Image Storage" not in name and header.get("Rows") is None:
        raise UnusableImageError("no image", f"It is no image but of the kind {name}.")
    if not is_whole:
        raise UnusableImageError("damaged", "It ends before its pixels do: it was cut off.")
    if "Secondary Capture" in name:
        raise UnusableImageError(
            "secondary capture", "It is a secondary capture (a screenshot or a conversion), no scan."
        )
    if int(header.get("SamplesPerPixel") or 1) > 1:
        raise UnusableImageError("colour image", "It is a colour image, and a volume is grey.")
    if any(word in str(part).upper() for part in _values(header.get("ImageType")) for word in OVERVIEWS):
        raise UnusableImageError("localiser", "It is a localiser (scout), no slice of a volume.")


def _frames(header: pydicom.FileDataset) -> list[pydicom.Dataset]:
    """The tags of every frame, those of its functional groups among them (PS3.3 C.7.6.16)."""
    count = int(header.get("NumberOfFrames") or 1)
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    if not own and count == 1:
        return [header]
    if not own:
        raise UnusableImageError("frames without position", f"It holds {count} frames but not where each one lies.")
    if len(own) != count:
        raise UnusableImageError("damaged", f"It holds {count} frames and describes {len(own)}.")
    plain = pydicom.Dataset()
    plain.update({element.tag: element for element in header if element.keyword not in GROUP_TAGS})
    for shared in header.get("SharedFunctionalGroupsSequence") or []:
        _add_groups(plain, shared)
    frames = [pydicom.Dataset() for _ in own]
    for frame, groups in zip(frames, own, strict=True):
        frame.update(plain)
        _add_groups(frame, groups)
    return frames


def _add_groups(frame: pydicom.Dataset, groups: pydicom.Dataset) -> None:
    for group in groups:
        if group.VR == "SQ" and group.value:
            frame.update(group.value[0])


def _slice(file: Path, number: int, header: pydicom.Dataset) -> Slice:
    own = {element.keyword: _values(element.value) for element in header}
    modality = str(*own.get("Modality", [])[:1]) or "unknown"
    if own.get("ModalityLUTSequence"):
        raise UnusableImageError("modality LUT", "Its values go through a table, and here only a rescale is applied.")
    # Without their rescale the values of CT are not HU; other modalities may go without.
    needed = [*PLACE_TAGS, *RESCALE_TAGS] if modality == "CT" else PLACE_TAGS
    if missing := [tag for tag in needed if not own.get(tag)]:
        raise UnusableImageError("missing tags", f"It lacks {', '.join(missing)}, so it cannot be put into a volume.")
    numbers = _numbers(own)
    return Slice(
        file=file,
        frame=number,
        series="".join(map(str, own.get("SeriesInstanceUID", []))),
        modality=modality,
        corner=numbers["ImagePositionPatient"],
        cosines=numbers["ImageOrientationPatient"],
        spacing=numbers["PixelSpacing"],
        shape=(int(numbers["Rows"][0]), int(numbers["Columns"][0])),
        slope=numbers["RescaleSlope"][0],
        intercept=numbers["RescaleIntercept"][0],
        tags=tuple("\\".join(map(str, own.get(tag, []))) for tag in SEPARATING_TAGS),
    )


def _numbers(own: dict[str, list[object]]) -> dict[str, tuple[float, ...]]:
    """The values of place and rescale, checked."""
    values = {"RescaleSlope": [1], "RescaleIntercept": [0]} | {tag: value for tag, value in own.items() if value}
    numbers = {tag: tuple(float(str(value)) for value in values[tag]) for tag in (*PLACE_TAGS, *RESCALE_TAGS)}
    wrong = [
        tag
        for tag, own_numbers in numbers.items()
        if len(own_numbers) != LENGTHS.get(tag, 1)
        or not all(map(math.isfinite, own_numbers))
        or (tag in ("Rows", "Columns", "PixelSpacing") and min(own_numbers) <= 0)
        or (tag == "RescaleSlope" and own_numbers[0] == 0)
    ]
    if wrong:
        tags = ", ".join(wrong)
        raise UnusableImageError("wrong tags", f"Its {tags} cannot be right, so it cannot be put into a volume.")
    return numbers


def _values(value: object) -> list[object]:
    """A tag's values: none, one or several."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
