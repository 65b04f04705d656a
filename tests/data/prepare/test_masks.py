"""Masks from the files of hospitals to the store and the datalist; each fault in the report, with its sentence."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation, Spacing
from PIL import Image

from medssl.commands import main
from medssl.data import Datalist, Source, read_sources
from medssl.data.prepare import Summary, prepare
from medssl.data.sources import read_contains
from medssl.errors import UserError
from medssl.transforms.stored import StoredImage

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))
needs_shared = pytest.mark.skipif(not (SHARED / "ct_seg").is_dir(), reason=f"no folder of real masks at {SHARED}")
DRAWS = np.random.default_rng(0)
SHAPE = (12, 11, 10)
TURNED = np.array([[0, -1.5, 0, 40], [0, 0, 2, -9], [-1, 0, 0, 3], [0, 0, 0, 1.0]])  # axes to the feet, left, front
SPLITS = ("training", "validation", "test")


def save(path: Path, values: np.ndarray, affine: np.ndarray = TURNED, intent: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_intent(intent)
    nibabel.save(image, path)
    return path


def scan(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return DRAWS.integers(-1000, 1000, shape).astype(np.int16)


def blobs(count: int = 2, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A label map in which each number fills a box of its own size."""
    values = np.zeros(shape, np.uint8)
    for number in range(count, 0, -1):
        values[tuple(slice(1, 3 + 2 * number) for _ in shape)] = number
    return values


def picture(path: Path, values: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(DRAWS.integers(0, 255, (30, 20), np.uint8) if values is None else values).save(path)
    return path


def three_d(sources: list[Source], output: Path, **more: object) -> Summary:
    return prepare(sources, output, spatial_dims=3, spacing=(1.2, 1.2, 1.2), modality="CT", **more)  # type: ignore[arg-type]


def two_d(sources: list[Source], output: Path, **more: object) -> Summary:
    return prepare(sources, output, size=(16, 16), fractions=(0.6, 0.2, 0.2), **more)  # type: ignore[arg-type]


def report_of(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "report.csv", keep_default_na=False).set_index("file")


def segmented(output: Path) -> dict[str, dict]:
    """Image's file → its item and split, of all that has a mask."""
    datalist, report = Datalist.read(output), report_of(output)
    files = {str(output / row.stored): str(file) for file, row in report[report["stored"] != ""].iterrows()}
    return {
        files[item["file"]]: {**item, "split": split}
        for split in SPLITS
        for item in datalist.segmented(split, may_be_empty=True)
    }


def stored_classes(item: dict, count: int) -> np.ndarray:
    return StoredImage(item["mask"]).read()[None] >> np.arange(count).reshape(-1, *[1] * 3) & 1


def reference(mask: np.ndarray, affine: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """One class by MONAI's transforms, nearest."""
    image = MetaTensor(torch.from_numpy(mask[None].astype(np.float32)), affine=torch.from_numpy(affine))
    return np.asarray(Spacing(spacing, mode="nearest")(Orientation("RAS", labels=None)(image)))[0]


def test_two_layouts_of_two_hospitals_come_to_one_list_of_classes(tmp_path: Path) -> None:
    north = {f"n{number}": (scan(), blobs(3)) for number in range(6)}
    for name, (image, mask) in north.items():
        save(tmp_path / "north" / "images" / f"{name}_0000.nii.gz", image)  # as nnU-Net has it
        save(tmp_path / "north" / "labels" / f"{name}.nii.gz", mask, intent=1002)
    south = {f"s{number}": (scan(), blobs(2) == 1, blobs(2) == 2) for number in range(6)}
    for name, (image, left, right) in south.items():  # as TotalSegmentator has it
        save(tmp_path / "south" / name / "ct.nii.gz", image)
        save(tmp_path / "south" / name / "segmentations" / "lung_left.nii.gz", left.astype(np.uint8))
        if name != "s5":
            turned = np.diag([-1, 1, 1, 1.0])
            turned[0, 3] = SHAPE[0] - 1  # the same voxels, the first axis the other way
            save(
                tmp_path / "south" / name / "segmentations" / "lung_right.nii.gz",
                right[::-1].astype(np.uint8) * 255,
                TURNED @ turned,
            )
    (tmp_path / "sources.yaml").write_text(
        "sources:\n- images: north/images\n  masks: north/labels\n  mask_labels: {1: liver, 2: lungs, 3: null}\n"
        "- {images: south, masks: south}\ncontains: {lungs: [lung_left, lung_right]}\n"
    )
    sources, contains = read_sources(tmp_path / "sources.yaml"), read_contains(tmp_path / "sources.yaml")
    summary = three_d(sources, tmp_path / "out", contains=contains)
    datalist = Datalist.read(tmp_path / "out")
    assert datalist.classes == summary.classes == ["liver", "lungs", "lung_left", "lung_right"]
    assert datalist.contains == contains
    items = segmented(tmp_path / "out")
    assert len(items) == 12
    for file, item in items.items():
        name = file.split("/")[0].removesuffix("_0000.nii.gz")
        if name in north:
            masks = [north[name][1] == 1, north[name][1] == 2, None, None]
        else:
            masks = [None, None, south[name][1], south[name][2] if name != "s5" else None]
        assert item["outlined"].tolist() == [mask is not None for mask in masks]
        stored = stored_classes(item, 4)
        assert stored.shape[1:] == StoredImage(item["image"]).shape
        for mine, mask in zip(stored, masks, strict=True):
            expected = np.zeros_like(mine) if mask is None else reference(mask, TURNED, (1.2, 1.2, 1.2))
            np.testing.assert_array_equal(mine, expected)
    # Each split has each class; and all is said.
    for split in SPLITS:
        assert sum(item["outlined"] for item in items.values() if item["split"] == split).min() > 0
    assert summary.outlined["training"].sum() > 0
    counts = json.loads((tmp_path / "out" / "summary.json").read_text())["classes_by_source"]
    assert counts["north"]["liver"] == {"outlined": 6, "there": 6}
    report = report_of(tmp_path / "out")
    assert (report["status"] == "used").all()
    assert report.loc["s3/segmentations/lung_left.nii.gz", "split"] == items["s3/ct.nii.gz"]["split"]
    assert "../labels/n1.nii.gz" in report.index
    assert set(report.index) == {
        os.path.relpath(path, tmp_path / ("north/images" if "north" in path.parts else "south"))
        for path in [*tmp_path.glob("north/**/*.gz"), *tmp_path.glob("south/**/*.gz")]
    }


def test_masks_of_radiographs_are_resized_as_they_are(tmp_path: Path) -> None:
    values = {name: DRAWS.integers(0, 4, (30, 20)).astype(np.uint8) for name in "abcdef"}
    for name, mask in values.items():
        picture(tmp_path / "images" / f"{name}.png")
        if name in "ab":
            coloured = Image.fromarray(mask, "P")
            coloured.putpalette([7 * number % 256 for number in range(768)])
            (tmp_path / "masks").mkdir(exist_ok=True)
            coloured.save(tmp_path / "masks" / f"{name}_mask.png")
        elif name != "f":
            picture(tmp_path / "masks" / f"{name}.png", np.repeat(mask[..., None], 3, axis=2) if name == "c" else mask)
    arguments = ["prepare", tmp_path / "out", "--images", tmp_path / "images", "--masks", tmp_path / "masks"]
    labels = ["--mask-labels", "1=one", "2=two", "3=one", "--size", "10", "16", "--fractions", "0.4", "0.3", "0.3"]
    assert main([*map(str, arguments), *labels]) == 0
    items = segmented(tmp_path / "out")
    assert sorted(items) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    rows, columns = ((np.arange(10) + 0.5) * 3).astype(int), ((np.arange(16) + 0.5) * 1.25).astype(int)
    for file, item in items.items():
        small = values[file[0]][np.ix_(rows, columns)]
        expected = np.where(small == 2, 2, np.where(small > 0, 1, 0))
        np.testing.assert_array_equal(StoredImage(item["mask"]).read(), expected)
        seen = Datalist.read(tmp_path / "out").view().stored(masks=True)(item)
        np.testing.assert_array_equal(seen["mask"][0], expected)
    assert [Path(item["image"]) for item in Datalist.read(tmp_path / "out").items("unlabeled")] == [
        tmp_path / "out" / report_of(tmp_path / "out").loc["f.png", "stored"]
    ]


@pytest.mark.parametrize("many", [25, 63])
def test_many_classes_keep_their_bits(tmp_path: Path, many: int) -> None:
    label_map = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % (many + 1)).astype(np.uint8)
    for name in "abc":
        save(tmp_path / "i" / f"{name}.nii", scan())
    save(tmp_path / "m" / "a.nii", label_map)
    labels = {number: f"class {number}" for number in range(1, many + 1)}
    source = Source(tmp_path / "i", masks=tmp_path / "m", mask_labels=labels, split="training")
    three_d([source], tmp_path / "out")
    stored = stored_classes(segmented(tmp_path / "out")["a.nii"], many)
    for number, mine in enumerate(stored, 1):
        np.testing.assert_array_equal(mine, reference(label_map == number, TURNED, (1.2, 1.2, 1.2)))


def test_masks_beside_labels_and_for_the_same_images(tmp_path: Path) -> None:
    for number in range(8):
        picture(tmp_path / "images" / f"{number}.png")
        if number < 4:
            picture(tmp_path / "lungs" / f"{number}.png", np.tri(30, 20, dtype=np.uint8) * 255)
        if 2 <= number < 6:
            picture(tmp_path / "heart" / f"{number}_seg.png", np.tri(30, 20, -9, dtype=np.uint8))
    table = tmp_path / "t.csv"
    table.write_text("image,patient,Mass\n" + "".join(f"{n}.png,{n},{n % 2 if n > 2 else ''}\n" for n in range(7)))
    sources = [
        Source(tmp_path / "images", table, masks=tmp_path / "lungs", mask_labels={1: "lungs"}),
        Source(tmp_path / "images", masks=tmp_path / "heart", mask_labels={1: "heart"}, name="heart"),
    ]
    summary = prepare(sources, tmp_path / "out", size=(30, 20), fractions=(0.6, 0.2, 0.2))
    items = segmented(tmp_path / "out")
    outlined = {file: item["outlined"].tolist() for file, item in items.items()}
    assert outlined == {f"{n}.png": [float(n < 4), float(n >= 2)] for n in range(6)}
    expected = np.tri(30, 20, dtype=np.uint8) | np.tri(30, 20, -9, dtype=np.uint8) << 1
    np.testing.assert_array_equal(StoredImage(items["3.png"]["mask"]).read(), expected)
    labelled = [item for split in SPLITS for item in Datalist.read(tmp_path / "out").labelled(split, may_be_empty=True)]
    assert len(labelled) == 4  # 3 to 6
    assert summary.images["unlabeled"] == 1


def test_copies_of_an_image_have_one_mask(tmp_path: Path) -> None:
    values = {name: DRAWS.integers(0, 255, (30, 20), np.uint8) for name in ("one", "two", "three")}
    for hospital in "xy":
        for name, image in values.items():
            picture(tmp_path / hospital / "images" / f"{name}.png", image)
    for place in ("x/masks/one", "x/masks/two", "y/masks/two"):
        picture(tmp_path / f"{place}.png", np.tri(30, 20, len(place) - 11, dtype=np.uint8))
    picture(tmp_path / "y" / "masks" / "three.png", np.tri(30, 20, dtype=np.uint8))
    picture(tmp_path / "x" / "masks" / "three.png", np.tri(30, 20, 3, dtype=np.uint8))
    sources = [
        Source(tmp_path / one / "images", masks=tmp_path / one / "masks", mask_labels={1: "lungs"}, split="training")
        for one in "xy"
    ]
    summary = prepare(sources, tmp_path / "out", size=(30, 20))
    assert len(Datalist.read(tmp_path / "out").segmented("training")) == 2
    assert summary.set_aside["same image, contradiction"] == 2
    report = pd.read_csv(tmp_path / "out" / "report.csv", keep_default_na=False)
    assert report.loc[report["reason"] == "same image, contradiction", "detail"].str.contains("other masks").all()
    assert summary.set_aside["image not used"] == 2


def test_a_second_run_makes_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcdef":
        picture(tmp_path / "i" / f"{name}.png")
        picture(tmp_path / "m" / f"{name}.png", half())
    source = Source(tmp_path / "i", masks=tmp_path / "m", mask_labels={1: "one", 2: "two"})
    plain = two_d([Source(tmp_path / "i")], tmp_path / "plain", salt="s")
    for output, workers in (("one", 1), ("four", 4)):
        two_d([source], tmp_path / output, workers=workers, salt="s")
    contents = [
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "four")
    ]
    assert contents[0] == contents[1]
    images = {
        str(path.relative_to(tmp_path / "plain")): path.read_bytes() for path in (tmp_path / "plain").rglob("*.b2nd")
    }
    assert len(images) == plain.images["unlabeled"] == 6
    assert images.items() <= contents[0].items()  # the images are as they are without masks
    examined: list[str] = []
    from medssl.data.prepare import fill

    def watched(unit, *rest, whole=fill.examine):  # type: ignore[no-untyped-def]
        examined.append(unit.path.name)
        return whole(unit, *rest)

    monkeypatch.setattr(fill, "examine", watched)
    two_d([source], tmp_path / "one", salt="s")
    assert examined == []
    mask = next(
        path for path in (tmp_path / "one").rglob("*.b2nd") if str(path.relative_to(tmp_path / "one")) not in images
    )
    mask.unlink()
    two_d([source], tmp_path / "one", salt="s")
    assert len(examined) == 1
    examined.clear()
    picture(tmp_path / "m" / "c.png", 2 * half())
    two_d([source], tmp_path / "one", salt="s")
    assert examined == ["c.png"]
    assert len(list((tmp_path / "one").rglob("*.b2nd"))) == 12
    other = Source(tmp_path / "i", masks=tmp_path / "m", mask_labels={1: "one", 2: ""})
    two_d([other], tmp_path / "one", salt="s")
    assert Datalist.read(tmp_path / "one").classes == ["one"]
    two_d([Source(tmp_path / "i")], tmp_path / "one", salt="s")
    assert {str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*.b2nd")} == set(images)
    assert (tmp_path / "one" / "datalist.json").read_bytes() == (tmp_path / "plain" / "datalist.json").read_bytes()


def _shifted(affine: np.ndarray, by: float) -> np.ndarray:
    moved = affine.copy()
    moved[0, 3] += by
    return moved


def _nan(path: Path) -> Path:
    return save(path, np.where(blobs(), np.nan, 0).astype(np.float32))


Case = tuple[str, Callable[[Path], object], str]
BAD_VOLUMES: dict[str, Case] = {
    "cut.nii": (
        "other shape",
        lambda path: save(path, blobs(shape=(12, 11, 9))),
        "12 × 11 × 9 voxels and its image 12 ×",
    ),
    "moved.nii": ("other grid", lambda path: save(path, blobs(), _shifted(TURNED, 3)), "up to 3 mm away"),
    "unplaced.nii": ("other grid", lambda path: save(path, blobs(), np.eye(4)), "mm away"),
    "more.nii": ("number without a name", lambda path: save(path, blobs(3)), "holds 3, and mask_labels names 1, 2"),
    "negative.nii": ("number without a name", lambda path: save(path, -blobs().astype(np.int16)), "holds -2"),
    "half.nii": ("no whole numbers", lambda path: save(path, blobs().astype(np.float32) / 2), "holds 0.5"),
    "nan.nii": ("not finite", _nan, "NaN"),
    "text.nii": ("unreadable", lambda path: path.write_bytes(b"none"), "cannot be read"),
    "empty.nii.gz": ("unreadable", lambda path: path.touch(), "cannot be read"),
    "4D.nii": ("not a volume", lambda path: save(path, np.zeros((*SHAPE, 2), np.uint8)), "three axes"),
    "god.nii": (
        "mask without image",
        lambda path: save(path, blobs()),
        "no image is called 'god'. Did you mean 'good.nii'",
    ),
    "a.dcm": ("not a mask", lambda path: path.write_bytes(b"\0" * 128 + b"DICM"), "convert it"),
    "two.nii": ("two masks", lambda path: save(path, blobs()), "two.nii and two_seg.nii both outline"),
    "two_seg.nii": ("two masks", lambda path: save(path, blobs()), "two.nii and two_seg.nii both outline"),
    "broken.nii": ("image not used", lambda path: save(path, blobs()), "its image, broken.nii, is not used"),
}
BAD_PICTURES: dict[str, Case] = {
    "turned.png": ("other shape", lambda path: picture(path, half().T), "20 × 30 pixels and its image 30 × 20"),
    "red.png": ("coloured mask", lambda path: picture(path, np.stack([half(), 0 * half(), half()], 2)), "is coloured"),
    "lossy.jpg": ("number without a name", lambda path: picture(path, half() * 255), "name it, or leave it"),
    "text.png": ("unreadable", lambda path: path.write_bytes(b"none"), "cannot be read as a picture"),
    "same.png": ("several such images", lambda path: picture(path, half()), "the name of 2 images"),
    "notes.txt": ("no image", lambda path: path.write_text("about"), "not those of a mask"),
}
CASES = {3: BAD_VOLUMES, 2: BAD_PICTURES}


def half() -> np.ndarray:
    return np.tri(30, 20, dtype=np.uint8)


@pytest.fixture(scope="module", params=[3, 2])
def bad_masks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Case]]:
    """A hospital with one good mask, and many bad ones of images of their own, prepared."""
    folder, dims = tmp_path_factory.mktemp("masks"), request.param
    end, draw = (".nii", lambda path: save(path, scan())) if dims == 3 else (".png", picture)
    save_mask = save if dims == 3 else picture
    save_mask(folder / "m" / f"good{end}", blobs() if dims == 3 else half())
    for name, (_, write, _) in CASES[dims].items():
        if name not in ("god.nii", "a.dcm", "notes.txt", "two_seg.nii", "same.png"):
            draw(folder / "i" / f"{name.split('.')[0]}{end}")
        write(folder / "m" / name)
    for name in ("good", *(("x/same", "y/same") if dims == 2 else ())):
        draw(folder / "i" / f"{name}{end}")
    if dims == 3:
        (folder / "i" / "broken.nii").write_bytes(b"none")
    source = Source(folder / "i", masks=folder / "m", mask_labels={1: "one", 2: "two"})
    more: dict[str, object] = {"spacing": (2, 2, 2)} if dims == 3 else {"size": (8, 8)}
    prepare([source], folder / "out", spatial_dims=dims, fractions=(1, 0, 0), **more)  # type: ignore[arg-type]
    return folder / "out", CASES[dims]


def test_each_bad_mask_is_said(bad_masks: tuple[Path, dict[str, Case]]) -> None:
    output, cases = bad_masks
    report = report_of(output)
    told = {name: report.loc[f"../m/{name}"] for name in cases}
    assert {name: row["reason"] for name, row in told.items()} == {name: case[0] for name, case in cases.items()}
    assert {name: row["detail"] for name, row in told.items() if cases[name][2] not in row["detail"]} == {}
    assert not any(str(output.parent) in row["detail"] for row in told.values())
    assert not any(row["stored"] or row["split"] for row in told.values())
    # Their images are unlabelled; that of the good mask is for training.
    (good,) = segmented(output)
    assert good.startswith("good.")
    used = report[report["status"] == "used"]
    assert {name: split for name, split in used["split"].items() if not name.startswith(("good", "../m/good"))} == {
        name: "unlabeled" for name in used.index if "good" not in name
    }


@pytest.mark.parametrize(
    ("files", "labels", "contains", "said"),
    [
        ({"a.nii": blobs()}, {}, {}, "do not say what is in them"),
        ({"a.nii": blobs()}, {0: "none", 1: "one"}, {}, "0 is what is no class"),
        ({"a.nii": blobs()}, {1: "one", "two": "two"}, {}, "use one kind"),
        ({"a.nii": blobs()}, {1: "", 2: ""}, {}, "leaves out every class"),
        ({"a.nii": blobs()}, {1: "one", "others": "rest"}, {}, "give it none"),
        ({"a.nii": blobs()}, {1: "one", 2: "two"}, {"all": ["one", "tow"]}, "'tow' among others.*Did you mean 'two'"),
        ({"a.nii": blobs()}, {1: "one", 2: "two"}, {"one": ["one"]}, "contains itself"),
        ({"a.nii": blobs(3)}, {1: "one", 2: "two"}, {}, "None of the masks can be used .1 × number without a name"),
        ({"a.nii": blobs()}, {number: f"c {number}" for number in range(1, 65)}, {}, "at most 63 classes"),
        ({"a/liver.nii": blobs()}, {"livr": "liver"}, {}, "called 'livr'.*Did you mean 'liver'"),
        ({"a/liver.nii": blobs()}, {}, {}, "1 × several numbers"),
        ({}, {1: "one"}, {}, "holds no masks"),
    ],
)
def test_what_is_wrong_with_all_masks_is_told_at_once(
    tmp_path: Path, files: dict[str, np.ndarray], labels: dict, contains: dict, said: str
) -> None:
    save(tmp_path / "i" / "a.nii", scan())
    (tmp_path / "m").mkdir()
    for name, values in files.items():
        save(tmp_path / "m" / name, values)
    with pytest.raises(UserError, match=said):
        three_d([Source(tmp_path / "i", masks=tmp_path / "m", mask_labels=labels)], tmp_path / "out", contains=contains)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--images i i --masks m --mask-labels 1=one", "2 --images and 1 --masks"),
        ("--images i --masks none --mask-labels 1=one", "no folder none"),
        ("--images i --mask-labels 1=one", "--masks"),
        ("--images i --masks m --mask-labels one", "--mask-labels takes pairs such as 1=liver, not 'one'"),
        ("--images i --masks m --mask-labels 1=one --contains all", "--contains takes pairs"),
        ("--sources s.yaml --masks m", "leave out"),
        ("--sources s.yaml", "told by mask_labels"),
    ],
)
def test_wrong_options_are_told(
    tmp_path: Path, arguments: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(Path("i/a.png"))
    picture(Path("m/a.png"), np.tri(30, 20, dtype=np.uint8))
    Path("s.yaml").write_text("sources: [{images: i, masks: m, labels: {1: one}}]")
    assert main(["prepare", "out", *arguments.split()]) == 1
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_is_absent_and_what_is_lost_is_noted(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / "i" / f"{name}.nii", scan((24, 24, 24)))
        values = np.zeros((24, 24, 24), np.uint8)
        values[2:9, 2:9, 2:9] = name != "b"
        values[20, 20, 20] = 2 if name == "c" else 0
        save(tmp_path / "m" / f"{name}.nii", values)
    labels = {1: "one", 2: "two", 3: "three"}
    source = Source(tmp_path / "i", masks=tmp_path / "m", mask_labels=labels, split="training")
    summary = prepare([source], tmp_path / "out", spatial_dims=3, spacing=(7, 7, 7), modality="CT")
    details = report_of(tmp_path / "out")["detail"]
    assert details["../m/a.nii"] == "outlined and absent: two, three"
    assert details["../m/b.nii"] == "outlined and absent: one, two, three"
    assert "too small to be left in the prepared image: two" in details["../m/c.nii"]
    assert len(segmented(tmp_path / "out")) == 3
    assert summary.outlined["training"].tolist() == [[3, 2], [3, 0], [3, 0]]
    assert any(note.startswith("three was outlined in 3 images and is there in none") for note in summary.notes)
    assert any("no table names the patient" in note for note in summary.notes)


@needs_shared
def test_lungs_of_two_hospitals_with_definitions_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(
        "sources:\n"
        + "".join(
            f"- {{images: {folder}/{pool}, masks: {folder}/{name}, mask_labels: {{1: {label}}}, name: {name}}}\n"
            for folder, pool, name, label in (
                (tmp_path, "shenzhen_tb", "shenzhen_lungs", "lungs without heart"),
                (tmp_path, "ieee_covid", "ieee_lungs", "lungs with heart"),
            )
        )
    )
    for pool, name in (("shenzhen_tb", "shenzhen_lungs"), ("ieee_covid", "ieee_lungs")):
        (tmp_path / pool).mkdir()
        (tmp_path / name).mkdir()
        for mask in sorted((SHARED / "cxr_seg" / name / "masks").iterdir())[:15]:
            (tmp_path / name / mask.name).symlink_to(mask)
        for image in sorted((SHARED / "cxr_pool" / pool / "images").iterdir()):
            if (tmp_path / name / f"{image.stem}.png").exists() or image.name < "CHNCXR_0003":
                (tmp_path / pool / image.name).symlink_to(image)
    summary = prepare(read_sources(tmp_path / "sources.yaml"), tmp_path / "out", size=(64, 64))
    assert Datalist.read(tmp_path / "out").classes == ["lungs without heart", "lungs with heart"]
    assert sum(map(len, map(np.atleast_2d, summary.outlined.values()))) == 6
    total = sum(summary.outlined.values())
    assert total.tolist() == [[15, 15], [15, 15]]  # type: ignore[union-attr]
    assert all((counts[:, 0] > 0).all() for counts in summary.outlined.values())
    for item in segmented(tmp_path / "out").values():
        share = (StoredImage(item["mask"]).read() > 0).mean()
        assert 0.05 < share < 0.6


@needs_shared
def test_real_volumes_and_their_label_maps(tmp_path: Path) -> None:
    folders = {"north": {1: "anterior", 2: ""}, "south": {1: "", 2: "posterior"}}
    cases = sorted((SHARED / "mr_seg" / "msd_hippocampus" / "images").iterdir())[:12]
    sources = []
    for number, (name, labels) in enumerate(folders.items()):
        for kind in ("images", "labels"):
            (tmp_path / name / kind).mkdir(parents=True)
            for case in cases[number::2]:
                (tmp_path / name / kind / case.name).symlink_to(case.parents[1] / kind / case.name)
        sources.append(
            Source(tmp_path / name / "images", masks=tmp_path / name / "labels", mask_labels=labels, name=name)
        )
    prepare(sources, tmp_path / "out", spatial_dims=3, modality="MR")
    items = segmented(tmp_path / "out")
    assert len(items) == 12
    for file, item in items.items():
        original = np.asarray(nibabel.as_closest_canonical(nibabel.load(cases[0].parents[1] / "labels" / file)).dataobj)
        stored = StoredImage(item["mask"]).read()
        number = 1 if item["outlined"][0] else 2
        assert np.isclose((stored > 0).sum(), (original == number).sum(), rtol=0.1)
        assert np.unique(stored).tolist() == [0, number]


@needs_shared
def test_a_label_map_belongs_to_a_series_of_dicom(tmp_path: Path) -> None:
    """Its axes run another way than the slices'."""
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "case").symlink_to(SHARED / "ct_dicom" / "trunk_20slices", target_is_directory=True)
    (tmp_path / "m").mkdir()
    mask = SHARED / "ct_seg" / "totalseg_tests" / "for_shared_trunk_20slices" / "labels.nii.gz"
    (tmp_path / "m" / "case.nii.gz").symlink_to(mask)
    labels: dict[int | str, str] = {5: "liver", "others": ""}
    source = Source(tmp_path / "i", masks=tmp_path / "m", mask_labels=labels, split="training")
    prepare([source], tmp_path / "out", spatial_dims=3, spacing=(-1, -1, -1))
    (item,) = Datalist.read(tmp_path / "out").segmented("training")
    stored, image = StoredImage(item["mask"]), StoredImage(item["image"])
    assert stored.shape == image.shape
    liver = image.read()[stored.read() > 0]
    assert len(liver) == (np.asarray(nibabel.load(mask).dataobj) == 5).sum()
    assert 0 < np.median(liver) < 150  # HU of a liver, so that it lies where it belongs


@needs_shared
def test_tumours_and_organs_of_real_ct(tmp_path: Path) -> None:
    sources = []
    for name, cases, labels in (
        ("sts_gtv", ["STS_002", "STS_003", "STS_005"], {1: "sarcoma"}),
        ("totalseg_tests", ["TS_trunk_3mm", "TS_slab_3mm"], {5: "liver", 1: "spleen", "others": ""}),
    ):
        for kind in ("images", "labels"):
            (tmp_path / name / kind).mkdir(parents=True)
            for case in cases:
                (tmp_path / name / kind / f"{case}.nii.gz").symlink_to(
                    SHARED / "ct_seg" / name / kind / f"{case}.nii.gz"
                )
        sources.append(
            Source(tmp_path / name / "images", masks=tmp_path / name / "labels", mask_labels=labels, name=name)
        )  # type: ignore[arg-type]
    summary = prepare(sources, tmp_path / "out", spatial_dims=3, spacing=(4, 4, 4))
    assert summary.set_aside == {}
    assert Datalist.read(tmp_path / "out").classes == ["sarcoma", "liver", "spleen"]
    assert sum(counts[:, 0] for counts in summary.outlined.values()).tolist() == [3, 2, 2]  # type: ignore[union-attr]
    view = Datalist.read(tmp_path / "out").view()
    for item in segmented(tmp_path / "out").values():
        (crop,) = view.random_crops(1, masks=True, foreground=1.0)(item)
        assert crop["mask"].any()
