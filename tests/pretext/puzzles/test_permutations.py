"""Permutations against itertools, and their choice against a search written out in loops."""

from itertools import combinations, permutations

import pytest
import torch

from medssl.pretext.puzzles import distant_permutations
from medssl.pretext.puzzles.tile_puzzle import every_permutation

Permutation = tuple[int, ...]


def as_tuples(rows: torch.Tensor) -> list[Permutation]:
    return [tuple(row) for row in rows.tolist()]


def hamming(first: Permutation, second: Permutation) -> int:
    return sum(a != b for a, b in zip(first, second, strict=True))


def smallest_distance(rows: list[Permutation]) -> int:
    return min(hamming(first, second) for first, second in combinations(rows, 2))


def choose_greedily(candidates: list[Permutation], first: Permutation, count: int) -> list[Permutation]:
    """The rule of the docstring: far from the nearest chosen one, then far on average, then early in the list."""
    chosen = [first]
    while len(chosen) < count:
        best, best_score = first, (-1, -1.0)
        for candidate in candidates:
            distances = [hamming(candidate, other) for other in chosen]
            score = (min(distances), sum(distances) / len(distances))
            if score > best_score:
                best, best_score = candidate, score
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("items", [1, 2, 3, 4, 5, 7])
def test_all_permutations_are_those_of_itertools(items: int) -> None:
    rows = as_tuples(every_permutation(items))
    expected = set(permutations(range(items)))
    assert len(rows) == len(expected)
    assert set(rows) == expected


@pytest.mark.parametrize(("items", "count"), [(2, 2), (4, 1), (4, 9), (4, 24), (5, 30)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_choice_equals_a_slow_search_for_the_farthest(items: int, count: int, seed: int) -> None:
    chosen = as_tuples(distant_permutations(items, count, seed))
    assert chosen == choose_greedily(as_tuples(every_permutation(items)), chosen[0], count)


@pytest.mark.parametrize(("items", "count"), [(4, 24), (8, 100), (9, 64), (27, 50)])
def test_every_row_is_a_permutation_and_none_comes_twice(items: int, count: int) -> None:
    chosen = distant_permutations(items, count)
    assert chosen.shape == (count, items)
    assert chosen.dtype == torch.int64
    assert torch.equal(chosen.sort(dim=1).values, torch.arange(items).expand(count, -1))
    assert len(set(as_tuples(chosen))) == count


@pytest.mark.parametrize(("items", "count", "at_least"), [(9, 64, 7), (27, 50, 24)])
def test_the_permutations_of_a_puzzle_lie_farther_apart_than_random_ones(items: int, count: int, at_least: int) -> None:
    chosen = smallest_distance(as_tuples(distant_permutations(items, count)))
    by_chance = [
        smallest_distance(as_tuples(torch.stack([torch.randperm(items) for _ in range(count)]))) for _ in range(5)
    ]
    assert chosen >= at_least
    assert chosen > max(by_chance)


@pytest.mark.parametrize(("items", "count"), [(5, 20), (10, 5)])
def test_the_choice_depends_on_its_seed_alone(items: int, count: int) -> None:
    distant_permutations.cache_clear()
    state = torch.get_rng_state()
    first = distant_permutations(items, count, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    distant_permutations.cache_clear()  # else the very same tensor would come back
    torch.manual_seed(99)
    again = distant_permutations(items, count, seed=7)
    assert again is not first
    assert torch.equal(again, first)
    assert len({tuple(as_tuples(distant_permutations(items, count, seed=seed))) for seed in range(4)}) == 4


@pytest.mark.parametrize("items", [1, 0])
def test_a_single_item_has_nothing_to_permute(items: int) -> None:
    with pytest.raises(ValueError, match=f"nothing to permute in {items} item"):
        distant_permutations(items, 1)


@pytest.mark.parametrize(("items", "count", "limit"), [(2, 3, 2), (4, 25, 24), (4, 0, 24), (5, -1, 120)])
def test_more_permutations_than_there_are_is_refused_with_the_limit(items: int, count: int, limit: int) -> None:
    with pytest.raises(ValueError, match=f"{items} items have {limit} permutations to choose from, {count} were"):
        distant_permutations(items, count)
