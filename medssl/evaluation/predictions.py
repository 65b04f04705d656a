"""What a network said of every image of a split, beside what is known: in memory and as CSV.

The CSV has the columns ``image`` and ``patient``, one column a class with its probability, named as the class, and one
a class with its label (1, 0, or empty where unknown), named ``<class> label``. Inference on raw files knows neither
patients nor labels, and leaves these columns out.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.errors import MissingFileError, UserError
from medssl.files import whole_file

from .partial_metrics import check_scores


@dataclass(frozen=True)
class Predictions:
    """Probabilities of N images for K classes.

    Attributes:
        images: names of the images, N of them.
        patients: whose image it is, N of them.
        names: of the K classes.
        scores: ``[N, K]`` float64, the probabilities.
        labels: ``[N, K]`` float64 of 1, 0, NaN (unknown).

    Raises:
        UserError: when the sizes do not fit, a label is none of the three, or a score of a known label is not finite.
    """

    images: list[str]
    patients: list[str]
    names: list[str]
    scores: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        check_scores(self.scores, self.labels)
        if self.scores.shape != (len(self.images), len(self.names)) or len(self.patients) != len(self.images):
            raise UserError(
                f"{len(self.images)} images, {len(self.patients)} patients and {len(self.names)} classes do not fit "
                f"scores of the shape {list(self.scores.shape)}."
            )


def write_predictions(path: str | Path, predictions: Predictions, only_scores: bool = False) -> None:
    """Write a CSV that :func:`read_predictions` reads.

    Args:
        path: of the CSV.
        predictions: to write.
        only_scores: leave out patients and labels.
    """
    # Nine digits name one float32: what was tied stays tied, and what was not stays apart.
    scores = pd.DataFrame(predictions.scores, columns=predictions.names).map("{:.9g}".format)
    columns = [pd.DataFrame({"image": predictions.images}), scores]
    if not only_scores:
        columns.insert(1, pd.DataFrame({"patient": predictions.patients}))
        labels = pd.DataFrame(predictions.labels, columns=[_label_column(name) for name in predictions.names])
        columns.append(labels.astype("Int64"))
    with whole_file(path) as temporary:
        pd.concat(columns, axis=1).to_csv(temporary, index=False, lineterminator="\n")


def read_predictions(path: str | Path) -> Predictions:
    """Read the CSV of a split.

    Where it names no patients, each image counts as a patient's only one; where it has no labels, all are unknown.
    Probabilities are the float32 that a network gives, to the last bit, so a threshold chosen on them hits the same
    images again.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file is none of ours, or holds something other than probabilities and labels.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There are no predictions {path}: evaluate the run to get them.")
    with path.open(newline="", encoding="utf-8") as stream:
        header = next(csv.reader(stream), [])
    first = 1 + (header[1:2] == ["patient"])
    names = header[first:]
    half = names[: len(names) // 2]
    labelled = bool(half) and names[len(half) :] == [_label_column(name) for name in half]
    names = half if labelled else names
    if header[:1] != ["image"] or not names:
        raise UserError(f"{path} holds no predictions: its columns must be image, (patient,) and one for each class.")
    # By position, for pandas renames a column whose name it has met before (classes "Mass" and "Mass label").
    table = pd.read_csv(path, header=None, skiprows=1, dtype=str, keep_default_na=False, names=range(len(header)))
    images = table[0].tolist()
    scores = _numbers(path, table, header, range(first, first + len(names))).astype(np.float32).astype(np.float64)
    if not ((scores >= -1e-6) & (scores <= 1 + 1e-6)).all():  # a softmax may round to just above 1
        raise UserError(f"{path} has a probability outside 0 to 1.")
    labels = np.full_like(scores, np.nan)
    if labelled:
        labels = _numbers(path, table, header, range(first + len(names), len(header)))
    try:
        return Predictions(images, table[1].tolist() if first == 2 else images, names, scores, labels)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _label_column(name: str) -> str:
    return f"{name} label"


def _numbers(path: Path, table: pd.DataFrame, header: list[str], columns: range) -> np.ndarray:
    values = np.empty((len(table), len(columns)))
    for place, column in enumerate(columns):
        try:
            values[:, place] = table[column].replace("", "nan").astype(float)
        except ValueError as error:
            raise UserError(f"{path}, column {header[column]!r}: {error}.") from error
    return values
