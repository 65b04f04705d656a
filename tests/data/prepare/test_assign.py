import numpy as np
import pandas as pd
import pytest

from medssl.data.prepare.assign import assign_splits, forget_labels, keep_patients_apart, set_aside_misplaced
from medssl.data.prepare.rows import Rows


def table(*rows: tuple[str, str], values: np.ndarray) -> Rows:
    """Rows of patient and split, and their labels."""
    frame = pd.DataFrame(rows, columns=["patient", "split"])
    return Rows.of(frame.assign(row=range(2, len(frame) + 2), known_as=[[name] for name in frame["patient"]]), values)


def test_images_follow_their_patient_where_one_was_put() -> None:
    others = [(f"o{number}", "") for number in range(9)]
    values = np.ones((15, 1))
    values[5] = np.nan
    given = (("p", "test"), ("p", ""), ("p", "unlabeled"), ("q", "validation"), ("q", ""), ("r", ""), *others)
    rows = assign_splits(table(*given, values=values), (0.5, 0.25, 0.25), 0)
    assert rows["split"].tolist()[:6] == ["test", "test", "unlabeled", "validation", "validation", "unlabeled"]
    assert set(rows["split"][6:]) == {"training", "validation", "test"}
    assert keep_patients_apart(rows)["reason"].tolist() == ["", "", "patient in test", *[""] * 12]


def test_random_tables_tear_no_patient() -> None:
    draws = np.random.default_rng(0)
    for seed in range(30):
        words = ["", "", "", "training", "validation", "test", "unlabeled"]
        values = draws.choice([1, 0, np.nan, np.nan], (60, 2))
        before = table(*[(f"p{draws.integers(25)}", str(draws.choice(words))) for _ in range(60)], values=values)
        given = before["split"]
        rows = keep_patients_apart(assign_splits(set_aside_misplaced(before), (0.6, 0.2, 0.2), seed))
        used = rows.table[rows.used]
        splits = used.groupby("patient")["split"].agg(set)
        assert all(len(names) == 1 or names == {"training", "unlabeled"} for names in splits)
        known = np.isfinite(values[used.index]).any(axis=1)
        assert (used["split"][~known] == "unlabeled").all()
        kept = known & (given[used.index] != "")
        assert (used["split"][kept] == given[used.index][kept]).all()
        torn = rows.table[rows["reason"] == "patient in two splits"]
        known_splits = given[np.isfinite(values).any(axis=1) & given.isin(["training", "validation", "test"])]
        several = known_splits.groupby(rows["patient"]).nunique() > 1
        assert set(torn["patient"]) == set(several[several].index)


def test_forgotten_labels_become_unlabelled_and_shortfalls_are_said() -> None:
    whole = np.random.default_rng(0).integers(0, 2, (40, 2)).astype(float)
    rows = table(*[(f"p{number}", "training" if number < 30 else "test") for number in range(40)], values=whole)
    rows, notes = forget_labels(rows, ["A", "B"], 10, ["training", "validation"], 0)
    assert notes == []
    values = rows.values
    np.testing.assert_array_equal(values[30:], whole[30:])
    known = np.isfinite(values[:30])
    assert known.sum(axis=0).tolist() == [10, 10]
    np.testing.assert_array_equal(values[:30][known], whole[:30][known])
    assert (rows["split"][:30] == np.where(known.any(axis=1), "training", "unlabeled")).all()
    _, (note,) = forget_labels(rows, ["A", "B"], 50, ["test"], 0)
    assert note.startswith("test: Too few images")


def test_shares_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="fractions"):
        assign_splits(table(("p", ""), ("q", ""), values=np.ones((2, 1))), (1, 1, 1), 0)


def test_the_split_does_not_depend_on_the_patients_names() -> None:
    draws = np.random.default_rng(0)
    patients, values = draws.integers(20, size=60), draws.choice([1.0, 0.0, np.nan], (60, 2), p=[0.4, 0.4, 0.2])
    splits = []
    for salt in (1, 7):
        rows = table(*[(f"{patient * salt % 23:02}", "") for patient in patients], values=values)
        splits.append(assign_splits(rows, (0.6, 0.2, 0.2), 0)["split"].tolist())
    assert splits[0] == splits[1]
