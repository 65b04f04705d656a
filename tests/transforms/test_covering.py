"""The boxes that cover a volume, from memory and from a prepared file, against their definition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import ResizeWithPadOrCrop

from medssl.transforms import CoveringBoxes, StoredBoxes, View, box_starts, write_stored


@pytest.mark.parametrize("shape", [(9, 8, 5), (8, 8, 8), (17, 3, 20), (16, 24, 8)])
def test_as_few_boxes_as_needed_lie_evenly_and_leave_no_voxel_out(shape: tuple[int, ...]) -> None:
    size = (8, 8, 8)
    starts = box_starts(shape, size)
    seen = np.zeros(shape, dtype=int)
    for start in starts:
        seen[tuple(slice(first, first + side) for first, side in zip(start, size, strict=True))] += 1
    assert seen.min() >= 1
    assert len(starts) == np.prod([-(-whole // 8) for whole in shape])
    for axis, whole in enumerate(shape):
        places = sorted({start[axis] for start in starts})
        assert places[-1] + 8 == max(whole, 8)
        assert np.ptp(np.diff(places)) <= 1 if len(places) > 1 else places == [0]


@pytest.mark.parametrize("shape", [(9, 8, 5), (12, 13, 20)])
def test_boxes_of_a_file_are_those_of_the_volume_and_the_middle_one_is_monais(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    size, volume = (8, 8, 8), np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.float32)
    write_stored(tmp_path / "a.b2nd", volume, (1, 1, 1))
    image = torch.from_numpy(volume)[None]
    boxes = CoveringBoxes(size, fill=-7)(image)
    assert torch.equal(boxes, StoredBoxes(size, fill=-7)(tmp_path / "a.b2nd"))
    assert torch.equal(CoveringBoxes(size, "middle", -7)(image), ResizeWithPadOrCrop(size, value=-7)(image))
    view = View(3, size)  # without a window each box has mean 0 and standard deviation 1, as a box in training has
    seen = view.stored("several")({"image": tmp_path / "a.b2nd"})["image"]
    assert seen.shape == (len(boxes), *size)
    torch.testing.assert_close(seen.flatten(1).std(dim=1, correction=0), torch.ones(len(boxes)))
