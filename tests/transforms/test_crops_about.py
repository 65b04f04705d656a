"""Crops about places hold the voxels that a padded copy of the image has there."""

import numpy as np
import pytest
import torch

from medssl.transforms import CropsAbout, crop_about, move_places
from medssl.transforms.crops_about import LARGER, OUTSIDE


@pytest.mark.parametrize("shape", [(7, 5), (6, 4, 5)])
def test_a_crop_is_that_of_a_padded_image(shape: tuple[int, ...]) -> None:
    image = torch.arange(float(np.prod(shape))).view(1, *shape)
    random = np.random.default_rng(0)
    around = 40
    padded = np.pad(image[0].numpy(), around, constant_values=-9)
    for _ in range(200):
        sides = random.integers(1, 9, len(shape))
        middle = random.integers(-20, 30, len(shape))
        found = crop_about(image, middle.tolist(), sides.tolist(), -9.0)[0]
        starts = middle - (sides - 1) // 2 + around  # of an even side the middle is the last of the lower half
        wanted = padded[tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))]
        np.testing.assert_array_equal(found.numpy(), wanted)


def test_what_a_radiograph_s_crop_shows() -> None:
    image = torch.zeros(1, 40, 40)
    image[0, 10:20, 8:20] = 1.0  # rows 10 to 19, columns 8 to 19: 12 long
    box = np.array([[[9.5, 7.5], [19.5, 19.5]]])
    crop, said = CropsAbout((24, 24))(image, box)  # twice as long: pixel for pixel
    assert said == [""]
    assert crop[0].sum() == 120
    assert crop[0, 7:17, 6:18].min() == 1
    small, said = CropsAbout((6, 6), side=6)(image, box)
    assert small.min() == 1
    assert said == [LARGER]
    points = np.array([[[39.4, 0.0]] * 2, [[39.6, 0.0]] * 2, [[np.pi, 900.0]] * 2])
    crops, said = CropsAbout((8, 8))(image - 3, points)
    assert crops.shape == (3, 8, 8)
    assert said == ["", OUTSIDE, OUTSIDE]
    assert (crops[2] == -3).all()  # the lowest value stands outside
    with pytest.raises(ValueError, match="radiographs"):
        CropsAbout((8, 8, 8), side=4)


def test_moved_boxes_hold_all_moved_corners() -> None:
    random = np.random.default_rng(0)
    affine = np.eye(4)
    affine[:3] = random.normal(size=(3, 4))
    lower = random.normal(size=(5, 3))
    places = np.stack([lower, lower + random.uniform(size=(5, 3))], axis=1)
    moved = move_places(places, affine)
    for old, new in zip(places, moved, strict=True):
        corners = np.array([[old[bit >> axis & 1, axis] for axis in range(3)] for bit in range(8)])
        there = corners @ affine[:3, :3].T + affine[:3, 3]
        np.testing.assert_allclose(new, [there.min(axis=0), there.max(axis=0)])
