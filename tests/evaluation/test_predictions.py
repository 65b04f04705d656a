"""The CSV of a split: what goes in comes out, and what is no such file is refused in a sentence."""

from pathlib import Path

import numpy as np
import pytest

from medssl.evaluation import Predictions, read_predictions, write_predictions

NAMES = ["Mass", "Mass label", "Nodule, large", "Épanchement"]


def some_predictions() -> Predictions:
    generator = np.random.default_rng(0)
    scores = generator.random((5, 4)).astype(np.float32).astype(np.float64)
    scores[0] = [0, 1, np.float32(1e-12), np.float32(1) - np.float32(6e-8)]
    labels = generator.choice([1, 0, np.nan], (5, 4))
    images, patients = ["a/1.png", "2, b.png", "NA", "7", "1e5.png"], ["007", "NA", "007", "1e5", "x"]
    return Predictions(images, patients, NAMES, scores, labels)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    predictions = some_predictions()
    write_predictions(tmp_path / "p.csv", predictions)
    header = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == (
        'image,patient,Mass,Mass label,"Nodule, large",Épanchement,'
        'Mass label,Mass label label,"Nodule, large label",Épanchement label'
    )
    read = read_predictions(tmp_path / "p.csv")
    assert (read.images, read.patients, read.names) == (predictions.images, predictions.patients, NAMES)
    np.testing.assert_array_equal(read.scores, predictions.scores)  # to the last bit of a float32
    np.testing.assert_array_equal(read.labels, predictions.labels)


def test_no_images_are_no_error(tmp_path: Path) -> None:
    nothing = Predictions([], [], ["Mass"], np.zeros((0, 1)), np.zeros((0, 1)))
    write_predictions(tmp_path / "p.csv", nothing)
    assert read_predictions(tmp_path / "p.csv").scores.shape == (0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no predictions: its columns must be image"),
        ("file,Mass\n1.png,0.5\n", "holds no predictions: its columns must be image"),
        ("image,patient\n1.png,p\n", "holds no predictions: its columns must be image"),
        ("image,Mass\n1.png,much\n", "column 'Mass': could not convert string to float: 'much'"),
        ("image,Mass\n1.png,1.5\n", "has a probability outside 0 to 1"),
        ("image,Mass\n1.png,\n", "has a probability outside 0 to 1"),
        ("image,patient,Mass,Mass label\n1.png,p,0.5,2\n", "labels must be 1, 0 or NaN"),
    ],
)
def test_what_is_no_predictions_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_predictions(tmp_path / "p.csv")
    assert "p.csv" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There are no predictions .*p\.csv: evaluate the run"):
        read_predictions(tmp_path / "p.csv")


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 images, 1 patients and 1 classes do not fit"):
        Predictions(["a", "b"], ["p"], ["Mass"], np.zeros((2, 1)), np.zeros((2, 1)))
