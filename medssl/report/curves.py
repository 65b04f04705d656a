"""How good with how many labelled images: what `medssl curve` left in its folder, as a section of a report."""

from pathlib import Path

import pandas as pd

from medssl.errors import UserError
from medssl.evaluation.triples import number
from medssl.runs import CURVE, CURVE_PICTURE

from .page import Parts, Picture, Table, Text
from .split_figures import triple_text


def is_curve(folder: Path) -> bool:
    """Whether a folder is that of a study of learning curves."""
    return (folder / CURVE).is_file()


def curve_parts(folder: Path, picture: str) -> Parts:
    """The picture, and a table for each place that was tested at.

    Args:
        folder: of the study.
        picture: what to call the file of the picture.

    Raises:
        UserError: its table is damaged.
    """
    if (folder / CURVE_PICTURE).is_file():
        caption = "mAUROC over the number of labelled images; the tables beneath hold the same"
        yield Picture(picture, (folder / CURVE_PICTURE).read_bytes(), caption)
    try:
        points = pd.read_csv(folder / CURVE)
        yield from [_table(str(place), rows) for place, rows in points.groupby("place", sort=False)]
    except (ValueError, KeyError) as error:  # no table, or none of ours
        raise UserError(f"{folder / CURVE} is damaged: run `medssl curve` again; it keeps what is there.") from error
    yield Text(
        "In parentheses: 95 % t-intervals over the draws of the labelled images, for the mean. A pre-training is one "
        "run, so they do not tell how another one would do."
    )


def _table(place: str, rows: pd.DataFrame) -> Table:
    sizes = sorted(rows["images"].unique())
    lines = []
    for (arm, method), curve in rows.groupby(["arm", "method"], sort=False):
        triples = zip(curve["images"], *(map(number, curve[key]) for key in ("mAUROC", "low", "high")), strict=True)
        points = {size: triple_text(triple) for size, *triple in triples}
        lines.append([str(arm), str(method), *(points.get(size, "") for size in sizes)])
    header = ["Weights at the start", "Method", *(f"{size}\nimages" for size in sizes)]
    return Table(f"mAUROC {place}, mean over {rows['draws'].max()} draws", header, lines, words=2)
