"""In which order an epoch of pre-training takes the images: at random, those that a task pairs side by side."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import RandomSampler, Sampler

from medssl.pretext import PretextModel

from .steps import group_names

KEYS = ("patient", "study", "file")


class PairedOrder(Sampler[int]):
    """A random order in which images of a group stand two by two, so that most mini-batches hold both of a pair.

    The numbers are those of torch's global generator.

    Args:
        groups: of each image, such as its patient.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = list(groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[int]:
        pairs: list[list[int]] = []
        waiting: dict[str, list[int]] = {}  # pairs that lack their second, by group
        for image in torch.randperm(len(self)).tolist():
            pair = waiting.pop(self.groups[image], None)
            if pair is None:
                pairs.append(pair := [])
                waiting[self.groups[image]] = pair
            pair.append(image)
        for number in torch.randperm(len(pairs)).tolist():
            yield from pairs[number]


def image_order(model: PretextModel, items: Sequence[Mapping[str, Any]]) -> Sampler[int]:
    """The sampler of a loader that shuffles: a `PairedOrder` if a task wants two images of a study or of a patient.

    Two of a study are of a patient, too, so where both are wanted studies decide.

    Args:
        model: to train; its tasks say by `positives` what they want.
        items: of the loader's dataset, with `patient`, `study` and `file`.
    """
    wanted = {getattr(task, "positives", "") for task in model.all_tasks.values()}
    for kind in ("study", "patient"):
        if kind in wanted:
            return PairedOrder(group_names({key: [item[key] for item in items] for key in KEYS})[kind])
    return RandomSampler(items)
