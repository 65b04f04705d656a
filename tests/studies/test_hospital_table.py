"""The table of the demo: who is within, who is outside, and by how much the pre-trained network leads."""

import numpy as np
import pytest

from medssl.studies.curve_figures import Cell, cell_of
from medssl.studies.hospital_table import WORDS, cell_text, hospital_table, leads, places
from medssl.studies.pretraining_gain import PRETRAINED, RANDINI


def items(sources: str) -> list[dict[str, object]]:
    """An image for each letter, of a patient of its own; every other one has the finding."""
    return [
        {"source": source, "patient": str(number), "label": np.array([number % 2], dtype=np.float32)}
        for number, source in enumerate(sources)
    ]


def cells(pretrained: list[float], randini: list[float], pixels: float) -> list[Cell]:
    """With mAUROCs at two places, the same at both."""
    made = []
    values = {RANDINI: randini, PRETRAINED: pretrained}
    for place, rows in places(items("aaaa"), items("aaaabbbb"), ["finding"]):
        for arm, method in WORDS:
            cell = cell_of(place, method, arm, 4, [np.zeros((len(rows), 1))])
            mean = np.array(values[arm] if method == "fine-tuned" else [pixels])
            made.append(Cell(place, method, arm, 4, mean, mean[:, None], cell.replicates))
    return made


def test_a_source_that_was_not_trained_on_is_a_place_of_its_own() -> None:
    test = items("bacabcbc")
    found = places(items("ab"), test, ["finding"])
    assert [(place.name, place.outside, rows.tolist()) for place, rows in found] == [
        ("within a + b", False, [0, 1, 3, 4, 6]),
        ("at c, never seen", True, [2, 5, 7]),
    ]
    ((place, rows),) = places(items(["", ""]), items(["", ""]), ["finding"])
    assert (place.name, place.outside, rows.tolist()) == ("within", False, [0, 1])


def test_the_lead_is_over_the_better_of_both_and_paired_by_seed() -> None:
    found = leads(cells([0.8, 0.7], [0.6, 0.65], 0.62))
    assert list(found) == ["within a", "at b, never seen"]
    assert found["at b, never seen"] == pytest.approx([0.18, 0.05])


def test_cells_say_mean_spread_and_interval() -> None:
    table = hospital_table(cells([0.8, 0.7], [0.6, 0.65], 0.62))
    assert table.header == ["", "within a", "at b, never seen"]
    assert [row[0] for row in table.rows] == list(WORDS.values())
    assert table.rows[0][1].startswith("0.620 [")
    assert table.rows[2][2].startswith("0.750 ± 0.071 [")
    (place, _), *_ = places(items("aa"), items("aaaaaaaa"), ["finding"])
    perfect = cell_of(place, "fine-tuned", RANDINI, 2, [np.array([[0.0], [1.0]] * 4)])
    assert cell_text(perfect) == "1.000 [1.000, 1.000]"
