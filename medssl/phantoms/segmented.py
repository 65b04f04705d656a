"""Heads with masks, as several hospitals would send them that outlined different things."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import nibabel
import numpy as np
import yaml

from medssl.errors import UserError

from .head import HEAD_CLASSES, draw_head_masks
from .head_anatomy import HeadAnatomy
from .write import Study, head_spacing, studies

HOSPITALS = {"north": ("skull", "ventricles"), "east": ("brain",), "south": ("bleeding",)}
"""What each of three hospitals outlines."""


def write_segmented_heads(
    directory: str | Path,
    count: int,
    hospitals: Mapping[str, Sequence[str]] = HOSPITALS,
    seed: int = 0,
    size: tuple[int, int, int] = (48, 48, 32),
) -> Path:
    """Write heads, one of each patient, dealt to hospitals in turn, and the masks of what each of these outlined.

    `directory/north/images/NAME.nii.gz` has its masks in `directory/north/masks/NAME/skull.nii.gz` and so on. Then
    `medssl prepare DATA --sources directory/sources.yaml --dims 3` makes one datalist of them.

    Args:
        directory: a new or empty folder.
        count: heads of all hospitals together.
        hospitals: name → its classes, of `HEAD_CLASSES`.
        seed: head i depends on it and on i only, whoever outlines it.
        size: voxels of a head; the field of view stays the same.

    Returns:
        Path of `sources.yaml`.

    Raises:
        UserError: for a class that no head has, or a folder that is not empty.
    """
    directory = Path(directory)
    if wrong := sorted({name for names in hospitals.values() for name in names} - set(HEAD_CLASSES)):
        raise UserError(f"A head has no class {wrong[0]!r}: take {', '.join(HEAD_CLASSES)}.")
    if directory.exists() and any(directory.iterdir()):
        raise UserError(f"{directory} is not empty: name a new folder for the phantoms.")
    first_visits = (study for study in studies("head", seed) if study.visit == 0)
    for number, study in enumerate(islice(first_visits, count)):
        hospital = list(hospitals)[number % len(hospitals)]
        image, masks = _draw(study, seed, size)
        _save(directory / hospital / "images" / f"{study.name}.nii.gz", image)
        for name in hospitals[hospital]:
            mask = masks[HEAD_CLASSES.index(name)].astype(np.uint8)
            _save(directory / hospital / "masks" / study.name / f"{name}.nii.gz", mask)
    sources = [
        {"images": f"{name}/images", "masks": f"{name}/masks", "name": name, "modality": "CT"} for name in hospitals
    ]
    path = directory / "sources.yaml"
    path.write_text(yaml.safe_dump({"sources": sources}, sort_keys=False), encoding="utf-8")
    return path


def _draw(study: Study, seed: int, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    anatomy = HeadAnatomy.random(np.random.default_rng([seed, study.patient, 1]))
    generator = np.random.default_rng([seed, study.patient, 2, study.visit])
    return draw_head_masks(study.findings, generator, size, head_spacing(size), anatomy)


def _save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    spacing = head_spacing(values.shape)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(side - 1) / 2 * step for side, step in zip(values.shape, spacing, strict=True)]
    volume = nibabel.Nifti1Image(values, affine)
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, path)
