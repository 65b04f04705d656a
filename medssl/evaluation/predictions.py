"""What a network said of every image of a split, beside what is known: in memory and as CSV.

The CSV has the columns ``image`` and ``patient``, one column a class with its probability, named as the class, and one
a class with its label (1, 0, or empty where unknown), named ``<class> label``. That of an inference on raw files, which
knows neither patients nor labels, ends with ``reason`` and ``note`` instead, see `medssl.evaluation.PredictionRows`.
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
        logits: ``[N, K]`` float64, what the network gave before it became probabilities; None where nobody kept it, as
            in a CSV.
        sources: where each image comes from, N of them; None where nobody said.

    Raises:
        UserError: when the sizes do not fit, a label is none of the three, or a score of a known label is not finite.
    """

    images: list[str]
    patients: list[str]
    names: list[str]
    scores: np.ndarray
    labels: np.ndarray
    logits: np.ndarray | None = None
    sources: list[str] | None = None

    def __post_init__(self) -> None:
        check_scores(self.scores, self.labels)
        if self.scores.shape != (len(self.images), len(self.names)) or len(self.patients) != len(self.images):
            raise UserError(
                f"{len(self.images)} images, {len(self.patients)} patients and {len(self.names)} classes do not fit "
                f"scores of the shape {list(self.scores.shape)}."
            )


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write a CSV that :func:`read_predictions` reads."""
    images = pd.DataFrame({"image": predictions.images, "patient": predictions.patients})
    # Nine digits name one float32: what was tied stays tied, and what was not stays apart.
    scores = pd.DataFrame(predictions.scores, columns=predictions.names).map("{:.9g}".format)
    labels = pd.DataFrame(predictions.labels, columns=[_label_column(name) for name in predictions.names])
    with whole_file(path) as temporary:
        table = pd.concat([images, scores, labels.astype("Int64")], axis=1)
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_predictions(path: str | Path) -> Predictions:
    """Read the CSV of a split, or of an inference on raw files, without the rows that only say a reason.

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
    of_files = header[-2:] == ["reason", "note"]
    first = 1 + (header[1:2] == ["patient"] and not of_files)
    names = header[first:-2] if of_files else header[first:]
    half = names[: len(names) // 2]
    labelled = bool(half) and names[len(half) :] == [_label_column(name) for name in half] and not of_files
    names = half if labelled else names
    if header[:1] != ["image"] or not names:
        raise UserError(f"{path} holds no predictions: its columns must be image, (patient,) and one for each class.")
    # By position, for pandas renames a column whose name it has met before (classes "Mass" and "Mass label").
    table = pd.read_csv(path, header=None, skiprows=1, dtype=str, keep_default_na=False, names=range(len(header)))
    if of_files:
        table = table[table[len(header) - 2] == ""]
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
