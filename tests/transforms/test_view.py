"""A view gives the same image from a prepared file and from the file itself, and survives its description."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medssl.errors import UserError
from medssl.transforms import View, write_stored

SIZE = {2: (12, 16), 3: (8, 10, 6)}
VIEWS = {
    "radiograph": View(2, SIZE[2], modality="DX"),
    "ct": View(3, SIZE[3], (-100.0, 100.0), (1.0, 1.0, 2.0), "CT"),
    "mr": View(3, SIZE[3], None, (1.0, 1.0, 2.0), "MR"),
}


def volume(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).uniform(-200, 200, shape).round().astype(np.float32)


def grey(view: View, image: np.ndarray) -> np.ndarray:
    """What becomes of the values, written out."""
    if view.window is None:
        return (image - image.mean()) / image.std()
    low, high = view.window
    return np.clip((image - low) / (high - low), 0, 1) * 2 - 1


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_prepared_image_is_seen_as_the_view_says(view: View, tmp_path: Path) -> None:
    image = volume(view.image_size)
    write_stored(tmp_path / "a.b2nd", image, view.spacing)
    seen = view.stored()({"image": tmp_path / "a.b2nd"})["image"]
    assert type(seen) is torch.Tensor
    assert seen.shape == (1, *view.image_size)
    np.testing.assert_allclose(seen[0].numpy(), grey(view, image), atol=0.01)


@pytest.mark.parametrize("view", [VIEWS["ct"], VIEWS["mr"]], ids=["ct", "mr"])
def test_a_volume_that_is_smaller_or_larger_is_padded_or_cut_alike_from_either_side(view: View, tmp_path: Path) -> None:
    image = volume((11, 7, 6))
    write_stored(tmp_path / "a.b2nd", image, view.spacing)
    stored = view.stored()({"image": tmp_path / "a.b2nd"})["image"]
    at_once = view.files().transform({"image": MetaTensor(image[None], affine=np.diag([1.0, 1, 2, 1]))})["image"]
    np.testing.assert_allclose(stored.numpy(), at_once.numpy(), atol=0.02)


def test_random_crops_are_boxes_of_the_volume(tmp_path: Path) -> None:
    view = View(3, (2, 2, 2), (0.0, 1000.0))
    image = np.arange(6 * 5 * 4, dtype=np.float32).reshape(6, 5, 4)
    write_stored(tmp_path / "a.b2nd", image, (1, 1, 1))
    items = view.random_crops(3)({"image": tmp_path / "a.b2nd"})
    assert len(items) == 3
    for item in items:
        values = (item["image"][0].numpy() + 1) / 2 * 1000
        at = np.unravel_index(round(float(values[0, 0, 0])), image.shape)
        box = image[tuple(slice(start, start + 2) for start in at)]
        np.testing.assert_allclose(values, box, atol=0.5)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_description_gives_the_view_back(view: View) -> None:
    assert View.from_dict({**view.to_dict(), "architecture": "resnet18"}) == view


def test_a_description_of_the_first_edition_is_read() -> None:
    old = {"image_size": [32, 32, 8], "window": [-200, 300], "spacing": [1, 1, 5], "network": {"spatial_dims": 3}}
    assert View.from_dict(old) == View(3, (32, 32, 8), (-200.0, 300.0), (1.0, 1.0, 5.0))


def test_windows_have_names() -> None:
    assert View(3, (8, 8, 8), "lung").window == (-1350.0, 150.0)  # type: ignore[arg-type]


def test_differences_name_both_values() -> None:
    (difference,) = View(3, (8, 8, 8), (0, 1)).differences(View(3, (8, 8, 4), (0, 1), modality="CT"))
    assert "8 × 8 × 8" in difference
    assert "8 × 8 × 4" in difference


@pytest.mark.parametrize(
    "values",
    [
        (2, (8,)),
        (2, (8, 0)),
        (2, "64"),
        (4, (8,) * 4),
        (3, (8, 8, 8), (1, 0)),
        (3, (8, 8, 8), "liver"),
        (2, (8, 8), (0, 1)),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(values: tuple) -> None:
    with pytest.raises(UserError):
        View(*values)
