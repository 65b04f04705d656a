"""Permutations that are easily told apart: the classes of jigsaw puzzles (Noroozi & Favaro 2016, Algorithm 1)."""

from functools import lru_cache

import torch
from torch import Tensor

from medssl.errors import UserError

ENUMERATED_ITEMS = 9
"""Up to 9! = 362 880 permutations are all looked at; of more items a sample stands for them."""
CANDIDATES = 100_000


def every_permutation(items: int) -> Tensor:
    """All permutations of ``items`` things, ``[items!, items]`` (uint8)."""
    permutations = torch.zeros(1, 1, dtype=torch.uint8)
    for newest in range(1, items):
        new_column = permutations.new_full((len(permutations), 1), newest)
        inserted = [
            torch.cat([permutations[:, :place], new_column, permutations[:, place:]], dim=1)
            for place in range(newest + 1)
        ]
        permutations = torch.cat(inserted)
    return permutations


@lru_cache(maxsize=8)
def distant_permutations(items: int, count: int, seed: int = 0) -> Tensor:
    """Permutations of large Hamming distance from one another, chosen greedily.

    The first is drawn at random; each further one is the candidate farthest from its nearest chosen one and, among
    those, the farthest on average. (The paper's Algorithm 1 looks at the average alone, which lets two permutations
    come close.) Up to nine items all permutations are candidates, of more items 100 000 random ones.

    Args:
        items: things to permute, at least 2.
        count: permutations to choose.
        seed: of the random draws, which leave torch's global generator alone.

    Returns:
        ``[count, items]`` (int64), each row a permutation of 0 … items − 1, no two alike. Do not change it in place.

    Raises:
        UserError: when there are not as many permutations.
    """
    if items < 2:
        raise UserError(f"There is nothing to permute in {items} item.")
    generator = torch.Generator().manual_seed(seed)
    if items <= ENUMERATED_ITEMS:
        candidates = every_permutation(items)
    else:
        candidates = torch.rand(CANDIDATES, items, generator=generator).argsort(dim=1).to(torch.int16).unique(dim=0)
    if not 1 <= count <= len(candidates):
        raise UserError(f"{items} items have {len(candidates)} permutations to choose from, {count} were asked for.")
    columns = candidates.T.contiguous()
    chosen = [int(torch.randint(len(candidates), (), generator=generator))]
    nearest = torch.full((len(candidates),), items + 1, dtype=torch.int32)
    total = torch.zeros(len(candidates), dtype=torch.int32)
    while len(chosen) < count:
        distance = torch.zeros_like(total)
        for column in columns:
            distance += column != column[chosen[-1]]
        nearest = torch.minimum(nearest, distance)
        total += distance
        # Larger than any total: the distance to the nearest decides first.
        chosen.append(int((nearest * (items * count + 1) + total).argmax()))
    return candidates[torch.tensor(chosen)].long()
