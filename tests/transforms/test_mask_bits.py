"""Mask bits: packed without loss, and read as 1, 0 and unknown as a loop over voxels reads them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.errors import UserError
from medssl.transforms.mask_bits import bits_dtype, known_targets, pack_bits

NAN = math.nan
TREES = [{0: [1, 2]}, {3: [0]}, {0: [1, 2], 3: [4, 5]}]
CONTAINS = [{}, *TREES, {5: [3, 4], 4: [1, 2]}, {0: [1, 2], 3: [2, 4]}]  # parts of parts, a part of two wholes


def slow_targets(there: list[bool], outlined: list[bool], parts: dict[int, list[int]]) -> list[float]:
    """The rules, voxel by voxel, each said by itself; from the innermost whole outwards, and back."""
    state = [float(inside) if known else NAN for inside, known in zip(there, outlined, strict=True)]
    order = sorted(parts, key=lambda whole: sum(part in parts for part in parts[whole]))
    for whole in order:
        own = [state[part] for part in parts[whole]]
        if 1 in own:
            state[whole] = 1
        elif math.isnan(state[whole]) and own.count(0) == len(own):
            state[whole] = 0
    for whole in reversed(order):
        for part in parts[whole]:
            if state[whole] == 0:
                state[part] = 0
    return state


@given(st.sampled_from(CONTAINS), st.sampled_from([(3, 4), (2, 3, 2)]), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_targets_are_the_rules_voxel_by_voxel_and_wholes_never_contradict_parts(
    parts: dict[int, list[int]], size: tuple[int, ...], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    masks = generator.random((3, 6, *size)) < 0.4
    outlined = generator.random((3, 6)) < 0.6
    bits = torch.from_numpy(np.stack([pack_bits(mask) for mask in masks]))[:, None]
    found = known_targets(bits, torch.from_numpy(outlined).float(), parts).numpy()
    assert found.shape == masks.shape
    for image, one in enumerate(found):
        for voxel in np.ndindex(size):
            there = [bool(masks[image, number][voxel]) for number in range(6)]
            expected = slow_targets(there, outlined[image].tolist(), parts)
            np.testing.assert_array_equal([plane[voxel] for plane in one], expected)
        for whole, own in parts.items():
            assert (one[whole][(one[own] == 1).any(axis=0)] == 1).all()
            assert (one[own][:, one[whole] == 0] == 0).all()
            if parts not in TREES:
                continue
            if outlined[image, own].all() and not outlined[image, whole]:
                np.testing.assert_array_equal(one[whole], masks[image, own].any(axis=0))
            elif outlined[image, whole]:
                unknown = [part for part in own if not outlined[image, part]]
                assert np.isnan(one[unknown][:, one[whole] == 1]).all()
        if not parts:
            np.testing.assert_array_equal(np.isnan(one).any(axis=(*range(1, one.ndim),)), ~outlined[image])


@pytest.mark.parametrize(
    ("classes", "dtype"), [(1, "uint8"), (8, "uint8"), (9, "int16"), (15, "int16"), (31, "int32"), (63, "int64")]
)
def test_the_last_class_of_each_dtype_comes_back(classes: int, dtype: str) -> None:
    masks = np.random.default_rng(0).random((classes, 4, 5)) < 0.5
    bits = pack_bits(masks)
    assert bits.dtype == bits_dtype(classes) == dtype
    found = known_targets(torch.from_numpy(bits)[None, None], torch.ones(1, classes))
    np.testing.assert_array_equal(found[0].numpy(), masks)


def test_more_classes_than_bits_are_refused() -> None:
    with pytest.raises(UserError, match="64"):
        pack_bits(np.zeros((64, 2, 2), bool))
