"""Radiographs: the study that a file holds, and PNG, JPEG, TIFF, BMP or DICOM files to grey arrays."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from medssl.errors import MissingFileError, UnusableImageError

from .dicom_display import Step, apply_palette, is_inverted, modality_step, padding_limits, voi_choices
from .dicom_file import is_dicom, read_dataset
from .dicom_numbers import text, written
from .dicom_pixels import KEYWORDS, PixelFormat, pixel_format, read_frames
from .grey_values import invert, is_padding, stored_range, to_grey
from .pictures import read_picture, several_frames
from .reading import Reading, decoding
from .study import Found, file_study
from .units import Unit

Notes = tuple[str, ...]
SECTIONAL = ("CT", "MR", "PT", "NM", "US")
"""Modalities of DICOM files that are no radiographs."""
NO_PICTURES = ("Segmentation", "RT Dose", "Parametric Map")
"""What the kinds (SOP classes) of DICOM files whose pixels are no picture have in their names."""
NEARLY_ALL = 0.999  # of the pixels: a window that makes so many alike shows nothing


def radiograph_studies(unit: Unit) -> Found:
    """The study of a picture or DICOM file."""
    return file_study(unit, partial(read_radiograph, unit.path))


def read_radiograph(path: str | Path, voi_lut: bool = True) -> Reading:
    """Read the grey image of a PNG, JPEG, TIFF, BMP or DICOM file.

    Values are those of the file, with bright as high; see `medssl.transforms.LoadRadiograph`.

    Args:
        path: of the file.
        voi_lut: apply a DICOM's first usable VOI LUT or window.

    Returns:
        The image, its modality where it is DICOM, and notes on everything that was put right or assumed.

    Raises:
        MissingFileError: there is no such file.
        UnusableImageError: the file is empty, damaged, no radiograph, or holds several frames.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no image file {path}: check the path in the datalist.")
    if path.stat().st_size == 0:
        sentence = f"{path} is empty (0 bytes): copy it again, or take it out of the datalist."
        raise UnusableImageError("empty file", sentence)
    reading = _read_dicom(path, voi_lut) if is_dicom(path) else read_picture(path)
    grey = reading.values
    if grey.size == 0 or not np.isfinite(grey).all():
        sentence = f"{path} has no pixels or pixels that are not finite: take it out of the datalist."
        raise UnusableImageError("not finite", sentence)
    return replace(reading, values=np.require(grey, np.float32, ["C", "W"]))


def _read_dicom(path: Path, voi_lut: bool) -> Reading:
    try:
        dataset, notes = read_dataset(path)
    except UnusableImageError as error:  # one word for all radiographs that cannot be read
        raise UnusableImageError("unreadable", str(error)) from error
    _refuse_other_kinds(path, dataset)
    form, form_notes = pixel_format(path, dataset)
    if form.number_of_frames > 1:
        raise several_frames(path, form.number_of_frames)
    stored, is_cut = next(read_frames(path, dataset, form, [0]))
    frames = len(dataset[form.pixel_keyword].value) // form.count_bytes
    if frames > 1 and not dataset.file_meta.TransferSyntaxUID.is_compressed:
        notes += (f"its pixels fill {frames} frames where one is announced: the first was read",)
    if is_cut:
        notes += (f"bits beside the {form.bits_stored} that a value has were left out",)
    if form.photometric_interpretation == "PALETTE COLOR":
        with decoding(f"The palette of {path} cannot be read", "save it as a grey image, or take it away"):
            stored = apply_palette(stored, dataset, stored_range(form.bits_stored, form.is_signed))
    if stored.ndim == 3:
        colour_notes = ("colour was turned to grey",) if np.ptp(stored, axis=2).any() else ()
        return Reading(to_grey(stored), None, notes + form_notes + colour_notes, text(dataset, "Modality"))
    grey, grey_notes = _grey(dataset, form, stored, voi_lut)
    return Reading(grey, None, notes + form_notes + grey_notes, text(dataset, "Modality"))


def _refuse_other_kinds(path: Path, dataset: FileDataset) -> None:
    kind = UID(written(dataset.file_meta, "MediaStorageSOPClassUID") or written(dataset, "SOPClassUID")).name
    if not any(keyword in dataset for keyword in KEYWORDS):
        if "Image Storage" in kind or "Rows" in dataset:
            raise UnusableImageError("unreadable", f"{path} ends before its pixels: it was cut off; copy it again.")
        raise UnusableImageError("no pixels", f"{path} is DICOM without an image: take it out of the datalist.")
    if any(part in kind for part in NO_PICTURES):
        raise UnusableImageError("not a radiograph", f"{path} is no picture but {kind}: take it out of the datalist.")
    modality = text(dataset, "Modality")
    if modality in SECTIONAL:
        advice = "take it away, or prepare volumes with --dims 3"
        raise UnusableImageError("not a radiograph", f"The modality of {path} is {modality}, no radiograph: {advice}.")


def _grey(dataset: FileDataset, form: PixelFormat, stored: np.ndarray, voi_lut: bool) -> tuple[np.ndarray, Notes]:
    """Stored values to those that are shown, bright as high."""
    inputs = (stored.min(), stored.max()) if form.is_float else stored_range(form.bits_stored, form.is_signed)
    modality, notes = modality_step(dataset, inputs)
    is_image = _where_image(dataset, form, stored)
    grey, voi_notes = _shown(dataset, stored, modality, is_image) if voi_lut else (_through(stored, modality), ())
    inverted, polarity_notes = is_inverted(dataset, form.photometric_interpretation)
    own = grey if is_image is None else grey[is_image]
    low, high = float(own.min()), float(own.max())
    if inverted:
        grey = invert(grey, low, high)
    notes += voi_notes + polarity_notes
    if is_image is None:
        return grey, notes
    grey[~is_image] = low
    return grey, (*notes, "padding was made black")


def _where_image(dataset: FileDataset, form: PixelFormat, stored: np.ndarray) -> np.ndarray | None:
    """Where stored values are no padding; None if they are all alike in that."""
    limits = padding_limits(dataset, form.is_signed)
    is_image = None if limits is None else ~is_padding(stored, *limits)
    return None if is_image is None or is_image.all() or not is_image.any() else is_image


def _shown(
    dataset: FileDataset, stored: np.ndarray, modality: Step, is_image: np.ndarray | None
) -> tuple[np.ndarray, Notes]:
    """Stored values after the first VOI LUT or window that shows something of them, or without any."""
    notes: list[str] = []
    for choice in voi_choices(dataset, modality.outputs):
        if isinstance(choice, str):
            notes.append(choice)
            continue
        grey = _through(stored, modality, choice)
        if not _is_flat(grey, is_image) or _is_flat(stored, is_image):
            return grey, tuple(notes)
        notes.append(f"{choice.name} left out: it shows nothing of the image")
    return _through(stored, modality), tuple(notes)


def _is_flat(values: np.ndarray, is_image: np.ndarray | None) -> bool:
    """Whether nearly all pixels are as dark, or as bright, as any."""
    own = values if is_image is None else values[is_image]
    return any(np.count_nonzero(own == end) > NEARLY_ALL * own.size for end in (own.min(), own.max()))


def _through(stored: np.ndarray, *steps: Step) -> np.ndarray:
    """Stored values after some steps, float32; where there are fewer values than pixels, by a table of them."""
    needed = [step.apply for step in steps if step.name]
    low, high = stored.min(), stored.max()
    by_table = needed and stored.dtype.kind != "f" and int(high) - int(low) < stored.size
    values = np.arange(int(low), int(high) + 1) if by_table else stored
    for apply in needed:
        values = apply(values)
    values = values.astype(np.float32)
    return values[np.subtract(stored, low, dtype=np.intp)] if by_table else values
