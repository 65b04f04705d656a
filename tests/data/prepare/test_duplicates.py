import networkx
import numpy as np
import pandas as pd

from medssl.data.prepare.duplicates import join_copies
from medssl.data.prepare.rows import Rows

NAN = np.nan


def joined(values: np.ndarray, *rows: tuple[str, str, str, str]) -> Rows:
    """Rows of content, patient, split and reason, after `join_copies`, which changes nothing in place."""
    frame = pd.DataFrame(rows, columns=["content", "patient", "split", "reason"])
    before = Rows.of(frame.assign(file=[f"{number}.png" for number in range(len(frame))]), values.copy())
    after = join_copies(before)
    pd.testing.assert_frame_equal(before.table[frame.columns], frame, check_dtype=False)
    np.testing.assert_array_equal(before.values, values)
    return after


def test_the_first_copy_takes_up_what_all_say() -> None:
    values = np.array([[1, NAN, NAN], [0, 0, 0], [NAN, 0, NAN], [1, NAN, NAN]])
    given = (("c", "p", "", ""), ("d", "q", "", ""), ("c", "p", "test", ""), ("c", "p", "unlabeled", ""))
    rows = joined(values, *given)
    assert rows["reason"].tolist() == ["", "", "same image twice", "same image twice"]
    assert rows["split"].tolist()[:2] == ["test", ""]
    np.testing.assert_equal(rows.values[:2], [[1, 0, NAN], [0, 0, 0]])


def test_copies_that_contradict_each_other_are_all_set_aside() -> None:
    given = [*[("c", "p", "", "")] * 2, *[("d", "p", split, "") for split in ("training", "test")]]
    rows = joined(np.array([[1.0], [0], [1], [1]]), *given)
    assert set(rows["reason"]) == {"same image, contradiction"}
    assert rows["detail"].str.endswith(("other labels", "other splits")).all()


def test_what_is_set_aside_or_has_no_image_is_nobodys_copy() -> None:
    given = (("c", "p", "", "no patient"), ("c", "q", "", ""), ("", "r", "", ""), ("", "s", "", ""))
    rows = joined(np.ones((4, 1)), *given)
    assert rows["patient"].tolist() == ["p", "q", "r", "s"]
    assert rows["reason"].tolist() == ["no patient", "", "", ""]


def test_patients_who_share_an_image_are_one_by_any_chain() -> None:
    draws = np.random.default_rng(0)
    for _ in range(20):
        patients, contents = draws.integers(0, 12, 15), draws.integers(0, 20, 15)
        given = [(f"c{c}", f"p{p}", "", "") for p, c in zip(patients, contents, strict=True)]
        graph = networkx.Graph([(patient, content) for content, patient, *_ in given])
        rows = joined(np.full((15, 1), NAN), *given)
        group = {node: number for number, nodes in enumerate(networkx.connected_components(graph)) for node in nodes}
        expected = [group[content] for content in rows["content"]]
        assert pd.Series(expected).groupby(rows["patient"]).nunique().eq(1).all()
        assert rows["patient"].groupby(expected).nunique().eq(1).all()
