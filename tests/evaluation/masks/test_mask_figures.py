"""The figures of masks against means over the rows of every replicate."""

import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from medssl.errors import UserError
from medssl.evaluation import MaskRow, segmentation_figures
from medssl.evaluation.bootstrap import bootstrap

NAMES = ["liver", "spleen", "nodule", "never"]


def random_rows(images: int = 40) -> list[MaskRow]:
    """Two hospitals: one outlined liver and nodules, the other spleen and sometimes liver."""
    generator, rows = np.random.default_rng(1), []
    for image in range(images):
        source = ("north", "south")[image % 2]
        outlined = ["liver", "nodule"] if source == "north" else ["liver", "spleen"][image % 4 == 1 :]
        for name in outlined:
            truth, found = generator.integers(0, 3, 2)
            dice, surface_dice, hd95 = (generator.random() if truth and found else math.nan for _ in range(3))
            if bool(truth) != bool(found):
                dice = surface_dice = 0.0
            counts = (math.nan,) * 3
            if name == "nodule":
                counts = (float(truth), float(generator.integers(0, truth + 1)), float(generator.integers(3)))
            where = f"{image}.nii.gz", f"p{image // 3}", source, name
            rows.append(MaskRow(*where, dice, surface_dice, hd95, float(truth), float(found), *counts))
    return rows


def mean_of(measure: str) -> Callable[[Sequence[MaskRow]], float]:
    def mean(rows: Sequence[MaskRow]) -> float:
        values = [getattr(row, measure) for row in rows]
        values = [value for value in values if not math.isnan(value)]
        return sum(values) / len(values) if values else math.nan

    return mean


def volume_error(rows: Sequence[MaskRow]) -> float:
    return sum(row.predicted_volume - row.volume for row in rows) / len(rows) if rows else math.nan


def absolute_volume_error(rows: Sequence[MaskRow]) -> float:
    return sum(abs(row.predicted_volume - row.volume) for row in rows) / len(rows) if rows else math.nan


def lesion_sensitivity(rows: Sequence[MaskRow]) -> float:
    total = sum(row.lesions for row in rows)
    return sum(row.found_lesions for row in rows) / total if total > 0 else math.nan


FIGURES = {
    "dice": mean_of("dice"),
    "surface_dice": mean_of("surface_dice"),
    "hd95": mean_of("hd95"),
    "volume_error": volume_error,
    "absolute_volume_error": absolute_volume_error,
    "lesion_sensitivity": lesion_sensitivity,
    "false_lesions_per_image": mean_of("false_lesions"),
}


def test_every_figure_is_the_mean_over_the_images_where_it_is_defined_in_every_replicate() -> None:
    rows = random_rows()
    told = segmentation_figures(rows, NAMES, resamples=50)
    images = list(dict.fromkeys(row.image for row in rows))
    patients = [next(row.patient for row in rows if row.image == image) for image in images]
    replicates = []
    for counts in bootstrap(lambda weights: {"of": weights.astype(int)}, patients, 50)["of"]:
        drawn = dict(zip(images, counts, strict=True))
        replicates.append([row for row in rows for _ in range(drawn[row.image])])
    means = []
    for name in NAMES:
        for figure, measure in FIGURES.items():
            of_all, *values = (measure([row for row in each if row.name == name]) for each in (rows, *replicates))
            if math.isnan(of_all):
                assert told["classes"][name][figure] is None
                continue
            expected = [of_all, *np.nanquantile(values, [0.025, 0.975])]
            assert told["classes"][name][figure] == pytest.approx(expected), (name, figure)
            if figure == "dice":
                means.append([of_all, *values])
    assert told["classes"]["liver"]["lesion_sensitivity"] is None
    over_classes = np.mean(means, axis=0)
    assert told["mDice"] == pytest.approx(over_classes[0])
    assert told["mDice_interval"] == pytest.approx(np.quantile(over_classes[1:], [0.025, 0.975]).tolist())
    assert told["per_class"]["liver"] == told["classes"]["liver"]["dice"][0]
    assert (told["images"], told["patients"], told["undefined"]) == (len(images), len(set(patients)), ["never"])


def test_counts_say_what_no_mean_can_and_each_source_stands_by_itself() -> None:
    rows = random_rows()
    told = segmentation_figures(rows, NAMES, resamples=0)
    for name in NAMES:
        own = [row for row in rows if row.name == name]
        known = told["known"][name]
        assert known["outlined"] == len(own)
        without = known["outlined"] - known["present"] - known["invented"]
        assert without == sum(math.isnan(row.dice) for row in own)
        assert known["outlined"] - without - known["missed"] - known["invented"] == sum(
            row.hd95 == row.hd95 for row in own
        )
    for source, figures in told["sources"].items():
        alone = segmentation_figures([row for row in rows if row.source == source], NAMES, resamples=0)
        # A sum in another order has another last digit.
        assert figures["images"] == alone["images"]
        assert figures["mDice"] == pytest.approx(alone["mDice"])
        assert figures["per_class"] == pytest.approx(alone["per_class"])
        assert "sources" not in alone
    assert told["sources"]["north"]["per_class"]["spleen"] is None
    assert told["mDice_interval"] is None
    json.dumps(told, allow_nan=False)


def test_nothing_to_judge_gives_no_figures_and_no_image_is_judged_twice() -> None:
    told = segmentation_figures([], NAMES, resamples=10)
    assert (told["images"], told["mDice"], told["undefined"]) == (0, None, NAMES)
    json.dumps(told, allow_nan=False)
    rows = random_rows(4)
    with pytest.raises(UserError, match=rows[1].image):
        segmentation_figures([*rows, rows[1]], NAMES)
