"""Labels are found by name, in the network's own order; what cannot be held against it is refused."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from medssl.data import Datalist
from medssl.errors import UserError

NAN = np.nan


def datalist(folder: Path, labels: list[str], rows: list[list[int | None]], exclusive: bool = False) -> Path:
    """A datalist whose test split has an image a row of labels."""
    items = []
    for number, label in enumerate(rows):
        (folder / f"{number}.png").touch()
        items.append({"image": f"{number}.png", "label": label, "patient": f"p{number}"})
    path = folder / "datalist.json"
    path.write_text(json.dumps({"labels": labels, "exclusive": exclusive, "test": items}))
    return path


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["A", "B"], [[1, 0], [NAN, 1]]),
        (["B", "A"], [[0, 1], [1, NAN]]),
        (["C", "B"], [[NAN, 0], [NAN, 1]]),  # what the datalist lacks is unknown, what it has more is left out
        (["B"], [[0], [1]]),
    ],
)
def test_labels_come_in_the_order_of_the_network(classes: list[str], expected: list, tmp_path: Path) -> None:
    path = datalist(tmp_path, ["A", "B"], [[1, 0], [None, 1]])
    items = Datalist.read(path).labelled("test", classes, exclusive=False)
    np.testing.assert_array_equal([item["label"] for item in items], expected)
    assert {item["label"].dtype for item in items} == {np.dtype(np.float32)}
    assert [item["patient"] for item in items] == ["p0", "p1"]


def test_whoever_has_one_exclusive_class_has_no_other(tmp_path: Path) -> None:
    rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [None, None, None]]
    path = datalist(tmp_path, ["A", "B", "C"], rows, exclusive=True)
    items = Datalist.read(path).labelled("test", ["D", "B", "A"], exclusive=True)
    # An image of C is of none that the network can give: nothing can be said of its answer.
    expected = [[0, 0, 1], [0, 1, 0], [NAN] * 3, [NAN] * 3]
    np.testing.assert_array_equal([item["label"] for item in items], expected)


def test_what_differs_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = datalist(tmp_path, ["A", "B"], [[1, 0]])
    with caplog.at_level(logging.WARNING):
        Datalist.read(path).labelled("test", ["B", "A"], exclusive=False)
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        Datalist.read(path).labelled("test", ["C", "B"], exclusive=False)
    assert len(caplog.messages) == 2
    assert all(str(path) in message for message in caplog.messages)
    assert " A:" in caplog.messages[0]
    assert " C:" in caplog.messages[1]


@pytest.mark.parametrize(
    ("split", "classes", "exclusive", "said"),
    [
        ("test", ["C", "D"], False, r"A, B, .* C, D"),
        ("test", ["A", "B"], True, r"\(A, B\) exclude each other, .*datalist\.json \(A, B\) may occur together"),
        ("validation", ["A"], False, "no image in validation"),
        ("unlabeled", ["A"], False, "no labelled split 'unlabeled'"),
        ("nonsense", ["A"], False, "no labelled split 'nonsense'"),
    ],
)
def test_what_cannot_be_held_against_the_network_is_refused(
    split: str, classes: list[str], exclusive: bool, said: str, tmp_path: Path
) -> None:
    path = datalist(tmp_path, ["A", "B"], [[1, 0]])
    with pytest.raises(UserError, match=said):
        Datalist.read(path).labelled(split, classes, exclusive)


def test_the_reverse_and_no_labels_at_all_are_refused_too(tmp_path: Path) -> None:
    path = datalist(tmp_path, ["A", "B"], [[1, 0]], exclusive=True)
    with pytest.raises(UserError, match=r"may occur together, .* exclude each other"):
        Datalist.read(path).labelled("test", ["A", "B"], exclusive=False)
    path = datalist(tmp_path, [], [])
    with pytest.raises(UserError, match="has no labels"):
        Datalist.read(path).labelled("test", ["A"], exclusive=False)
    path = datalist(tmp_path, ["A"], [])
    assert Datalist.read(path).labelled("test", ["A"], exclusive=False, may_be_empty=True) == []


def test_without_a_network_the_labels_are_the_datalists_own(tmp_path: Path) -> None:
    read = Datalist.read(datalist(tmp_path, ["A", "B"], [[1, 0], [0, 1]], exclusive=True))
    (tmp_path / "datalist.json").unlink()  # it is read once
    np.testing.assert_array_equal([item["label"] for item in read.labelled("test")], [[1, 0], [0, 1]])
    read.labelled("test")[0]["label"][:] = NAN  # and what a caller does to its items stays there
    np.testing.assert_array_equal([item["label"] for item in read.items("test")], [[1, 0], [0, 1]])
