"""What raw files become: every file is in exactly one study or refusal, and nothing is read that need not be."""

import builtins
import io
import os
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ct_series import cut, save_series, series_of_three_kinds
from PIL import Image
from pydicom.data import get_testdata_file

from medssl.errors import MissingFileError, UnusableImageError
from medssl.readers import Found, Reading, Study, examine_folder

RANDOM = np.random.default_rng(0)


def save_picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 255, (12, 10), np.uint8)).save(file)


def said(folder: Path, found: Found) -> dict[str, tuple[int, str, str]]:
    """For each study and refusal its number of files, reason, and note; every file is in exactly one of them."""
    rows = {}
    for study in found.studies:
        try:
            row = (len(study.files), "", "; ".join(study.read().notes))
        except UnusableImageError as error:
            row = (len(study.files), error.reason, str(error))
        rows[study.path.relative_to(folder).as_posix()] = row
    for refusal in found.refusals:
        rows[refusal.path.relative_to(folder).as_posix()] = (len(refusal.files), refusal.reason, refusal.note)
    entries = [*found.studies, *found.refusals]
    assert len(rows) == len(entries)  # each has a name of its own
    files = [file for entry in entries for file in entry.files]
    assert Counter(files) == Counter(path for path in folder.rglob("*") if not path.is_dir())
    return rows


@pytest.mark.parametrize("apart", [True, False], ids=["a folder each", "one folder"])
def test_each_of_three_series_is_accounted_for(tmp_path: Path, apart: bool) -> None:
    series_of_three_kinds(tmp_path, apart)
    rows = said(tmp_path, examine_folder(tmp_path, 3))
    named = ("good", "cut", "uneven") if apart else ("good00.dcm", "cut00.dcm", "uneven00.dcm")
    good, crooked, uneven = (rows.pop(name) for name in named)
    assert good[:2] == (20, "")
    assert crooked[:2] == (19, "")
    assert "1 missing slice interpolated (after number 9 of 19)" in crooked[2]
    assert "a file beside it cannot be used and may be one of its slices (cut09.dcm)" in crooked[2]
    assert uneven == (14, "uneven slices", "14 files: It has a gap of 7.0 mm where slices are 1.00 mm apart: complete "
                      "the series.")  # fmt: skip
    ((name, damaged),) = rows.items()
    assert (Path(name).name, *damaged[:2]) == ("cut09.dcm", 1, "damaged")


def test_two_series_with_one_fault_are_two_refusals(tmp_path: Path) -> None:
    for number in "12":
        save_series(tmp_path, [0, 1, 2, 9, 10, 11], number, number)
    found = examine_folder(tmp_path, 3)
    assert [(refusal.path.name, len(refusal.files)) for refusal in found.refusals] == [("100.dcm", 6), ("200.dcm", 6)]
    assert found.studies == []


def test_one_damaged_picture_among_ten_is_a_row(tmp_path: Path) -> None:
    for number in range(10):
        save_picture(tmp_path / "a" / f"{number}.png")
    cut(tmp_path / "a" / "7.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "notes.txt").write_text("about")
    os.mkfifo(tmp_path / "pipe.png")
    Image.new("L", (9, 9), 7).save(tmp_path / "grey.png")
    shutil.copy(str(get_testdata_file("CT_small.dcm")), tmp_path / "slice")
    rows = said(tmp_path, examine_folder(tmp_path, 2))
    assert {name: row[1] for name, row in rows.items() if row[1]} == {
        "a/7.png": "unreadable",
        "empty.png": "empty file",
        "gone.png": "unreadable",
        "grey.png": "constant image",
        "notes.txt": "no image",
        "pipe.png": "unreadable",
        "slice": "not a radiograph",
    }
    assert not [note for _, _, note in rows.values() if str(tmp_path) in note or "\n" in note]


def test_a_header_and_its_data_file_are_one_study(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    values = RANDOM.integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    for name in ("a.mhd", "b.nhdr", "c.nrrd", "d.hdr"):
        sitk.WriteImage(sitk.GetImageFromArray(values), tmp_path / name)
    save_picture(tmp_path / "picture.png")
    found = examine_folder(tmp_path, 3)
    assert {study.path.name: len(study.files) for study in found.studies} == dict(
        zip(("a.mhd", "b.nhdr", "c.nrrd", "d.hdr"), (2, 2, 1, 2), strict=True)
    )
    assert {name: row[1] for name, row in said(tmp_path, found).items() if row[1]} == {"picture.png": "no image"}
    for study in found.studies:
        np.testing.assert_array_equal(study.read().values.transpose(2, 1, 0), values)


def test_a_study_reads_the_same_in_another_process(tmp_path: Path) -> None:
    save_series(tmp_path / "ct", range(4))
    save_picture(tmp_path / "xr" / "a.png")
    for folder, dims in (("ct", 3), ("xr", 2)):
        (study,) = examine_folder(tmp_path / folder, dims).studies
        there, here = pickle.loads(pickle.dumps(study)).read(), study.read()
        np.testing.assert_array_equal(there.values, here.values)
        assert (there.notes, there.modality) == (here.notes, here.modality)


def test_no_file_is_opened_more_often_than_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_series(tmp_path / "ct", range(4))
    save_picture(tmp_path / "xr" / "a.png")
    shutil.copy(str(get_testdata_file("CT_small.dcm")), tmp_path / "xr" / "slice")
    opened: Counter[str] = Counter()
    really = open

    def counting(file: str | Path, *options: Any, **more: Any) -> Any:
        opened[Path(file).name] += 1
        return really(file, *options, **more)

    for module in (builtins, io):
        monkeypatch.setattr(module, "open", counting)
    for folder, dims in (("ct", 3), ("xr", 2)):
        said(tmp_path / folder, examine_folder(tmp_path / folder, dims))
    monkeypatch.undo()
    assert opened.pop("slice") <= 3  # without suffix, what it is must be asked first
    assert set(opened) == {"a.png", *(f"{number:02}.dcm" for number in range(4))}
    assert set(opened.values()) <= {1, 2}


def test_the_folder_that_is_written_to_is_passed_over(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png")
    save_picture(tmp_path / "out" / "plot.png")
    assert len(examine_folder(tmp_path, 2, skip=tmp_path / "out").studies) == 1
    assert len(examine_folder(tmp_path, 2, skip=tmp_path).studies) == 2  # results beside the images hide none
    with pytest.raises(MissingFileError, match="nowhere"):
        examine_folder(tmp_path / "nowhere", 2)


def test_whatever_a_decoder_raises_is_a_reason(tmp_path: Path) -> None:
    def fails() -> Reading:
        raise ZeroDivisionError(f"in {tmp_path}/a.png\n at 0x7f")

    with pytest.raises(
        UnusableImageError, match=r"^a\.png cannot be read \(ZeroDivisionError: in a\.png\)\.$"
    ) as caught:
        Study(tmp_path / "a.png", (tmp_path / "a.png",), fails).read()
    assert caught.value.reason == "unreadable"
