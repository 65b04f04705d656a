"""The masks of a DICOM series as DICOM SEG, on the very slices of the series, by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom

from medssl import __version__
from medssl.errors import UserError
from medssl.files import whole_file
from medssl.readers.dicom_file import is_dicom
from medssl.readers.dicom_geometry import LPS_TO_RAS
from medssl.readers.dicom_series import find_stacks
from medssl.readers.dicom_slices import Slice
from medssl.readers.study import Study
from medssl.transforms import Grid

SCHEME = "99MEDSSL"
"""Of the codes of classes, which are the user's own words."""


NEEDED = ("StudyInstanceUID", "SOPClassUID", "SOPInstanceUID")
"""Without which a DICOM SEG would belong to no study, or to no slices."""


def check_highdicom() -> None:
    """Raise `UserError` when highdicom is not installed."""
    if find_spec("highdicom") is None:
        raise UserError("DICOM SEG needs highdicom: pip install 'medssl[dicomseg]', or leave --dicom_seg out.")


def write_dicom_seg(study: Study, bits: np.ndarray, grid: Grid, names: Sequence[str], path: Path) -> str:
    """Write ``path`` with the suffix ``.dcm`` for a series of DICOM slices; of other images nothing is written.

    Each pixel of a slice gets the nearest voxel of the mask. So slices that were straightened (gantry tilt) or between
    which was interpolated have their own masks, and their own places.

    Args:
        study: the image.
        bits: [X, Y, Z], class c bit c.
        grid: where its voxels lie.
        names: of the classes.
        path: of the masks, without suffix.

    Returns:
        Why nothing was written of a series; "" otherwise.
    """
    if grid.affine is None or not is_dicom(study.files[0]):
        return ""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    stacks = [stack for stack in find_stacks(study.files)[0] if set(stack.files) == set(study.files)]
    if len(stacks) != 1 or not names:
        return "no DICOM SEG: its slices are not one series"
    slices = list(stacks[0].slices)
    sources = [pydicom.dcmread(file, force=True) for file in stacks[0].files]
    if len(sources) == 1:
        slices.sort(key=lambda one: one.frame)
        if len(slices) != int(sources[0].get("NumberOfFrames", 1)):
            return "no DICOM SEG: not every frame of its file is a slice"
    frames = np.stack([_on_slice(one, bits, grid) for one in slices])
    masks = np.stack([(frames >> number & 1).astype(np.uint8) for number in range(len(names))], axis=-1)
    there = [number for number in range(len(names)) if masks[..., number].any()]
    if not there:
        return "no DICOM SEG: nothing was found"
    algorithm = hd.AlgorithmIdentificationSequence("medssl", codes.DCM.ArtificialIntelligence, __version__)
    described = [
        hd.seg.SegmentDescription(
            segment_number=number + 1,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=hd.sr.CodedConcept(f"C{number + 1}", SCHEME, name[:64]),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(names)
    ]
    for source in sources:  # what a data set leaves empty, its file's head may state
        for keyword in ("SOPClassUID", "SOPInstanceUID"):
            if not source.get(keyword) and (stated := source.file_meta.get(f"MediaStorage{keyword}")):
                setattr(source, keyword, stated)
    if lacking := [key for key in NEEDED if not all(source.get(key) for source in sources)]:
        return f"no DICOM SEG: its headers lack {', '.join(lacking)}"
    try:
        dataset = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=masks,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=described,
            series_instance_uid=hd.UID(),
            series_number=1000,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="medssl",
            manufacturer_model_name="medssl",
            software_versions=__version__,
            device_serial_number="0",
            series_description="Masks by a network, for research only",
        )
    except Exception as error:  # a header that lacks what DICOM asks for raises nearly anything
        return f"no DICOM SEG: its headers do not allow it ({type(error).__name__}: {' '.join(str(error).split())})"
    with whole_file(path.with_name(f"{path.name}.dcm")) as temporary:
        dataset.save_as(temporary)
    return ""


def _on_slice(one: Slice, bits: np.ndarray, grid: Grid) -> np.ndarray:
    """Bits of the pixels [rows, columns] of a slice, each of the nearest voxel; 0 outside."""
    assert grid.affine is not None
    across, down = np.array(one.cosines[:3]), np.array(one.cosines[3:])
    to_lps = np.eye(4)  # from (column, row) to LPS mm
    to_lps[:3, 0], to_lps[:3, 1], to_lps[:3, 3] = across * one.spacing[1], down * one.spacing[0], one.corner
    places = np.linalg.inv(grid.affine) @ LPS_TO_RAS @ to_lps
    columns, rows = np.meshgrid(np.arange(one.shape[1]), np.arange(one.shape[0]))
    voxels = np.rint(
        places[:3, 0, None, None] * columns + places[:3, 1, None, None] * rows + places[:3, 3, None, None]
    ).astype(int)
    limits = np.array(bits.shape)[:, None, None]
    inside = ((voxels >= 0) & (voxels < limits)).all(axis=0)
    found = bits[tuple(np.clip(voxels, 0, limits - 1))]
    return np.where(inside, found, 0)
