"""The greedy search, against the tables of the paper it is from."""

from collections.abc import Mapping, Sequence

import pytest

from medssl.studies.greedy_search import Comparison, Guide, Pool, Row, greedy_search

# Zhu et al. 2020, Table 2: scores alone; then for each pool the candidates with similarity, average, maximum, score.
ALONE = {"SRC": 68.36, "Jigsaw": 68.29, "Inpaint": 64.49, "SimCLR": 73.05, "Rot": 70.07, "MCPC": 66.94}
STL10: dict[Pool, dict[str, tuple[float, float, float, float]]] = {
    ("SimCLR",): {
        "Rot": (0.0866, 71.56, 73.05, 78.21),
        "SRC": (0.1085, 70.71, 73.05, 77.25),
        "Inpaint": (0.2373, 68.77, 73.05, 74.08),
        "MCPC": (0.2388, 70.00, 73.05, 73.29),
        "Jigsaw": (0.2409, 70.67, 73.05, 74.69),
    },
    ("SimCLR", "Rot"): {
        "SRC": (0.0911, 73.29, 78.21, 79.43),
        "Inpaint": (0.1973, 71.35, 78.21, 78.16),
        "MCPC": (0.1985, 72.58, 78.21, 77.97),
        "Jigsaw": (0.1986, 73.25, 78.21, 77.89),
    },
    ("SimCLR", "Rot", "SRC"): {
        "Inpaint": (0.2251, 71.96, 79.43, 76.01),
        "MCPC": (0.2283, 73.19, 79.43, 75.78),
        "Jigsaw": (0.2284, 73.86, 79.43, 76.25),
    },
}


class Paper:
    """Looks up what would be trained, and remembers it."""

    def __init__(self) -> None:
        self.trained: list[Pool] = []

    def evaluate(self, pools: Sequence[Pool]) -> Mapping[Pool, float]:
        self.trained += pools
        return {pool: ALONE[pool[0]] if len(pool) == 1 else STL10[pool[:-1]][pool[-1]][3] for pool in pools}

    def compare(self, pool: Pool, rest: Sequence[str]) -> Mapping[str, Comparison]:
        return {name: Comparison(STL10[pool][name][0], STL10[pool][name][0]) for name in rest}  # a gain of no use


@pytest.mark.parametrize("full_table", [False, True])
def test_table_2_of_the_paper_comes_out(full_table: bool) -> None:
    paper = Paper()
    iterations = list(greedy_search(list(ALONE), paper.evaluate, paper.compare, full_table, guide="lcka"))
    assert [(row.pool, row.score) for row in iterations[0]] == [((name,), score) for name, score in ALONE.items()]
    assert [row.tasks for row in iterations[0] if row.taken] == [("SimCLR",)]
    for rows, (pool, printed) in zip(iterations[1:], STL10.items(), strict=True):
        assert [row.task for row in rows] == list(printed)  # sorted by similarity, as printed
        for place, row in enumerate(rows):
            similarity, average, maximum, score = printed[row.task or ""]
            assert (row.pool, row.similarity, row.maximum) == (pool, similarity, maximum)
            assert row.average == pytest.approx(average, abs=0.011)  # the paper's has two decimals
            if full_table or place == 0:
                assert row.score == score
                assert row.over_average == pytest.approx(score - average, abs=0.011)
                assert row.over_maximum == pytest.approx(score - maximum)
            else:
                assert row.score is row.over_average is row.over_maximum is None
    taken = [row.tasks for rows in iterations for row in rows if row.taken]
    assert taken == [("SimCLR",), ("SimCLR", "Rot"), ("SimCLR", "Rot", "SRC")]
    assert len(paper.trained) == len(set(paper.trained)) == (18 if full_table else 9)


def search(
    alone: Mapping[str, float],
    together: Mapping[Pool, float],
    similar: Mapping[str, float | None],
    gains: Mapping[str, float | None] | None = None,
    guide: Guide = "gain",
) -> list[Row]:
    iterations = greedy_search(
        list(alone),
        lambda pools: {pool: alone[pool[0]] if len(pool) == 1 else together[pool] for pool in pools},
        lambda pool, rest: {name: Comparison(similar[name], (gains or {}).get(name)) for name in rest},
        guide=guide,
    )
    return [row for rows in iterations for row in rows]


def test_a_tie_ends_the_search() -> None:
    rows = search({"a": 0.6, "b": 0.5, "c": 0.4}, {("a", "b"): 0.6}, {"b": 0.1, "c": 0.2})
    assert [row.tasks for row in rows if row.taken] == [("a",)]
    assert max(row.iteration for row in rows) == 2


def test_it_ends_when_every_task_is_taken_and_features_that_do_not_vary_come_last() -> None:
    together = {("a", "c"): 0.7, ("a", "c", "b"): 0.8}
    rows = search({"a": 0.6, "b": 0.6, "c": 0.4}, together, {"b": None, "c": 0.9})
    assert [row.tasks for row in rows if row.taken] == [("a",), ("a", "c"), ("a", "c", "b")]


def test_the_guide_says_what_is_tried_first() -> None:
    alone = {"a": 0.6, "b": 0.5, "c": 0.4, "d": 0.3}
    together = {("a", name): 0.5 for name in "bcd"}
    similar, gains = {"b": 0.1, "c": 0.9, "d": 0.5}, {"b": -0.01, "c": 0.02, "d": None}
    for guide, order in (("gain", ["c", "b", "d"]), ("lcka", ["b", "d", "c"])):
        rows = search(alone, together, similar, gains, guide=guide)[4:]  # type: ignore[arg-type]
        assert [row.task for row in rows] == order
        assert [row.score is not None for row in rows] == [True, False, False]
        assert {row.task: (row.similarity, row.gain) for row in rows} == {
            name: (similar[name], gains[name]) for name in "bcd"
        }


def test_without_any_gain_the_least_similar_is_tried() -> None:
    rows = search({"a": 0.6, "b": 0.5, "c": 0.4}, {("a", "c"): 0.5}, {"b": 0.4, "c": 0.2})
    assert [row.task for row in rows[3:]] == ["c", "b"]
