"""What was found where a network looked comes back to the voxels of the file."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import Tensor

from medssl.transforms import Grid, ResampleVolume, to_original


def turned_about(angles: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(3)
    for (one, other), angle in zip(((0, 1), (1, 2), (0, 2)), np.radians(angles), strict=True):
        turn = np.eye(3)
        turn[[one, other], [one, other]] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def affine_of(order: tuple[int, ...], flips: tuple[int, ...], spacing, angles=(0.0, 0.0, 0.0), shear=0.0) -> np.ndarray:
    leaning = np.eye(3)
    leaning[0, 2] = shear
    affine = np.eye(4)
    affine[:3, :3] = turned_about(angles) @ leaning @ np.eye(3)[:, order] @ np.diag(np.multiply(flips, spacing))
    affine[:3, 3] = (-31.0, 12.5, 7.0)
    return affine


def ramp(grid: Grid) -> np.ndarray:
    """At each voxel where it lies, [3, *shape]: linear, so that any linear interpolation is exact inside."""
    places = np.stack([*np.indices(grid.shape), np.ones(grid.shape)])
    return np.einsum("ij,jxyz->ixyz", grid.affine, places)[:3].astype(np.float32)


def slabs(values: np.ndarray, thickness: int) -> Iterator[tuple[int, Tensor]]:
    for first in range(0, values.shape[-1], thickness):
        yield first, torch.from_numpy(values[..., first : first + thickness])


def seen_grid(original: Grid, spacing) -> Grid:
    image = ResampleVolume(spacing)(MetaTensor(torch.zeros(1, *original.shape), torch.from_numpy(original.affine)))
    return Grid(tuple(image.shape[1:]), image.affine.numpy())


CASES = [
    ((0, 1, 2), (1, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 0.0, (-1, -1, -1)),
    ((0, 1, 2), (-1, -1, 1), (0.7, 0.7, 5.0), (0.0, 0.0, 0.0), 0.0, (1.5, 1.5, 2.0)),
    ((2, 0, 1), (1, -1, -1), (0.9, 1.3, 2.1), (0.0, 0.0, 0.0), 0.0, (1.0, 1.0, 1.0)),
    ((1, 2, 0), (-1, 1, -1), (3.0, 0.8, 0.8), (12.0, -8.0, 20.0), 0.0, (1.2, 1.2, 1.2)),
    ((0, 1, 2), (1, 1, -1), (0.8, 0.8, 3.0), (5.0, 3.0, -4.0), 0.3, (1.6, 1.6, 3.0)),  # axes that lean
    ((2, 1, 0), (1, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 0.2, (2.5, 2.5, 0.6)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("thickness", [1, 3, 1000])
def test_every_voxel_of_the_file_gets_what_lies_at_its_place(case: tuple, thickness: int) -> None:
    *how, spacing = case
    original = Grid((17, 14, 11), affine_of(*how))
    seen = seen_grid(original, spacing)
    expected = ramp(original)

    def off(values: Tensor) -> Tensor:
        nonlocal place
        there = torch.from_numpy(expected_turned[..., place : place + values.shape[-1]])
        place += values.shape[-1]
        return (values - there).abs().amax(dim=0)

    # Where it is looked up in slices of the turned image, these are turned the same way.
    from nibabel.orientations import apply_orientation, io_orientation

    expected_turned = np.stack([apply_orientation(each, io_orientation(original.affine)) for each in expected])
    place = 0
    found = to_original(slabs(ramp(seen), thickness), seen, original, off, torch.float32)
    assert found.shape == original.shape
    assert place == expected_turned.shape[-1]  # every slice once
    # Voxels beyond the outermost ones that are seen get the value of the border.
    inverse = np.linalg.inv(seen.affine) @ original.affine
    where = np.einsum("ij,jxyz->ixyz", inverse, np.stack([*np.indices(original.shape), np.ones(original.shape)]))[:3]
    inside = ((where >= 0) & (where <= np.array(seen.shape)[:, None, None, None] - 1)).all(axis=0)
    assert inside.mean() > 0.3
    assert found.numpy()[inside].max() < 2e-3


@settings(max_examples=25, deadline=None)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.tuples(*[st.floats(0.5, 3.0)] * 3),
    st.tuples(*[st.floats(-25, 25)] * 3),
    st.integers(1, 6),
)
def test_slabs_make_no_difference(order, flips, spacing, angles, thickness) -> None:
    original = Grid((9, 8, 7), affine_of(tuple(order), flips, spacing, angles))
    seen = seen_grid(original, (1.3, 1.3, 1.3))
    values = np.random.default_rng(0).random((2, *seen.shape), dtype=np.float32)
    whole, cut = (
        to_original(slabs(values, each), seen, original, lambda found: found[0] - found[1], torch.float32)
        for each in (10_000, thickness)
    )
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-4)


def test_a_radiograph_is_resized_as_pytorch_does() -> None:
    values = torch.rand(2, 8, 10)
    found = to_original(iter([(0, values)]), Grid((8, 10)), Grid((31, 23)), lambda each: each[1], torch.float32)
    expected = torch.nn.functional.interpolate(values[None], (31, 23), mode="bilinear", align_corners=False)[0, 1]
    torch.testing.assert_close(found, expected)


def test_what_is_seen_as_it_is_comes_back_untouched() -> None:
    for order, flips in itertools.product(itertools.permutations(range(3)), itertools.product([-1, 1], repeat=3)):
        original = Grid((5, 6, 7), affine_of(order, flips, (1.0, 2.0, 3.0)))
        mask = torch.rand(original.shape) > 0.5
        seen = ResampleVolume((-1, -1, -1), mode="nearest")(
            MetaTensor(mask[None].float(), torch.from_numpy(original.affine))
        )
        grid = Grid(tuple(seen.shape[1:]), seen.affine.numpy())
        back = to_original(slabs(seen.numpy(), 2), grid, original, lambda each: each[0] > 0.5, torch.uint8)
        assert torch.equal(back.bool(), mask)
