"""Quarter turns against numpy, sample by sample."""

from itertools import product

import numpy as np
import pytest
import torch

from medssl.pretext.rotation import QuarterTurns, rotate, shape_preserving_rotations
from medssl.pretext.rubiks_cube import HALF_TURN_PLANES, half_turns

SHAPES = [(6, 6), (5, 5), (6, 4), (4, 4, 4), (4, 4, 3), (3, 5, 3), (2, 3, 4)]


@pytest.mark.parametrize(
    ("shape", "count"),
    [((7, 7), 4), ((7, 5), 2), ((6, 6, 6), 10), ((6, 6, 3), 6), ((3, 6, 6), 6), ((6, 3, 6), 6), ((2, 3, 4), 4)],
)
def test_count_of_rotations_that_keep_a_shape(shape: tuple[int, ...], count: int) -> None:
    assert len(shape_preserving_rotations(shape)) == count


@pytest.mark.parametrize("shape", [(4,), (4, 4, 4, 4), ()])
def test_only_images_and_volumes_have_rotations(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="2 or 3 entries"):
        shape_preserving_rotations(shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_rotations_keep_the_shape_differ_from_each_other_and_begin_with_the_identity(shape: tuple[int, ...]) -> None:
    rotations = shape_preserving_rotations(shape)
    image = torch.rand(1, 1, *shape)
    copies = image.expand(len(rotations), -1, *shape)
    rotated = rotate(copies, rotations, torch.arange(len(rotations)))
    assert torch.equal(rotated[:1], image)
    assert rotations[0].degrees == 0
    assert len({tuple(one.flatten().tolist()) for one in rotated}) == len(rotations)
    # Every voxel is still there: nothing is interpolated, cropped or padded.
    assert torch.equal(rotated.flatten(1).sort().values, copies.flatten(1).sort().values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_sample_is_turned_as_numpy_turns_it(shape: tuple[int, ...], channels: int) -> None:
    rotations = shape_preserving_rotations(shape)
    images = torch.rand(3 * len(rotations), channels, *shape)
    index = torch.randperm(len(images)) % len(rotations)
    before = images.clone()
    rotated = rotate(images, rotations, index)
    for sample in range(len(images)):
        plane, turns = rotations[int(index[sample])]
        for channel in range(channels):
            expected = np.rot90(images[sample, channel].numpy(), turns, axes=plane)
            np.testing.assert_array_equal(rotated[sample, channel].numpy(), expected)
    assert torch.equal(images, before)


def test_rotation_of_strided_images_and_of_any_number_type() -> None:
    rotations = shape_preserving_rotations((4, 4))
    wide = torch.arange(2 * 1 * 4 * 8).view(2, 1, 4, 8)
    strided = wide[..., ::2]
    rotated = rotate(strided, rotations, torch.tensor([1, 3]))
    assert rotated.dtype == torch.int64
    assert torch.equal(rotated[0, 0], torch.from_numpy(np.rot90(strided[0, 0].numpy(), 1).copy()))
    assert torch.equal(rotated[1, 0], torch.from_numpy(np.rot90(strided[1, 0].numpy(), 3).copy()))


def test_one_turn_leads_from_the_first_axis_of_the_plane_towards_the_second() -> None:
    # Written out by hand, so that the direction rests on no library.
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    turned = rotate(image, (QuarterTurns((0, 1), 1),), torch.tensor([0]))
    assert turned[0, 0].tolist() == [[2.0, 4.0], [1.0, 3.0]]


def test_an_index_for_each_image_is_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        rotate(torch.rand(3, 1, 4, 4), shape_preserving_rotations((4, 4)), torch.tensor([0, 1]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_half_turns_are_those_of_numpy_in_every_marked_plane(shape: tuple[int, ...], channels: int) -> None:
    planes = HALF_TURN_PLANES[len(shape)]
    marks = torch.tensor(list(product([False, True], repeat=len(planes))))[torch.randperm(2 ** len(planes))]
    images = torch.rand(len(marks), channels, *shape)
    before = images.clone()
    turned = half_turns(images, marks)
    for sample, marked in enumerate(marks.tolist()):
        for channel in range(channels):
            expected = images[sample, channel].numpy()
            for plane, mark in zip(planes, marked, strict=True):
                expected = np.rot90(expected, 2, axes=plane) if mark else expected
            np.testing.assert_array_equal(turned[sample, channel].numpy(), expected)
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 3), (2, 3, 5)])
def test_two_half_turns_make_the_one_about_the_third_axis(shape: tuple[int, ...]) -> None:
    volume = torch.rand(1, 2, *shape)
    both = half_turns(volume, torch.tensor([[True, True]]))
    np.testing.assert_array_equal(both[0].numpy(), np.rot90(volume[0].numpy(), 2, axes=(1, 2)))
    # The planes that may be marked are those about the first axis and about the second.
    for mark, plane in (([True, False], (2, 3)), ([False, True], (1, 3))):
        turned = half_turns(volume, torch.tensor([mark]))
        np.testing.assert_array_equal(turned[0].numpy(), np.rot90(volume[0].numpy(), 2, axes=plane))
