"""What a network may best see, proposed from volumes: by its parts, and through `prepare` on files."""

import json
from pathlib import Path

import numpy as np
import pytest
from bad_inputs import save_radiograph, save_series, volume, write_bad_volumes

from medssl.data import Datalist, Source
from medssl.data.prepare import Summary, prepare
from medssl.data.prepare.proposed_view import BUDGET, _box, typical_spacing
from medssl.phantoms import write_phantoms
from medssl.readers import find_units, studies_of
from medssl.readers.headers import body_axes, volume_headers
from medssl.transforms import View


def prepared(folder: Path, images: Path, **values: object) -> Summary:
    return prepare([Source(images)], folder / "out", spatial_dims=3, **values)  # type: ignore[arg-type]


def trunks(folder: Path, count: int, spacing: tuple[float, ...] = (1.0, 1.0, 3.0), offset: float = 0) -> None:
    """Blocks of fat and muscle with a bone, in air."""
    draws = np.random.default_rng(count)
    for number in range(count):
        values = np.full((70, 66, 40), -1000.0)
        values[8:60, 8:56], values[8:60, 8:30], values[30:34, 30:34] = 45, -100, 700
        values += draws.normal(offset, 9, values.shape)
        volume(values, np.diag([*spacing, 1]))(folder / f"{count}_{number}.nii")


@pytest.mark.parametrize("spread", [(0.5, 0.6, 0.9), (0.7, 0.7, 5.0)])
def test_a_coarse_axis_takes_the_finest_tenth_as_nn_unet_does(spread: tuple[float, ...]) -> None:
    sides = np.random.default_rng(0).uniform(0.8, 1.2, (50, 3)) * spread
    expected = np.median(sides, axis=0)
    if spread[2] > 3:
        expected[2] = np.percentile(sides[:, 2], 10)
    np.testing.assert_allclose(typical_spacing(sides), expected, rtol=5e-3)


def test_a_box_lies_within_the_volume_and_the_budget_and_is_as_wide_as_long() -> None:
    draws = np.random.default_rng(0)
    for _ in range(200):
        voxels, spacing = draws.integers(8, 600, 3).astype(float), draws.uniform(0.4, 6, 3)
        box = np.array(_box(voxels, spacing))
        assert (box <= voxels).all()
        assert (box % np.where(voxels < 32, 8, 16) == 0).all()
        assert box.prod() <= BUDGET
        lengths = (box * spacing)[box <= voxels - 16]  # sides that were shortened are alike, to within a step
        assert not len(lengths) or np.ptp(lengths) <= 16 * spacing.max()
    assert _box(np.array([173.0, 168, 66]), np.array([0.977, 0.977, 3.27])) == [128, 128, 32]
    assert _box(np.array([5.0, 64, 64]), np.ones(3)) == [8, 64, 64]


def test_headers_say_what_reading_finds(tmp_path: Path) -> None:
    write_bad_volumes(tmp_path)
    turned = np.array([[0, -2, 0, 5], [0, 0, 3, 0], [-1, 0, 0, 0], [0, 0, 0, 1.0]])
    volume(affine=turned)(tmp_path / "nifti" / "other sides.nii")
    checked = 0
    for unit in find_units(tmp_path, 3)[0]:
        headers = volume_headers(unit)
        for study in studies_of(unit, 3).studies if headers else ():
            try:
                reading = study.read(keep_masks=True)
            except ValueError:
                continue
            sides = np.linalg.norm(reading.affine[:3, :3], axis=0)[body_axes(reading.affine)]
            assert any(np.allclose(sides, header.sides, atol=1e-4) for header in headers)
            assert {header.modality for header in headers} == {reading.modality}
            checked += 1
    assert checked > 20
    (other,) = (unit for unit in find_units(tmp_path / "nifti", 3)[0] if unit.path.name == "other sides.nii")
    np.testing.assert_allclose(volume_headers(other)[0].sides, [2, 3, 1])


def test_heads_and_trunks_get_views_of_their_own_which_stay(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "heads", "head", 3, 0)
    (tmp_path / "trunks").mkdir()
    trunks(tmp_path / "trunks", 3)
    heads = prepared(tmp_path / "h", tmp_path / "heads" / "images")
    body = prepared(tmp_path / "t", tmp_path / "trunks")
    assert heads.view.spacing == (3.5, 3.5, 5)
    assert heads.view.image_size == (64, 64, 32)
    assert body.view.spacing == (1, 1, 3)
    assert body.view.image_size == (64, 64, 32)
    brain, soft_tissue = heads.view.window, body.view.window
    np.testing.assert_allclose(brain, (0, 80), atol=60)  # as radiologists have it
    np.testing.assert_allclose(soft_tissue, (-160, 240), atol=60)
    for summary in (heads, body):
        stored = json.loads((summary.datalist.parent / "store" / "store.json").read_text())
        assert View.from_dict(stored["view"]) == summary.view == Datalist.read(summary.datalist).view()
        assert json.loads((summary.datalist.parent / "summary.json").read_text())["view"] == stored["view"]
    again = prepared(tmp_path / "t", tmp_path / "trunks")
    assert again.view == body.view
    trunks(tmp_path / "trunks", 5, (2.0, 2.0, 3.0), offset=40)  # other volumes, and more of them
    grown = prepared(tmp_path / "t", tmp_path / "trunks")
    assert grown.view.spacing == body.view.spacing  # or the store would be made anew
    assert grown.view.window != body.view.window
    assert grown.view.image_size == (128, 128, 32)
    assert any("--spacing 2 2 3" in note for note in grown.notes)


def test_what_is_given_rules(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    trunks(tmp_path / "images", 2)
    images = tmp_path / "images"
    asked = prepared(tmp_path, images, spacing=(2, 2, 6), crop=(24, 32, 16), window="lung")
    assert asked.view == View(3, (24, 32, 16), "lung", (2, 2, 6), "CT")  # type: ignore[arg-type]
    assert prepared(tmp_path, images, window=(-100, 50)).view.window == (-100, 50)
    assert prepared(tmp_path, images, window="none").view.window is None
    assert prepared(tmp_path, images, modality="MR").view.window is None
    own = prepared(tmp_path, images, spacing=(-1, -1, -1))
    assert own.view.spacing == (-1, -1, -1)
    assert own.view.image_size == (64, 64, 32)
    assert own.notes == prepared(tmp_path, images).notes  # each file's own is no spacing to compare with


def test_a_store_of_the_first_edition_keeps_its_spacing(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    trunks(tmp_path / "images", 2)
    settings = tmp_path / "out" / "store" / "store.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"spatial_dims": 3, "spacing": [1.0, 1.0, 5.0], "modality": "CT"}')
    summary = prepared(tmp_path, tmp_path / "images")
    assert summary.view.spacing == (1, 1, 5)
    assert any("--spacing 1 1 3" in note for note in summary.notes)
    settings.write_text("damaged")
    assert prepared(tmp_path, tmp_path / "images").view.spacing == (1, 1, 3)


def test_the_spacing_is_that_of_the_stores_modality(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "images" / f"ct{number}").mkdir(parents=True)
        save_series(tmp_path / "images" / f"ct{number}")
    (tmp_path / "images" / "mr").mkdir()
    save_series(tmp_path / "images" / "mr", Modality="MR", PixelSpacing=[3, 3])
    assert prepared(tmp_path, tmp_path / "images").view.spacing == (1, 1, 2)
    assert prepared(tmp_path / "other", tmp_path / "images", modality="MR").view.spacing == (3, 3, 2)


def test_a_radiograph_is_seen_whole(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    save_radiograph(tmp_path / "images" / "a.dcm")
    summary = prepare([Source(tmp_path / "images")], tmp_path / "out", size=(24, 16))
    assert summary.view == View(2, (24, 16), modality="CR") == Datalist.read(summary.datalist).view()
