"""From DICOM files to slices with their place in space, by headers only; whatever is no slice gets its reason."""

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import UID

from medssl.errors import UnusableImageError

from .dicom_file import read_header
from .dicom_numbers import numbers, text, whole_number, written
from .reading import decoding

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
KIND_TAGS = (
    *("SOPClassUID", "Modality", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation"),
    *("ModalityLUTSequence", "RescaleType"),
)
GROUP_TAGS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
HEADER_TAGS = ["SeriesInstanceUID", *KIND_TAGS, *PLACE_TAGS, *RESCALE_TAGS, *SEPARATING_TAGS, *GROUP_TAGS]
LENGTHS = {"PixelSpacing": 2, "ImagePositionPatient": 3, "ImageOrientationPatient": 6}  # of others one
OVERVIEWS = ("LOCALIZER", "SCOUT", "TOPOGRAM")
MODALITY_OF_CLASS = {"CT Image": "CT", "MR Image": "MR", "Positron": "PT", "Nuclear Medicine": "NM"}


@dataclass(frozen=True)
class Slice:
    """One slice: a file, or one frame of a multi-frame file.

    Attributes:
        file: where it is.
        frame: which frame of the file, from 0.
        series: its SeriesInstanceUID; may be empty.
        modality: ``CT``, ``MR``, …; empty where the file states none.
        corner: centre of the first pixel in LPS mm.
        cosines: directions in which the columns (first three) and the rows (last three) are counted.
        spacing: distance of rows and of columns in mm.
        shape: rows and columns.
        slope, intercept: from stored values to HU or the modality's own units.
        has_table: a modality LUT takes the place of slope and intercept.
        tags: its values of `SEPARATING_TAGS`, empty where it has none.
        notes: what was assumed or put right in its header.
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
    has_table: bool
    tags: tuple[str, ...]
    notes: tuple[str, ...]


def read_slices(file: Path) -> list[Slice]:
    """The slices of one file, from its header: one, or one a frame.

    Raises:
        UnusableImageError: the file is damaged, no image, a localiser, or lacks what a slice needs; the sentence calls
            the file "it".
    """
    if not file.is_file():  # reading a pipe would wait for ever
        raise UnusableImageError("damaged", "It is a pipe, a device or a link that leads nowhere, no file.")
    try:
        with decoding(f"{file} cannot be read as DICOM", "copy it again", "damaged"):
            header, notes, is_whole = read_header(file, HEADER_TAGS)
            _refuse_other_kinds(header, is_whole)
            notes += _state_modality(header)
            return [_slice(file, number, frame, notes) for number, frame in enumerate(_frames(header))]
    except UnusableImageError as error:
        raise UnusableImageError(error.reason, str(error).replace(str(file), "It", 1)) from error


def _refuse_other_kinds(header: pydicom.FileDataset, is_whole: bool) -> None:
    name, modality = _class_name(header), text(header, "Modality")
    if "Segmentation" in name or modality == "SEG":
        raise UnusableImageError("segmentation", f"It is a segmentation ({name}), no scan.")
    if name.startswith("RT Dose") or modality == "RTDOSE":
        raise UnusableImageError("dose", "It is a distribution of dose, no scan.")
    if "Image Storage" not in name and "Rows" not in header:
        raise UnusableImageError("no image", f"It is no image but of the kind {name or 'that it does not state'}.")
    if not is_whole:
        raise UnusableImageError("damaged", "It ends before its pixels do: it was cut off.")
    if "Secondary Capture" in name:
        sentence = "It is a secondary capture (a screenshot or a conversion), no scan."
        raise UnusableImageError("secondary capture", sentence)
    if (whole_number(header, "SamplesPerPixel") or 1) > 1 or text(header, "PhotometricInterpretation")[:7] == "PALETTE":
        raise UnusableImageError("colour image", "It is a colour image, and a volume is grey.")
    if any(word in written(header, "ImageType").upper() for word in OVERVIEWS):
        raise UnusableImageError("localiser", "It is a localiser (scout), no slice of a volume.")


def _state_modality(header: pydicom.FileDataset) -> tuple[str, ...]:
    """Put the modality of its SOP class into a header without one, and say so."""
    if text(header, "Modality"):
        return ()
    name = _class_name(header)
    header.Modality = next((modality for words, modality in MODALITY_OF_CLASS.items() if words in name), "")
    return (f"Modality missing, {header.Modality} by its SOP class",) if header.Modality else ()


def _class_name(header: pydicom.FileDataset) -> str:
    return UID(header.file_meta.get("MediaStorageSOPClassUID") or written(header, "SOPClassUID")).name


def _frames(header: pydicom.FileDataset) -> list[pydicom.Dataset]:
    """The tags of every frame, those of its functional groups among them (PS3.3 C.7.6.16)."""
    count = whole_number(header, "NumberOfFrames") or 1
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


def _slice(file: Path, number: int, header: pydicom.Dataset, notes: tuple[str, ...]) -> Slice:
    modality, has_table = text(header, "Modality"), bool(header.get("ModalityLUTSequence"))
    place = {tag: numbers(header, tag) for tag in PLACE_TAGS}
    rescale = {tag: numbers(header, tag) for tag in RESCALE_TAGS if written(header, tag)}
    if missing := [tag for tag in PLACE_TAGS if not written(header, tag)]:
        raise UnusableImageError("missing tags", f"It lacks {', '.join(missing)}, so it cannot be put into a volume.")
    # The values of CT are HU only after their rescale; other modalities may go without.
    if modality == "CT" and not has_table and len(rescale) < len(RESCALE_TAGS):
        missing = [tag for tag in RESCALE_TAGS if tag not in rescale]
        raise UnusableImageError("missing tags", f"It lacks {', '.join(missing)}, so nobody knows its values in HU.")
    if wrong := [tag for tag, values in (place | rescale).items() if not _is_possible(tag, values)]:
        sentence = f"Its {', '.join(wrong)} cannot be right, so it cannot be put into a volume."
        raise UnusableImageError("wrong tags", sentence)
    exact = {tag: tuple(float(value) for value in values if value is not None) for tag, values in place.items()}
    slope, intercept = (rescale.get(tag, (otherwise,))[0] for tag, otherwise in zip(RESCALE_TAGS, (1, 0), strict=True))
    return Slice(
        file=file,
        frame=number,
        series=written(header, "SeriesInstanceUID"),
        modality=modality,
        corner=exact["ImagePositionPatient"],
        cosines=exact["ImageOrientationPatient"],
        spacing=exact["PixelSpacing"],
        shape=(int(exact["Rows"][0]), int(exact["Columns"][0])),
        slope=float(slope or 0),
        intercept=float(intercept or 0),
        has_table=has_table,
        tags=tuple(written(header, tag) for tag in SEPARATING_TAGS),
        notes=(*notes, *_notes(header, modality, has_table)),
    )


def _is_possible(tag: str, values: tuple[float | None, ...]) -> bool:
    """Whether a tag has as many numbers as it should, and such as may be; an intercept may be any."""
    if len(values) != LENGTHS.get(tag, 1) or None in values:
        return False
    sound = [value for value in values if value is not None]
    if tag in ("Rows", "Columns", "PixelSpacing"):
        return min(sound) > 0
    return tag != "RescaleSlope" or sound[0] != 0


def _notes(header: pydicom.Dataset, modality: str, has_table: bool) -> list[str]:
    commas = [tag for tag in (*PLACE_TAGS, *RESCALE_TAGS) if "," in written(header, tag)]
    notes = [f"decimal commas in {', '.join(commas)} read as points"] if commas else []
    unit = text(header, "RescaleType")
    if modality == "CT" and unit not in ("", "HU"):
        notes.append(f"RescaleType is {unit}: values may be no HU")
    if has_table:
        notes.append("values went through its modality LUT")
    return notes
