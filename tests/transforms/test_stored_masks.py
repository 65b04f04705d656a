"""Prepared masks: stored whole, cut by their image's boxes, which may lie about a class."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset

from medssl.errors import UserError
from medssl.transforms import View, pack_bits, write_stored, write_stored_mask
from medssl.transforms.stored import MOST_VOXELS, MiddleStoredCropd, RandStoredCropsd, StoredImage

DRAWS = np.random.default_rng(0)
SHAPE = (60, 40, 25)


def drawn_item(folder: Path, classes: int = 3, shape: tuple[int, ...] = SHAPE, present: float = 0.1) -> dict:
    """An image of which each voxel has its number, and a mask of random voxels; with both as arrays."""
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    masks = DRAWS.random((classes, *shape)) < present
    item = {"image": folder / "image.b2nd", "mask": folder / "mask.b2nd"}
    write_stored(item["image"], image)
    write_stored_mask(item["mask"], pack_bits(masks))
    return {**item, "outlined": np.ones(classes, np.float32), "arrays": (image, masks)}


@pytest.mark.parametrize("classes", [1, 8, 9, 16, 40, 63])
def test_a_stored_mask_is_the_same_and_knows_voxels_of_each_class(tmp_path: Path, classes: int) -> None:
    masks = DRAWS.random((classes, 20, 30, 40)) < 0.1
    masks[classes // 2] = False
    masks[0, 7, 8] = True
    bits = pack_bits(masks)
    for name in "ab":
        write_stored_mask(tmp_path / name, bits, [1, 2, 3])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    stored = StoredImage(tmp_path / "a")
    assert (stored.is_mask, stored.spacing) == (True, [1, 2, 3])
    assert stored.read().dtype == bits.dtype
    np.testing.assert_array_equal(stored.read(), bits)
    for number, mask in enumerate(masks):
        places = stored.voxels(number)
        assert len(places) == min(mask.sum(), MOST_VOXELS) == len(np.unique(places, axis=0))
        assert mask[tuple(places.T)].all()
        if mask.any():  # from its first slices to its last
            assert np.ptp(places[:, 0]) == np.ptp(np.nonzero(mask)[0])


@pytest.mark.parametrize("size", [(16, 16, 16), (80, 16, 30)])
def test_mask_and_image_are_cut_by_the_same_box(tmp_path: Path, size: tuple[int, ...]) -> None:
    item = drawn_item(tmp_path)
    bits = np.append(pack_bits(item.pop("arrays")[1]).ravel(), 0)  # the last of what lies outside
    keys, view = ["image", "mask"], View(3, size, (0.0, 1e6))
    boxes = RandStoredCropsd(keys, size, 8, -1.0, foreground=0.5).set_random_state(0)(item)
    for box in [*boxes, MiddleStoredCropd(keys, size, -1.0)(item)]:
        assert box["mask"].dtype == torch.uint8
        np.testing.assert_array_equal(box["mask"], bits[box["image"].long()])  # each voxel's value is its number
    for seen in (*view.random_crops(2, masks=True, foreground=0.5)(item), view.stored(masks=True)(item)):
        assert seen["image"].shape == seen["mask"].shape == (1, *size)
    several = view.stored("several", masks=True)(item)
    assert several["image"].shape == several["mask"].shape
    batch = next(iter(DataLoader(Dataset([item], view.random_crops(2, masks=True)), batch_size=1)))
    assert batch["mask"].shape == (2, 1, *size)


def test_boxes_lie_about_classes_that_were_outlined_as_often_as_asked(tmp_path: Path) -> None:
    masks = np.zeros((3, *SHAPE), bool)
    masks[0, 50, 30, 18], masks[1, 5, 5, 5], masks[2, 40, 20, 15] = True, True, True
    item = {"image": tmp_path / "i", "mask": tmp_path / "m", "outlined": np.array([1, 0, 1], np.float32)}
    write_stored(item["image"], DRAWS.random(SHAPE).astype(np.float32))
    write_stored_mask(item["mask"], pack_bits(masks))
    counts = {}
    for share in (0.0, 0.5, 1.0):
        crops = RandStoredCropsd(["image", "mask"], (8, 8, 8), 200, foreground=share).set_random_state(1)
        boxes = [box["mask"].numpy() for box in crops(item)]
        inside = np.array([[(box >> bit & 1).any() for bit in range(3)] for box in boxes])
        middle = np.array([box[0, 4, 4, 4] in (1, 4) for box in boxes])
        counts[share] = inside.mean(axis=0), middle.mean()
    assert counts[0.0][0].max() < 0.05
    np.testing.assert_allclose(counts[0.5][0], [0.25, 0, 0.25], atol=0.1)
    np.testing.assert_allclose(counts[1.0][0], [0.5, 0, 0.5], atol=0.1)
    assert counts[1.0][1] == 1  # neither lies within half a box of the border
    write_stored_mask(item["mask"], pack_bits(masks[1:2]))  # nothing of what was outlined is there
    boxes = RandStoredCropsd("image", (8, 8, 8), 2, foreground=1.0).set_random_state(1)({**item, "outlined": [0]})
    assert len(boxes) == 2
    # Without masks the same boxes are drawn as ever.
    plain, same = (
        RandStoredCropsd("image", (8, 8, 8), 3, foreground=share).set_random_state(2)(
            {"image": item["image"], **({"mask": item["mask"], "outlined": [0]} if share else {})}
        )
        for share in (0.0, 0.5)
    )
    assert all(torch.equal(one["image"], other["image"]) for one, other in zip(plain, same, strict=True))
    with pytest.raises(UserError, match="foreground"):
        View(3, (8, 8, 8)).random_crops(1, masks=True, foreground=33)


def test_a_box_about_a_class_reads_a_small_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (160, 150, 140)
    item = {"image": tmp_path / "i", "mask": tmp_path / "m", "outlined": np.ones(1)}
    write_stored(item["image"], DRAWS.random(shape).astype(np.float32))
    write_stored_mask(item["mask"], pack_bits(DRAWS.random((1, *shape)) < 0.5))
    read: list[int] = []
    whole = StoredImage.read

    def counted(self, start=None, size=None):  # type: ignore[no-untyped-def]
        read.append(int(np.prod(size if size is not None else self.shape)))
        return whole(self, start, size)

    monkeypatch.setattr(StoredImage, "read", counted)
    View(3, (16, 16, 16)).random_crops(3, masks=True, foreground=1.0)(item)
    assert read == [16**3] * 6


def test_a_network_with_other_classes_gets_its_own_bits(tmp_path: Path) -> None:
    item = drawn_item(tmp_path, 3, (12, 10))
    _, masks = item.pop("arrays")
    order = np.array([2, -1, 0])
    seen = View(2, (12, 10)).stored(masks=True)({**item, "bit_order": order, "outlined": np.array([1, 0, 1])})
    assert "bit_order" not in seen
    expected = pack_bits(np.stack([masks[2], np.zeros_like(masks[0]), masks[0]]))
    np.testing.assert_array_equal(seen["mask"][0], expected)
    many = np.array([0, *[-1] * 39])
    assert View(2, (12, 10)).stored(masks=True)({**item, "bit_order": many})["mask"].dtype == torch.int64


def test_a_mask_that_is_none_of_the_images_is_said(tmp_path: Path) -> None:
    item = drawn_item(tmp_path)
    write_stored_mask(item["mask"], np.zeros((60, 40, 24), np.uint8))
    crops = RandStoredCropsd(["image", "mask"], (8, 8, 8), foreground=1.0)
    with pytest.raises(UserError, match="belong together"):
        crops(item)
    with pytest.raises(UserError, match="prepare"):
        crops({**item, "mask": tmp_path / "gone.b2nd"})
    assert len(StoredImage(item["mask"]).voxels(0)) == 0
