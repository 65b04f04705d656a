"""The greedy search for tasks that go together: Algorithm 1 of Zhu et al. 2020, apart from what trains and compares."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Guide = Literal["gain", "lcka"]
"""What the search asks of a candidate: to add the most to the pool's features, or to be least similar to them."""
GUIDES: tuple[Guide, ...] = get_args(Guide)

Pool = tuple[str, ...]
"""Names of tasks, in the order in which they were taken."""


class Comparison(NamedTuple):
    """A candidate's features beside those of the pool.

    Attributes:
        similarity: linear CKA of both; None where it is undefined.
        gain: of a probe on both over one on the pool's, in AUROC; None where too few patients are labelled.
    """

    similarity: float | None
    gain: float | None = None


@dataclass(frozen=True)
class Row:
    """What one candidate came to in one iteration.

    Attributes:
        iteration: from 1 on; in the first, each candidate alone is trained.
        pool: the tasks so far (the paper's A1); in the first iteration the candidate.
        task: the candidate to be added (A2); None in the first iteration.
        similarity: of the candidate's features and the pool's; None in the first iteration, or where it is undefined.
        gain: what the candidate's features add to the pool's, likewise (see `Comparison`).
        average: mean of the scores of the pool and of the candidate alone; None in the first iteration.
        maximum: the larger of the two, likewise.
        score: of the aggregated network (in the first iteration of the candidate's); None where it was not trained.
        taken: whether the candidate went into the pool.
    """

    iteration: int
    pool: Pool
    task: str | None = None
    similarity: float | None = None
    gain: float | None = None
    average: float | None = None
    maximum: float | None = None
    score: float | None = None
    taken: bool = False

    @property
    def tasks(self) -> Pool:
        """What was trained together."""
        return self.pool if self.task is None else (*self.pool, self.task)

    @property
    def over_average(self) -> float | None:
        """Score minus average."""
        return None if self.score is None or self.average is None else self.score - self.average

    @property
    def over_maximum(self) -> float | None:
        """Score minus maximum."""
        return None if self.score is None or self.maximum is None else self.score - self.maximum


def greedy_search(
    candidates: Sequence[str],
    evaluate: Callable[[Sequence[Pool]], Mapping[Pool, float]],
    compare: Callable[[Pool, Sequence[str]], Mapping[str, Comparison]],
    full_table: bool = False,
    guide: Guide = "gain",
) -> Iterator[list[Row]]:
    """Begin with the best task, then add the one that the guide ranks first while the score rises.

    The paper's guide is `lcka`: the candidate whose features are least similar to the pool's. Random features are
    dissimilar, too: on real radiographs that choice gained 0.011 on test and its order had a rank correlation of 0.21
    with the true gains, where the `gain` of a probe on both features gained 0.026 and had 0.62 (the best possible
    choice 0.029). So `gain` is the guide here unless told otherwise.

    The paper is ambiguous in two points. *When is the pool evaluated?* As printed, line 19 trains on the pool before
    line 22 adds a task, and line 23 evaluates that network, so that the first round would only repeat the best single
    task, and the last task to join would never have been tried. Table 2 shows networks that were trained with the new
    task, and leaves out the task that did not help; so here the enlarged pool is trained and scored, and the task stays
    in it only if the score rises. (On a tie, where line 24 would go on, it stays out: fewer tasks are cheaper.)
    *Similar to what?* S(f_i, f_A) in line 21 compares the candidate's own network with that of the pool trained
    together, not with its single tasks; the network of a pool of one task is that task's.

    Args:
        candidates: the tasks; of equally good ones the first wins.
        evaluate: gives the score of each pool, training what has not been trained; higher is better.
        compare: compares a pool's network and that of each of some candidates; what is undefined counts least.
        full_table: evaluate every candidate with the pool, not only the guide's choice, as the paper's table shows. The
            choice stays the same.
        guide: of the order of the candidates; where no gain of theirs is known, the similarity is.

    Yields:
        The rows of each iteration, the guide's choice first. The last row that is `taken` is the result.
    """
    alone = {pool[0]: score for pool, score in evaluate([(name,) for name in candidates]).items()}
    best = max(candidates, key=alone.__getitem__)
    yield [Row(1, (name,), score=alone[name], taken=name == best) for name in candidates]
    pool: Pool = (best,)
    score = alone[best]
    rest = [name for name in candidates if name != best]
    for iteration in range(2, len(candidates) + 1):
        compared = compare(pool, rest)
        rest.sort(key=lambda name: _rank(compared[name], guide))
        scores = evaluate([(*pool, name) for name in (rest if full_table else rest[:1])])
        rises = scores[*pool, rest[0]] > score
        yield [
            Row(
                iteration,
                pool,
                name,
                *compared[name],
                average=(score + alone[name]) / 2,
                maximum=max(score, alone[name]),
                score=scores.get((*pool, name)),
                taken=rises and name == rest[0],
            )
            for name in rest
        ]
        if not rises:
            return
        pool = (*pool, rest.pop(0))
        score = scores[pool]


def _rank(compared: Comparison, guide: Guide) -> tuple[float, float]:
    """The smaller, the better. Of equal gains, as of those that are unknown, the least similar candidate is better."""
    similarity = math.inf if compared.similarity is None else compared.similarity
    gain = -math.inf if compared.gain is None else compared.gain
    return (-gain if guide == "gain" else 0, similarity)
