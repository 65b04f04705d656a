"""The largest box that fits: found by few trials, no larger than the volumes, said, and refused without a GPU."""

import logging
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.errors import UserError
from medssl.networks import build_classifier, build_segmenter
from medssl.training import TrialStep, largest_box, mean_square
from medssl.training.largest_box import choose_largest
from medssl.transforms import write_stored


def within(voxels: int, tried: list[tuple[int, ...]]) -> Callable[[tuple[int, ...]], bool]:
    def fits(size: tuple[int, ...]) -> bool:
        tried.append(size)
        return prod(size) <= voxels

    return fits


@pytest.mark.parametrize("side", [16, 40, 64, 100, 333])
@pytest.mark.parametrize("proposed", [(64, 64, 64), (96, 96, 32), (128, 128, 30)])
@pytest.mark.parametrize("largest", [(512, 512, 400), (160, 128, 30)])
def test_it_is_the_largest_of_its_proportions(side: int, proposed: tuple[int, ...], largest: tuple[int, ...]) -> None:
    tried: list[tuple[int, ...]] = []
    found = largest_box(within(side**3, tried), proposed, largest)
    assert len(tried) == len(set(tried)) <= 9
    # The slow way: every size of the proportions.
    sizes = [
        tuple(
            min(most, 16 * max(1, round(part * length / 8 / 16)))
            for length, most in zip(proposed, largest, strict=True)
        )
        for part in range(1, 100)
    ]
    assert found == max((size for size in sizes if prod(size) <= side**3), key=prod)


def test_a_gpu_on_which_nothing_fits_is_said_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"No box fits .* 16 × 16 × 16 voxels: give a smaller --batch_size"):
        largest_box(lambda size: False, (96, 96, 96), (512, 512, 512))


def test_no_box_is_larger_than_half_of_the_volumes_and_the_found_one_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = []
    for number, shape in enumerate([(20, 20, 20), (40, 30, 20), (90, 90, 20)]):
        items.append({"image": str(tmp_path / f"{number}.b2nd")})
        write_stored(items[-1]["image"], np.zeros(shape, np.int16))
    with caplog.at_level(logging.INFO, logger="medssl"):
        assert choose_largest(lambda size: True, items, (16, 16, 16)) == (40, 30, 20)
    assert "40 × 30 × 20 voxels, instead of 16 × 16 × 16" in caplog.text
    assert "--image_size 40,30,20" in caplog.text


def test_a_trial_is_a_step_and_needs_a_gpu() -> None:
    for build in (build_classifier, partial(build_segmenter, deep_supervision=2)):
        networks: list[torch.nn.Module] = []
        seen: list[tuple[int, ...]] = []

        def made(size: tuple[int, ...], build=build, networks=networks, seen=seen) -> torch.nn.Module:
            networks.append(build("resnet10_quarter", len(size), 1, 2))
            networks[-1].register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
            return networks[-1]

        trial = TrialStep(made, mean_square, 3, "cpu", amp=True)
        trial.step((32, 24, 16))
        assert seen == [(3, 1, 32, 24, 16)]
        assert all(weight.grad is not None for weight in networks[0].parameters())
        with pytest.raises(UserError, match="memory of a GPU, and this run is on cpu: name its sides"):
            trial((32, 24, 16))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu_the_found_box_fits_and_the_memory_is_given_back() -> None:
    device = torch.device("cuda")
    before = torch.cuda.memory_allocated(device)
    limit = 2 * 2**30 / torch.cuda.mem_get_info(device)[1]
    torch.cuda.set_per_process_memory_fraction(limit, device)
    try:
        trial = TrialStep(lambda size: build_classifier("resnet10_quarter", 3, 1, 2), mean_square, 4, device)
        size = largest_box(trial, (64, 64, 64), (1024, 1024, 1024))
        assert 64**3 < prod(size) < 1024**3
        trial.step(size)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert torch.cuda.memory_allocated(device) == before
