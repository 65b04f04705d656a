"""Masks of many classes as one image of whole numbers, and what a batch of them says of every class.

Bit c of a voxel says that class c is there, so classes may overlap and contain each other.
"""

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter

import numpy as np
import torch
from torch import Tensor

from medssl.errors import UserError

_DTYPES = (np.uint8, np.int16, np.int32, np.int64)  # torch shifts no unsigned number but those of 8 bits


def bits_dtype(classes: int) -> np.dtype:
    """The smallest dtype of the bits of so many classes: uint8 to 8, int16 to 15, int32 to 31, int64 to 63.

    Raises:
        UserError: for more than 63 classes.
    """
    for dtype in _DTYPES:
        if classes <= np.iinfo(dtype).max.bit_length():
            return np.dtype(dtype)
    raise UserError(f"A mask holds at most 63 classes, and these are {classes}: leave some out.")


def bits_torch_dtype(classes: int) -> torch.dtype:
    """`bits_dtype` as torch calls it."""
    return torch.from_numpy(np.zeros(0, bits_dtype(classes))).dtype


def pack_bits(masks: np.ndarray) -> np.ndarray:
    """Masks of each class ``[C, ...]`` (bool) → their bits ``[...]``, of `bits_dtype`.

    Raises:
        UserError: for more than 63 classes.
    """
    bits = np.zeros(masks.shape[1:], bits_dtype(len(masks)))
    for number, mask in enumerate(masks):
        bits |= mask.astype(bits.dtype) << number
    return bits


def known_targets(bits: Tensor, outlined: Tensor, parts: Mapping[int, Sequence[int]] | None = None) -> Tensor:
    """What the masks of a batch say of every class and voxel: it is there, it is not, or nobody knows.

    The parts of a whole make it up together. Where all of them were outlined, the whole is their union (and its own
    bits, if it was outlined too); where some were, it is known inside these. A part that was not outlined is known to
    be nowhere outside its whole. So a whole is there wherever one of its parts is.

    Args:
        bits: ``[B, 1, *spatial]``, whole numbers of `pack_bits`.
        outlined: ``[B, C]``, above 0 where a class was outlined in an image; bits of the others are not looked at.
        parts: numbers of the classes that make up a class, by its number; they may have parts, too.

    Returns:
        ``[B, C, *spatial]`` float32 of 1, 0 and NaN (unknown).
    """
    spatial = [1] * (bits.ndim - 2)
    numbers = torch.arange(outlined.shape[1], dtype=bits.dtype, device=bits.device).view(1, -1, *spatial)
    there = (bits >> numbers & 1).bool()
    here = (outlined > 0).to(bits.device).view(*outlined.shape, *spatial)
    inside, outside = there & here, ~there & here
    parts = {whole: list(own) for whole, own in (parts or {}).items()}
    wholes = [number for number in TopologicalSorter(parts).static_order() if number in parts]  # the innermost first
    for whole in wholes:
        inside[:, whole] |= inside[:, parts[whole]].any(dim=1)
        outside[:, whole] |= outside[:, parts[whole]].all(dim=1)
        outside[:, whole] &= ~inside[:, whole]
    for whole in reversed(wholes):
        outside[:, parts[whole]] |= outside[:, [whole]]
    return torch.where(inside, 1.0, torch.where(outside, 0.0, torch.nan))
