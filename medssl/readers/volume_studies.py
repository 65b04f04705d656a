"""The volumes of an input or a folder, without a radiograph's readers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .dicom_series import SetAside, find_stacks, read_stack
from .study import Found, Refusal, Study, file_study, look_through, one_line
from .units import Unit
from .volume import read_volume


def volume_studies(unit: Unit) -> Found:
    """The study of a volume's file; or the stacks of a folder of DICOM files, and what belongs to none of them."""
    if not unit.path.is_dir():
        return file_study(unit, partial(read_volume, unit.path))
    stacks, aside = find_stacks(unit.files)
    alike: dict[tuple[str, str, str], list[SetAside]] = {}
    for one in aside:
        alike.setdefault((one.series, one.reason, one.detail), []).append(one)
    studies = [
        Study(unit.path if len(stacks) == 1 else stack.files[0], stack.files, partial(read_stack, stack))
        for stack in stacks
    ]
    alone = not stacks and len(alike) == 1
    refusals = [
        Refusal(
            unit.path if alone and len(group) > 1 else group[0].file,
            tuple(one.file for one in group),
            reason,
            one_line(detail, unit.path),
        )
        for (_, reason, detail), group in alike.items()
    ]
    return Found(studies, refusals)


def find_volumes(folder: str | Path, skip: str | Path | None = None) -> Found:
    """Every volume under a folder, and every file that belongs to none; see `look_through`."""
    return look_through(folder, 3, volume_studies, skip)
