from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import ResizeWithPadOrCrop

from medssl.transforms import (
    LoadStored,
    LoadStoredd,
    MiddleStoredCrop,
    MiddleStoredCropd,
    RandStoredCrops,
    RandStoredCropsd,
)
from medssl.transforms.stored import StoredImage, read_box, write_stored

DRAWS = np.random.default_rng(0)


def stored(folder: Path, image: np.ndarray, spacing: list[float] | None = None) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.b2nd"
    write_stored(path, image.astype(np.float32), spacing)
    return path


@pytest.mark.parametrize(
    ("lowest", "highest", "shape"),
    [
        (0, 255, (24, 20)),
        (-1024, 3071, (70, 33, 20)),
        (-32768, 32767, (19, 70, 5)),
        (0, 65535, (200, 300)),
        (0, 1, (8, 8)),
        (7, 7, (8, 9)),
    ],
)
def test_whole_numbers_are_kept_exactly(tmp_path: Path, lowest: int, highest: int, shape: tuple[int, ...]) -> None:
    image = DRAWS.integers(lowest, highest + 1, shape)
    image.flat[[0, 1]] = lowest, highest
    loaded = LoadStored(shape)(stored(tmp_path, image))
    assert loaded.dtype == torch.float32
    np.testing.assert_array_equal(loaded[0], image)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0), (1234.5, -1024), (3e-5, 0), (1e-9, 1e-8), (1e6, -5e5)])
def test_other_values_are_off_by_less_than_a_step(tmp_path: Path, scale: float, shift: float) -> None:
    image = (DRAWS.random((40, 30, 20)) * scale + shift).astype(np.float32)
    loaded = LoadStored()(stored(tmp_path, image))[0].numpy()
    rounding = 2 * np.spacing(np.abs(image).max())  # of float32 itself
    assert np.abs(loaded - image).max() < np.ptp(image) / 65535 + rounding


def test_the_same_image_gives_the_same_bytes_and_its_spacing(tmp_path: Path) -> None:
    image = DRAWS.integers(-1000, 1000, (70, 66, 9))
    first, second = (stored(tmp_path, image, [1, 1.5, 5]) for _ in range(2))
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < image.size * 2
    assert (StoredImage(first).spacing, StoredImage(first).shape) == ([1, 1.5, 5], image.shape)
    assert StoredImage(stored(tmp_path, image[0])).spacing is None


def padded(image: np.ndarray, start: list[int], size: list[int], fill: float) -> np.ndarray:
    """The box by whole padding and slicing; an image that is shorter than the box lies in the middle."""
    before = [max(side - whole, 0) // 2 for side, whole in zip(size, image.shape, strict=True)]
    after = [max(side - whole - low, 0) for side, whole, low in zip(size, image.shape, before, strict=True)]
    wide = np.pad(image, list(zip(before, after, strict=True)), constant_values=fill)
    first = [place if whole > side else 0 for place, side, whole in zip(start, size, image.shape, strict=True)]
    return wide[tuple(slice(place, place + side) for place, side in zip(first, size, strict=True))]


@pytest.mark.parametrize("shape", [(70, 80, 90), (130, 20, 65), (7, 8, 9), (64, 64, 64)])
def test_boxes_are_those_of_the_whole_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = DRAWS.integers(-1024, 2000, shape).astype(np.float32)
    path = stored(tmp_path, image)
    for _ in range(20):
        size = DRAWS.integers(1, 80, 3).tolist()
        start = [int(DRAWS.integers(0, max(whole - side, 0) + 1)) for whole, side in zip(shape, size, strict=True)]
        np.testing.assert_array_equal(read_box(StoredImage(path), start, size, -7)[0], padded(image, start, size, -7))
        middle = ResizeWithPadOrCrop(size, mode="constant", constant_values=-1024)(torch.from_numpy(image)[None])
        np.testing.assert_array_equal(MiddleStoredCrop(size)(path), middle)
    item = MiddleStoredCropd("image", size, fill=5)({"image": str(path), "patient": "p"})
    np.testing.assert_array_equal(item["image"], MiddleStoredCrop(size, 5)(path))
    assert item["patient"] == "p"


def test_random_boxes_lie_anywhere_equally_often(tmp_path: Path) -> None:
    shape, size = (9, 6, 4), [6, 6, 5]
    places = np.arange(np.prod(shape)).reshape(shape)  # a voxel's value tells where it was
    path = stored(tmp_path, places)
    crops = RandStoredCropsd("image", size, samples=4000, fill=-1)
    crops.set_random_state(0)
    boxes = torch.stack([item["image"] for item in crops({"image": path})])
    assert boxes.shape == (4000, 1, *size)
    assert (boxes[..., 4] == -1).all()  # short by one: filled behind
    starts, counts = np.unique(boxes[:, 0, 0, 0, 0] // 24, return_counts=True)
    assert starts.tolist() == [0, 1, 2, 3]
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(4000 * 0.25 * 0.75)
    for box, start in zip(boxes[:50, 0], boxes[:50, 0, 0, 0, 0] // 24, strict=True):
        np.testing.assert_array_equal(box, padded(places, [int(start), 0, 0], size, -1))


def test_random_boxes_come_again_with_the_same_seed_and_share_their_places(tmp_path: Path) -> None:
    image = DRAWS.integers(0, 999, (30, 30, 30))
    item = {"image": stored(tmp_path, image), "other": stored(tmp_path, image + 1), "label": 1}

    def draw(seed: int) -> list[dict]:
        return RandStoredCropsd(["image", "other"], [8, 8, 8], samples=3).set_random_state(seed)(item)

    first, again, other = draw(1), draw(1), draw(2)
    for one, same in zip(first, again, strict=True):
        assert torch.equal(one["image"], same["image"])
        assert torch.equal(one["image"] + 1, one["other"])
        assert one["label"] == 1
    assert not torch.equal(first[0]["image"], first[1]["image"])
    assert not torch.equal(first[0]["image"], other[0]["image"])
    array = RandStoredCrops([8, 8, 8], samples=3).set_random_state(1)
    boxes = array(item["image"])
    assert all(torch.equal(box, one["image"]) for box, one in zip(boxes, first, strict=True))
    assert all(torch.equal(box, one) for box, one in zip(boxes, array(item["image"], randomize=False), strict=True))
    assert not any(torch.equal(box, one) for box, one in zip(boxes, array(item["image"]), strict=True))
    loader = DataLoader(Dataset([item] * 2, RandStoredCropsd(["image", "other"], [8, 8, 8], samples=3)), batch_size=2)
    assert next(iter(loader))["image"].shape == (6, 1, 8, 8, 8)


def test_a_small_box_reads_a_small_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path, DRAWS.integers(0, 4000, (256, 256, 64)))
    image = StoredImage(path)
    damaged = bytearray(path.read_bytes())
    box = image.read([0, 0, 0], [32, 32, 32])
    damaged[len(damaged) // 2 : len(damaged) * 3 // 4] = bytes(len(damaged) * 3 // 4 - len(damaged) // 2)
    path.write_bytes(damaged)  # far from the box
    np.testing.assert_array_equal(StoredImage(path).read([0, 0, 0], [32, 32, 32]), box)
    with pytest.raises(ValueError, match=r"damaged.*prepare"):
        StoredImage(path).read()


def test_what_cannot_be_read_is_said_plainly(tmp_path: Path) -> None:
    radiograph, volume = stored(tmp_path, DRAWS.random((8, 9))), stored(tmp_path, DRAWS.random((8, 9, 10)))
    with pytest.raises(FileNotFoundError, match=r"no prepared image .*gone\.b2nd: run"):
        LoadStored()(tmp_path / "gone.b2nd")
    for content in (b"", b"none", volume.read_bytes()[:100]):
        (tmp_path / "bad.b2nd").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.b2nd is no prepared image or is damaged"):
            LoadStored()(tmp_path / "bad.b2nd")
    with pytest.raises(ValueError, match=r"has 8×9 pixels and image_size is \[9, 8\].*--size 9 8"):
        LoadStoredd("image", [9, 8])({"image": radiograph})
    for crop in (MiddleStoredCropd("image", [4, 4, 4]), RandStoredCropsd("image", [4, 4, 4])):
        with pytest.raises(ValueError, match=r"has 2 axes and image_size, \[4, 4, 4\], has 3"):
            crop({"image": radiograph})
