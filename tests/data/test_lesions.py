"""Tables of lesions: their columns say in which coordinates a place is given, and no row is lost."""

from pathlib import Path

import numpy as np
import pytest

from medssl.data.lesions import Lesions, read_lesions


def read(folder: Path, text: str, spatial_dims: int) -> Lesions:
    (folder / "lesions.csv").write_text(text)
    return read_lesions(folder / "lesions.csv", spatial_dims)


@pytest.mark.parametrize(
    ("header", "space"),
    [
        ("x,y,z", "voxel"),
        ("X_ras,Y_ras,Z_ras", "ras"),
        ("x_lps,y_lps,z_lps", "lps"),
        ("coordX,coordY,coordZ", "lps"),
    ],
)
def test_endings_say_whose_coordinates_they_are(tmp_path: Path, header: str, space: str) -> None:
    lesions = read(tmp_path, f"seriesuid,{header},diameter_mm\n1.2.3,-1,2.5,0,7\n1.2.4,,2,3,8\n", 3)
    assert lesions.space == space
    assert lesions.rows["image"].tolist() == ["1.2.3", "1.2.4"]
    np.testing.assert_array_equal(lesions.places[0], [[-1, 2.5, 0]] * 2)
    assert lesions.rows["reason"].tolist() == ["", "no place"]


def test_boxes_of_radiographs_with_labels(tmp_path: Path) -> None:
    text = (
        "image_id;class;x_min;y_min;x_max;y_max;patient_id;source;malignant\n"
        "a.png;Mass;1,5;2;11;22;7;north;1\nb;Nodule;0;0;1;1;8;south;\nb;Nodule;5;0;1;1;8;south;0\n;Mass;1;1;2;2;9;;0\n"
    )
    lesions = read(tmp_path, text, 2)
    np.testing.assert_array_equal(lesions.places[0], [[2, 1.5], [22, 11]])  # rows, then columns
    assert lesions.rows["row"].tolist() == [2, 3, 4, 5]
    assert lesions.rows["reason"].tolist() == ["", "", "no place", "no image"]
    assert lesions.rows["patient"].tolist() == ["7", "8", "8", "9"]
    assert lesions.labels == ["malignant"]  # coordinates of 0 and 1 are none
    np.testing.assert_array_equal(lesions.values[:, 0], [1, np.nan, 0, 0])


@pytest.mark.parametrize(
    ("header", "dims", "match"),
    [
        ("patient,x,y,z", 3, "no column image"),
        ("image,x,y", 3, "x_min_lps|_lps"),
        ("image,x_mm,y_mm,z_mm", 3, "whose mm"),
        ("image,x_ras,y_ras", 2, "in mm"),
        ("image,x,y,x_min,x_max,y_min,y_max", 2, "leave one"),
    ],
)
def test_columns_that_say_too_little_or_too_much(tmp_path: Path, header: str, dims: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        read(tmp_path, f"{header}\n" + ",".join("1" for _ in header.split(",")), dims)
