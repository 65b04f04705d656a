"""In which order an epoch of pre-training takes the images: at random, a patient's side by side where a task asks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import RandomSampler, Sampler

from medssl.pretext import PretextModel


class PatientOrder(Sampler[int]):
    """A random order in which images of a patient stand two by two, so that most mini-batches hold both of a pair.

    The numbers are those of torch's global generator.

    Args:
        patients: whose each image is.
    """

    def __init__(self, patients: Sequence[str]) -> None:
        self.patients = list(patients)

    def __len__(self) -> int:
        return len(self.patients)

    def __iter__(self) -> Iterator[int]:
        pairs: list[list[int]] = []
        waiting: dict[str, list[int]] = {}  # pairs that lack their second, by patient
        for image in torch.randperm(len(self)).tolist():
            pair = waiting.pop(self.patients[image], None)
            if pair is None:
                pairs.append(pair := [])
                waiting[self.patients[image]] = pair
            pair.append(image)
        for number in torch.randperm(len(pairs)).tolist():
            yield from pairs[number]


def image_order(model: PretextModel, items: Sequence[Mapping[str, Any]]) -> Sampler[int]:
    """The sampler of a loader that shuffles: a `PatientOrder` if a task wants two images of a patient (`positives`).

    Args:
        model: to train.
        items: of the loader's dataset, with `patient`.
    """
    if any(getattr(task, "positives", "") == "patient" for task in model.all_tasks.values()):
        return PatientOrder([item["patient"] for item in items])
    return RandomSampler(items)
