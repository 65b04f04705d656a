"""The row of a class against loops over voxels: surfaces, distances and lesions found by hand."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from medssl.errors import UserError
from medssl.evaluation import MaskMeasures

Voxel = tuple[int, ...]


def voxels(mask: np.ndarray) -> set[Voxel]:
    return {place for place in np.ndindex(mask.shape) if mask[place]}


def surface(inside: set[Voxel]) -> list[Voxel]:
    """Voxels with a neighbour across a face that is outside; what lies beyond the image is."""
    found = []
    for place in sorted(inside):
        steps = ((axis, step) for axis in range(len(place)) for step in (-1, 1))
        beside = [(*place[:axis], place[axis] + step, *place[axis + 1 :]) for axis, step in steps]
        if any(each not in inside for each in beside):
            found.append(place)
    return found


def distances(ones: list[Voxel], others: list[Voxel], spacing: Sequence[float]) -> list[float]:
    scaled = [[[s * x for s, x in zip(spacing, place, strict=True)] for place in side] for side in (ones, others)]
    return [min(math.dist(one, other) for other in scaled[1]) for one in scaled[0]]


def components(inside: set[Voxel]) -> list[set[Voxel]]:
    left, found = set(inside), []
    while left:
        reached, waiting = set(), [left.pop()]
        while waiting:
            place = waiting.pop()
            reached.add(place)
            near = {
                tuple(p + s for p, s in zip(place, step, strict=True))
                for step in product((-1, 0, 1), repeat=len(place))
            }
            waiting += near & left
            left -= near
        found.append(reached)
    return found


@given(
    st.integers(0, 10**6),
    st.sampled_from([((7, 9), (0.7, 1.5)), ((5, 4, 6), (1.0, 0.8, 3.0))]),
    st.sampled_from([0.05, 0.15, 0.4]),
)
@settings(max_examples=25, deadline=None)
def test_a_row_is_its_definition_voxel_by_voxel(seed: int, grid: tuple, density: float) -> None:
    size, spacing = grid
    generator = np.random.default_rng(seed)
    found, truth = generator.random((2, 3, *size)) < density
    targets = truth.astype(float)
    targets[1] = np.nan  # not outlined
    targets[2][(0,) * len(size)] = np.nan  # known in parts
    measures = MaskMeasures(["a", "b", "c"], tolerance=1.1, lesions=["a"], overlap=0.3)
    (row,) = measures(torch.from_numpy(found), torch.from_numpy(targets), spacing, "x", "p", "north")
    assert (row.image, row.patient, row.source, row.name) == ("x", "p", "north", "a")
    one, other = voxels(found[0]), voxels(truth[0])
    unit = math.prod(spacing) / (100 if len(size) == 2 else 1000)
    assert row.predicted_volume == pytest.approx(len(one) * unit)
    assert row.volume == pytest.approx(len(other) * unit)
    if one or other:
        assert row.dice == pytest.approx(2 * len(one & other) / (len(one) + len(other)))
    if one and other:
        there = distances(surface(one), surface(other), spacing)
        back = distances(surface(other), surface(one), spacing)
        near = [distance <= 1.1 for distance in there + back]
        assert row.surface_dice == pytest.approx(sum(near) / len(near))
        assert row.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-5)
        batch = [torch.from_numpy(mask[:1])[None] for mask in (found, truth)]
        for value, monai in (
            (row.surface_dice, compute_surface_dice(*batch, [1.1], include_background=True, spacing=spacing)),
            (row.hd95, compute_hausdorff_distance(*batch, include_background=True, percentile=95, spacing=spacing)),
        ):
            assert value == pytest.approx(monai.item(), rel=1e-5)
    lesions = components(other)
    assert row.lesions == len(lesions)
    assert row.found_lesions == sum(len(lesion & one) >= 0.3 * len(lesion) for lesion in lesions)
    assert row.false_lesions == sum(len(each & other) < 0.3 * len(each) for each in components(one))


@pytest.mark.parametrize(("there", "found"), [(False, False), (True, False), (False, True)])
def test_where_a_mask_is_empty_what_has_no_meaning_is_undefined(there: bool, found: bool) -> None:
    truth, predicted = np.zeros((2, 1, 6, 6, 6))
    truth[0, 2:4, 2:4, 2], predicted[0, 1:3, 1:3, 1] = there, found
    (row,) = MaskMeasures(["a"], lesions=["a"])(predicted > 0, truth, (1, 1, 1), "x", "p")
    assert math.isnan(row.hd95)
    if there or found:
        assert row.dice == row.surface_dice == 0
    else:
        assert math.isnan(row.dice)
        assert math.isnan(row.surface_dice)
    assert (row.lesions, row.found_lesions, row.false_lesions) == (there, 0, found)
    assert row.volume == pytest.approx(0.004 * there)
    (row,) = MaskMeasures(["a"])(predicted > 0, truth, (1, 1, 1), "x", "p")
    assert math.isnan(row.lesions)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="lung"):
        MaskMeasures(["a"], lesions=["lung"])
    with pytest.raises(UserError, match="'b'"):
        MaskMeasures(["a", "b"], tolerance={"a": 1.0})
    with pytest.raises(UserError, match="overlap"):
        MaskMeasures(["a"], overlap=0)
    masks = np.zeros((1, 4, 4))
    with pytest.raises(UserError, match=r"x\.nii"):
        MaskMeasures(["a"])(masks > 0, masks, (1, 1, 1), "x.nii", "p")
