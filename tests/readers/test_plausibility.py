import io
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medssl.errors import UnusableImageError
from medssl.readers.plausibility import judge, looks_like_hu
from medssl.readers.reading import Reading

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder of real images at {SHARED}")

SIDES = np.diag([0.8, 0.8, 3, 1])
X, Y, Z = np.indices((40, 36, 12))
NOISE = np.random.default_rng(0).normal(0, 12, X.shape)
BODY = ((X - 20) / 17.0) ** 2 + ((Y - 18) / 14.0) ** 2 < 1
LUNG = ((X - 12) / 5.0) ** 2 + ((Y - 18) / 8.0) ** 2 < 1
SPINE = ((X - 20) / 3.0) ** 2 + ((Y - 28) / 3.0) ** 2 < 1
CT = np.rint(np.select([LUNG, SPINE, BODY], [-800, 500, 40], -1000) + NOISE)
ORGANS = np.select([LUNG, SPINE, BODY & (Y > 20), BODY], [3, 104, 7, 1], 0)


def judged(values: np.ndarray, modality: str = "", affine: np.ndarray | None = SIDES) -> tuple[str, ...]:
    return judge(Reading(values.astype(np.float32), affine, ("before",), modality), "x.nii").notes[1:]


def refused(values: np.ndarray, affine: np.ndarray | None = SIDES) -> str:
    with pytest.raises(UnusableImageError, match=r"x\.nii .*leave it out, or label it") as error:
        judged(values, affine=affine)
    # One who means it to be an image gets it, with a note.
    (note, *_) = judge(Reading(values.astype(np.float32), affine), "x.nii", keep_masks=True).notes
    assert note.endswith(f"as a {error.value.reason} does")
    return error.value.reason


@pytest.mark.parametrize("values", [LUNG, LUNG * 255, LUNG * 1000, LUNG * 0.5, LUNG + 1, ~LUNG])
def test_two_values_are_a_mask(values: np.ndarray) -> None:
    assert refused(values) == "mask"
    assert refused(values[:, :, 6], affine=None) == "mask"


def test_one_voxel_of_a_large_mask_is_found() -> None:
    values = np.zeros((200, 200, 60))
    values[77, 13, 5] = 1
    assert refused(values) == "mask"


@pytest.mark.parametrize(
    "values",
    [
        ORGANS,
        ORGANS % 7,
        np.select([LUNG, SPINE], [1, 2], 0),
        np.select([LUNG, SPINE], [127, 255], 0),
        np.select([SPINE, LUNG], [2, 1], 0) - 1,
        ORGANS.repeat(3, axis=2)[:, :, ::2],
        np.where(Z > 9, ORGANS, 0),
        np.where(BODY, 1 + X // 14 * 4 + Y // 13, 0),
    ],
)
def test_a_few_whole_numbers_in_flat_regions_are_a_label_map(values: np.ndarray) -> None:
    assert refused(values) == "label map"


def test_flat_regions_of_other_numbers_are_noted() -> None:
    """A label map may have any numbers, as MM-WHS's 205 to 850, and a drawn phantom is as flat."""
    (note,) = judged(np.select([LUNG, SPINE, BODY], [205, 850, 500], 0))
    assert note == "it holds 4 values from 0 to 850 in flat regions, as a label map does"
    (note,) = judged(ORGANS[:, :, 6] * 0.299, affine=None)  # colours of a palette, turned to grey
    assert note == "it holds 5 values from 0 to 31.1 in flat regions, as a label map does"
    assert judged(np.select([LUNG, SPINE, BODY], [-800, 500, 40], -1000)) == ()
    (note,) = judged(np.where(BODY, 40, -1000))
    assert note == "it holds two values only (-1000 and 40), as a mask does"


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (CT, None),
        (CT + 0.25, None),
        (np.clip(CT, -1000, 400), None),
        (np.rint(CT / 200) * 200, None),
        (CT[:4, :4, :4], None),
        ((CT + 1000) / 1600, "values from -0.0"),
        (np.clip((CT + 1000) / 1600, 0, 1), "values from 0 to 0.9"),
        (np.clip((CT + 1000) / 800, 0, 2) - 1, "are no HU: the volume was scaled"),
        (np.clip((CT + 1000) / 6, 0, 255), "are no HU but grey values of 8 bits"),
        (np.rint(np.clip((CT + 160) / 400, 0, 1) * 255), "values from 0 to 255 are no HU but grey values of 8 bits"),
        (CT + 1024, "may be no HU: nothing in it is as low as fat or air"),
        (np.abs(NOISE) * 40, "may be no HU"),
        ((CT - CT.mean()) / CT.std(), "may be no HU"),
    ],
)
def test_scans_stay_and_values_that_are_no_hu_are_noted(values: np.ndarray, note: str | None) -> None:
    notes = judged(values)
    assert looks_like_hu(values) == (note is None)
    if note is None:
        assert notes == ()
    else:
        assert note in notes[0]
    assert judged(values, "CT") == notes
    assert judged(values, "MR") == ()
    assert judged(values[:, :, 2] * 1.0, affine=None) == ()


def test_a_map_of_distances_is_noted() -> None:
    outside, inside = (ndimage.distance_transform_edt(part, (0.8, 0.8, 3)) for part in (~LUNG, LUNG))
    for values in (outside, outside - inside):
        assert "as a distance map does" in judged(values)[0]


def test_reduced_grey_values_are_no_labels() -> None:
    """Of a smooth picture many neighbours are equal, and the others are next to each other in value."""
    smooth = (ndimage.gaussian_filter(CT, 2) + 1000) / 1500
    for levels in (8, 16, 32, 255):
        (note,) = judged(np.rint(smooth * levels))
        assert "label map" in note or "no HU" in note


def test_a_mask_that_was_resized_or_saved_as_jpeg_is_still_a_mask() -> None:
    x, y = np.indices((500, 400))
    circle = ((x - 250) ** 2 + (y - 200) ** 2 < 120**2) * np.uint8(255)
    picture = Image.fromarray(circle).resize((300, 260), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    for values in (np.asarray(picture), np.asarray(Image.open(stream))):
        assert len(np.unique(values)) > 20
        assert refused(values, affine=None) == "mask"


def test_extremes_are_limited_on_the_way() -> None:
    values = (CT + 0.1).astype(np.float32)
    values[3, 3, 3] = 1e7
    reading = judge(Reading(values, SIDES), "x")
    assert reading.values.max() < 1000
    assert reading.notes[0].startswith("1 value of 1e+07 limited")
    scaled = ((CT + 1000) / 2000).astype(np.float32)
    scaled[3, 3, 3] = 1e7
    notes = judge(Reading(scaled, SIDES), "x").notes
    assert [note.partition(" ")[0] for note in notes] == ["1", "values"]
    assert "are no HU: the volume was scaled" in notes[1]


@needs_shared
def test_real_masks_and_scans_are_told_apart() -> None:
    maps, scans = (
        [
            *SHARED.glob(f"ct_seg/totalseg_tests/{kind}/*.nii.gz"),
            *sorted(SHARED.glob(f"ct_seg/sts_gtv/{kind}/*"))[::8],
            *sorted(SHARED.glob(f"mr_seg/*/{kind}/*"))[::20],
        ]
        for kind in ("labels", "images")
    )
    assert len(maps) > 15
    for path in maps:
        values = nibabel.load(path).get_fdata(dtype=np.float32)  # type: ignore[attr-defined]
        assert refused(values) in ("mask", "label map"), path
        assert refused(values[::2, ::2, ::2]) in ("mask", "label map"), path
    for path in scans:
        values = nibabel.load(path).get_fdata(dtype=np.float32)  # type: ignore[attr-defined]
        for window in ((-1000, 1000), (-160, 240)):
            share = (np.clip(values, *window) - window[0]) / (window[1] - window[0])
            for scaled in (share, np.rint(share * 255), 2 * share - 1):
                assert "no HU" in "; ".join(judged(scaled)), path
        assert bool(judged(values)) == ("mr_seg" in str(path)), path


@needs_shared
def test_real_radiographs_stay_as_they_are() -> None:
    folders = ("nih_cxr", "cxr_pool/kermany", "cxr_pool/hannover_covid", "cxr_pool/ieee_covid", "cxr_pool/rsna_normal")
    for folder in folders:
        paths = sorted(path for path in (SHARED / folder).rglob("*") if path.suffix in (".png", ".jpg"))[::20]
        assert paths
        for path in paths:
            values = np.asarray(Image.open(path).convert("L"))
            assert judged(values, affine=None) == (), path
    for path in sorted((SHARED / "cxr_seg").rglob("*.png"))[::20]:
        assert refused(np.asarray(Image.open(path).convert("L")), affine=None) == "mask"
