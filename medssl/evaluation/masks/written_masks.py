"""Masks as files on the grid of their images, and how large each class is in them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from PIL import Image

from medssl.errors import UserError
from medssl.files import whole_file
from medssl.readers.study import Study
from medssl.readers.suffixes import without_suffix
from medssl.transforms import Grid, grid_of

from .mask_inferer import ORIGINAL

FORMS = ("auto", "one", "each")
"""One file an image, whose values are numbers of classes; or one file a class; or what fits the classes."""
SHOWN = 255
"""What stands for 1 in a picture of one class, to be seen."""


def one_file(form: str, classes: Sequence[str], contains: Mapping[str, Sequence[str]], disjoint: bool) -> bool:
    """Whether the masks of an image are one file, in which each voxel has one class at most.

    Args:
        form: of `FORMS`; `auto` means one file of classes that never share a voxel, else one a class.
        classes: names of the classes.
        contains: class → those that make it up.
        disjoint: whether the network's classes never share a voxel.

    Raises:
        UserError: for another form; or one file is asked for where classes contain others.
    """
    if form not in FORMS:
        raise UserError(f"masks is {form!r}, and must be one of {', '.join(FORMS)}.")
    if form == "one" and contains:
        whole, parts = next(iter(contains.items()))
        raise UserError(
            f"In one file a voxel has one class, and {whole} contains {parts[0]}: give --masks each, a file a class."
        )
    return form == "one" or (form == "auto" and (disjoint or len(classes) == 1))


def size_names(classes: Sequence[str], spatial_dims: int) -> list[str]:
    """What the sizes of classes are called: in ml, or of radiographs, whose scale nobody knows, in pixels."""
    return [f"{name} {'pixels' if spatial_dims == 2 else 'ml'}" for name in classes]


class WrittenMasks:
    """Write the masks of an evaluator's images, and give the sizes of their classes in place of them.

    The evaluator's output is that of `MaskInferer`, one image a batch, and is not decollated. Masks are
    ``FOLDER/NAME.nii.gz`` (of volumes, with the image's affine) or ``.png``, or ``FOLDER/NAME/CLASS.…``; NAME is that
    of the image below ``base``, without its suffix. Beside them lies ``classes.csv``: which number and which name of a
    file each class has. Attach this before `medssl.evaluation.PredictionRows`, which then writes volumes in ml (pixels,
    of radiographs) and, under ``mask``, where the file lies.

    Args:
        folder: for the masks.
        names: of the C classes.
        base: folder that the images are named relative to.
        one: whether an image's masks are one file; a voxel of several classes would get the last of them.
        studies: which the images were; only for ``also``.
        also: writes the masks of a study once more: called with the study, the bits and their grid, the names of the
            classes and a path without suffix, it gives a note, "" for none; as `medssl.evaluation.write_dicom_seg`.
    """

    def __init__(
        self,
        folder: str | Path,
        names: Sequence[str],
        base: str | Path,
        one: bool = False,
        studies: Sequence[Study] = (),
        also: Callable[[Study, np.ndarray, Grid, Sequence[str], Path], str] | None = None,
    ) -> None:
        self.folder, self.names, self.base, self.one = Path(folder), list(names), Path(base).resolve(), one
        self.studies, self.also = {str(study.path): study for study in studies}, also
        self.files = _file_names(self.names)
        self._taken: set[str] = set()

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)

    def begin(self, engine: Engine) -> None:
        """Write the table of the classes."""
        self._taken.clear()
        with (
            whole_file(self.folder / "classes.csv") as path,
            path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
        ):
            rows = [
                [number if self.one else 1, name, "" if self.one else self.files[number - 1]]
                for number, name in enumerate(self.names, 1)
            ]
            csv.writer(stream, lineterminator="\n").writerows([["number", "class", "file"], *rows])

    def add(self, engine: Engine) -> None:
        """Write the masks of the one image of a batch."""
        output, batch = cast(dict[str, Any], engine.state.output), cast(dict[str, Any], engine.state.batch)
        sizes, batch["mask"] = [0.0] * len(self.names), [""]
        if not batch["reason"][0]:
            bits, grid, file = output[CommonKeys.PRED][0].cpu().numpy(), grid_of(batch, ORIGINAL), batch["file"][0]
            path = self._path(Path(file))
            written = self._write(bits, grid, path)
            batch["mask"] = [written.relative_to(self.folder.parent).as_posix()]
            counts = np.array([np.count_nonzero(bits >> number & 1) for number in range(len(self.names))])
            sizes = (counts * (1.0 if grid.affine is None else voxel_volume(grid.affine) / 1000)).tolist()
            if self.also and (said := self.also(self.studies[file], bits, grid, self.names, path)):
                batch["note"] = ["; ".join(filter(None, (batch["note"][0], said)))]
        output[CommonKeys.PRED] = torch.tensor([sizes], dtype=torch.float64)  # so that 2.817 ml is not 2.81699991

    def _path(self, file: Path) -> Path:
        """Where the masks of an image go, without suffix; no two images have one place, whatever their suffixes."""
        inside = file.resolve().relative_to(self.base) if file.resolve().is_relative_to(self.base) else Path(file.name)
        place = inside.with_name(without_suffix(inside.name)) if inside.name else Path(self.base.name)
        free, number = place, 1
        while free.as_posix().lower() in self._taken:
            number += 1
            free = place.with_name(f"{place.name}_{number}")
        self._taken.add(free.as_posix().lower())
        return self.folder / free

    def _write(self, bits: np.ndarray, grid: Grid, path: Path) -> Path:
        suffix = ".png" if grid.affine is None else ".nii.gz"
        if self.one:
            labels = np.zeros(bits.shape, np.uint8 if len(self.names) < 256 else np.uint16)
            for number in range(len(self.names)):
                labels[(bits >> number & 1).astype(bool)] = number + 1
            written = path.with_name(f"{path.name}{suffix}")
            _save(labels, grid, written)
            return written
        shown = SHOWN if grid.affine is None else 1
        for number, name in enumerate(self.files):
            _save((bits >> number & 1).astype(np.uint8) * np.uint8(shown), grid, path / f"{name}{suffix}")
        return path


def voxel_volume(affine: np.ndarray) -> float:
    """Of a voxel, in mm³, also where its axes are not perpendicular."""
    return float(abs(np.linalg.det(affine[:3, :3])))


def _save(values: np.ndarray, grid: Grid, path: Path) -> None:
    with whole_file(path) as temporary:
        if grid.affine is None:
            Image.fromarray(values).save(temporary)
            return
        image = nibabel.Nifti1Image(values, grid.affine)
        image.header.set_xyzt_units("mm")
        image.set_sform(grid.affine, code=1)
        image.set_qform(grid.affine, code=1, strip_shears=True)
        nibabel.save(image, temporary)


def _file_names(names: Sequence[str]) -> list[str]:
    """Names of files for classes: without what a file system has a meaning for, and no two alike."""
    files: list[str] = []
    for name in names:
        plain = re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "_", name).strip(". ") or "class"
        free, number = plain, 1
        while free.lower() in map(str.lower, files):
            number += 1
            free = f"{plain}_{number}"
        files.append(free)
    return files
