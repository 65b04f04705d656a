"""The randomness of an epoch is a function of the seed and the epoch's number."""

import random
from itertools import product

import numpy as np
import torch
from ignite.engine import Engine
from monai.data import Dataset
from monai.transforms import Compose, RandGaussianNoise

from medssl.training import ReseedEachEpoch


def draws(seed: int, epoch: int, rank: int = 0, before: int = 0) -> tuple[float, ...]:
    """One number of each generator that a training draws from, after any number of earlier draws."""
    dataset = Dataset([torch.zeros(1, 2)], transform=Compose([RandGaussianNoise(prob=1.0)]))
    for _ in range(before):
        random.random(), np.random.rand(), torch.rand(1), dataset[0]  # noqa: NPY002
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch = epoch
    ReseedEachEpoch(seed, dataset, rank)(engine)
    return random.random(), float(np.random.rand()), torch.rand(1).item(), float(dataset[0][0, 0])  # noqa: NPY002


def test_an_epoch_draws_the_same_whatever_came_before() -> None:
    assert draws(seed=1, epoch=3) == draws(seed=1, epoch=3, before=5)


def test_seeds_epochs_and_processes_share_no_draws() -> None:
    seen = [draws(seed, epoch, rank) for seed, epoch, rank in product((0, 1, 2), (1, 2, 3), (0, 1, 2))]
    for generator in range(4):
        assert len({values[generator] for values in seen}) == len(seen)


def test_large_seeds_and_long_runs_have_their_draws_too() -> None:
    assert draws(seed=2**31 - 1, epoch=100_000, rank=63) != draws(seed=2**31 - 1, epoch=100_001, rank=63)


def test_every_epoch_of_a_training_is_reseeded_when_it_begins() -> None:
    order: list[tuple[int, float]] = []

    def step(engine: Engine, batch: int) -> None:
        order.append((engine.state.epoch, torch.rand(1).item()))

    for _ in range(2):
        engine = Engine(step)
        ReseedEachEpoch(4).attach(engine)
        engine.run([0, 1], max_epochs=3)
    assert order[:6] == order[6:]
    assert len({value for _, value in order}) == 6
