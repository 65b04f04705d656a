"""Rows and mean Dice of an evaluation, as files and back."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.evaluation import MaskMeasures, MaskMetric, mean_dice, read_mask_rows, segmentation_figures, write_mask_rows
from medssl.transforms import write_stored

NAMES = ["liver", "spleen"]


def test_the_mean_is_over_classes_where_they_were_outlined(tmp_path: Path) -> None:
    metric = MaskMetric(MaskMeasures(NAMES, surfaces=False), base=tmp_path)
    random, dice = np.random.default_rng(0), {name: [] for name in NAMES}
    for number in range(6):
        path = tmp_path / f"{number}.b2nd"
        write_stored(path, random.normal(size=(6, 5, 4)), (1, 1, 2))
        targets = torch.from_numpy(random.integers(0, 2, (1, 2, 6, 5, 4)).astype(np.float32))
        found = torch.from_numpy(random.integers(0, 2, (1, 2, 6, 5, 4)) > 0)
        if number % 2:
            targets[:, 1, 0, 0, 0] = torch.nan
        for place, name in enumerate(NAMES):
            if targets[0, place].isfinite().all():
                there = targets[0, place] > 0
                dice[name].append(float(2 * (there & found[0, place]).sum() / (there.sum() + found[0, place].sum())))
        metric.update(({"file": [str(path)], "patient": [str(number)]}, {"pred": found, "label": targets}))
    value = metric.compute()
    assert value == pytest.approx(np.mean([np.mean(values) for values in dice.values()]))
    assert value == pytest.approx(segmentation_figures(metric.rows, NAMES, resamples=0)["mDice"])
    assert {row.image for row in metric.rows} == {f"{number}.b2nd" for number in range(6)}
    assert all(math.isnan(row.hd95) and math.isnan(row.surface_dice) for row in metric.rows)
    write_mask_rows(tmp_path / "rows.csv", metric.rows)
    assert [repr(row) for row in read_mask_rows(tmp_path / "rows.csv")] == [repr(row) for row in metric.rows]


def test_without_anything_defined_it_is_0() -> None:
    assert mean_dice([], NAMES) == 0.0
