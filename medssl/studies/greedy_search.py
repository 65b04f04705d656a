"""The greedy search for tasks that go together: Algorithm 1 of Zhu et al. 2020, apart from what trains and compares."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Pool = tuple[str, ...]
"""Names of tasks, in the order in which they were taken."""


@dataclass(frozen=True)
class Row:
    """What one candidate came to in one iteration.

    Attributes:
        iteration: from 1 on; in the first, each candidate alone is trained.
        pool: the tasks so far (the paper's A1); in the first iteration the candidate.
        task: the candidate to be added (A2); None in the first iteration.
        similarity: of the candidate's features and the pool's; None in the first iteration, or where it is undefined.
        average: mean of the scores of the pool and of the candidate alone; None in the first iteration.
        maximum: the larger of the two, likewise.
        score: of the aggregated network (in the first iteration of the candidate's); None where it was not trained.
        taken: whether the candidate went into the pool.
    """

    iteration: int
    pool: Pool
    task: str | None = None
    similarity: float | None = None
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
    compare: Callable[[Pool, Sequence[str]], Mapping[str, float | None]],
    full_table: bool = False,
) -> Iterator[list[Row]]:
    """Begin with the best task, then add the one least similar to the pool while the score rises.

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
        compare: gives the similarity of a pool's network and that of each of some candidates; None where it is
            undefined, which counts as most similar.
        full_table: evaluate every candidate with the pool, not only the least similar one, as the paper's table shows.
            The choice stays the same.

    Yields:
        The rows of each iteration, the least similar candidate first. The last row that is `taken` is the result.
    """
    alone = {pool[0]: score for pool, score in evaluate([(name,) for name in candidates]).items()}
    best = max(candidates, key=alone.__getitem__)
    yield [Row(1, (name,), score=alone[name], taken=name == best) for name in candidates]
    pool: Pool = (best,)
    score = alone[best]
    rest = [name for name in candidates if name != best]
    for iteration in range(2, len(candidates) + 1):
        similarities = compare(pool, rest)
        rest.sort(key=lambda name: (similarities[name] is None, similarities[name] or 0))
        scores = evaluate([(*pool, name) for name in (rest if full_table else rest[:1])])
        rises = scores[*pool, rest[0]] > score
        yield [
            Row(
                iteration,
                pool,
                name,
                similarities[name],
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
