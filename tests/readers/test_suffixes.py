from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medssl.readers.suffixes import companions, header_fields, suffix_of, without_suffix


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("CT.nii.gz", "CT", ".nii.gz"),
        ("CT.NII", "CT", ".nii"),
        ("a/b.c/scan.SEG.Nrrd", "scan.SEG", ".nrrd"),
        ("1.2.840.10008.5", "1.2.840.10008.5", ""),
        ("1.2.840.dcm", "1.2.840", ".dcm"),
        ("notes.txt", "notes.txt", ""),
        ("scan.img.gz", "scan", ".img.gz"),
        ("archive.gz", "archive.gz", ""),
        (".nii", "", ".nii"),
    ],
)
def test_names_with_and_without_their_suffix(name: str, stem: str, suffix: str) -> None:
    assert (without_suffix(name), suffix_of(Path(name))) == (stem, suffix)


@pytest.mark.parametrize(("suffix", "expected"), [(".mhd", ".raw"), (".nhdr", ".raw"), (".hdr", ".img"), (".mha", "")])
def test_what_holds_a_headers_voxels_belongs_to_it(tmp_path: Path, suffix: str, expected: str) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    SimpleITK.WriteImage(image, str(tmp_path / f"a b{suffix}"))
    (tmp_path / "other.raw").touch()
    assert companions(tmp_path / f"a b{suffix}") == ((tmp_path / f"a b{expected}",) if expected else ())
    assert companions(tmp_path / "other.raw") == ()


@pytest.mark.parametrize(
    ("name", "header", "files"),
    [
        ("x.mhd", "NDims = 3\nElementDataFile = LIST\none.raw\ntwo.raw\n", ["one.raw", "two.raw"]),
        ("x.mhd", "NDims = 3\nElementDataFile = s%03d.raw 1 9 2\n", ["s001.raw", "s003.raw"]),
        ("x.mhd", "NDims = 3\nElementDataFile = LOCAL\none.raw\n", []),
        ("x.mhd", "ElementDataFile = below/three.raw\nComment = LIST\n", ["below/three.raw"]),
        ("x.mhd", "ElementDataFile = ../outside.raw\n", []),
        ("x.mhd", "ElementDataFile = s%d.raw 1 999999999999 1\n", []),
        (
            "x.nhdr",
            "NRRD0004\n# note: none\nkey:=value\ndata file: LIST 2\none.raw\ntwo.raw\n",
            ["one.raw", "two.raw"],
        ),
        ("x.nhdr", "NRRD0004\r\ndatafile: ./one.raw\r\n", ["one.raw"]),
        ("x.nrrd", "NRRD0004\ndimension: 3\n\ndata file: one.raw\n", []),
        ("x.nhdr", "", []),
    ],
)
def test_data_files_are_named_in_every_form(tmp_path: Path, name: str, header: str, files: list[str]) -> None:
    (tmp_path / "in" / "below").mkdir(parents=True)
    for file in ("one.raw", "two.raw", "s001.raw", "s003.raw", "below/three.raw", "../outside.raw"):
        (tmp_path / "in" / file).touch()
    (tmp_path / "in" / name).write_text(header, newline="")
    assert companions(tmp_path / "in" / name) == tuple(tmp_path / "in" / file for file in files)


def test_fields_of_a_text_header(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    image.SetSpacing((1, 2, 3))
    for suffix, field, value in ((".nrrd", "space", "left-posterior-superior"), (".mha", "elementspacing", "1 2 3")):
        SimpleITK.WriteImage(image, str(tmp_path / f"x{suffix}"))
        assert header_fields(tmp_path / f"x{suffix}")[field] == value
    assert header_fields(tmp_path / "none.mha") == {}
