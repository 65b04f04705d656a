"""What a training for segmentation needs beside that of a classifier: targets from masks, and checks."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor

from medssl.data import Datalist
from medssl.errors import UserError
from medssl.networks import build_segmenter, find_architecture, read_description, weights_file, without_values
from medssl.transforms import ClinicalAugmentation, View, known_targets

from .checks import Items, check_pretrained, check_view
from .steps import _plain

ONE_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])|[_\-. ][lr]$", re.IGNORECASE)
"""A class of one side of the body, such as ``lung_left`` or ``kidney_r``."""


def part_numbers(classes: Sequence[str], contains: Mapping[str, Sequence[str]]) -> dict[int, list[int]]:
    """Which classes make up another, by number, as `medssl.transforms.known_targets` takes it.

    Args:
        classes: names of all of them.
        contains: class → the classes that make it up.
    """
    return {classes.index(whole): [classes.index(part) for part in parts] for whole, parts in contains.items()}


class PrepareSegmented:
    """From a batch to images and targets on the device; in training both changed alike at random, all in one call.

    Batches need ``image`` ``[B, 1, *spatial]``, ``mask`` (bits, of the same shape) and ``outlined`` ``[B, C]``.

    Args:
        classes: names of the C classes.
        contains: class → the classes that make it up.
        augmentation: of images and masks, see `ClinicalAugmentation.with_masks`; None for neither.
    """

    def __init__(
        self,
        classes: Sequence[str],
        contains: Mapping[str, Sequence[str]],
        augmentation: ClinicalAugmentation | None = None,
    ) -> None:
        self.parts = part_numbers(classes, contains)
        self.augmentation = augmentation

    def __call__(
        self,
        batch: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Images ``[B, 1, *spatial]`` and targets ``[B, C, *spatial]`` of 1, 0 and NaN (unknown)."""
        images = _plain(batch["image"]).to(device, non_blocking=non_blocking, **kwargs)
        bits, outlined = (_plain(batch[key]).to(device, non_blocking=non_blocking) for key in ("mask", "outlined"))
        if self.augmentation is not None:
            images, bits = self.augmentation.with_masks(images, bits)
        return images, known_targets(bits, outlined, self.parts)


class PreparedBatches:
    """The batches of a loader as `PrepareSegmented` gives them, each time it is iterated.

    Args:
        loader: of the batches.
        prepare: makes images and targets of them.
        device: to have them on.
    """

    def __init__(
        self, loader: Iterable[Mapping[str, Any]], prepare: PrepareSegmented, device: torch.device | str
    ) -> None:
        self.loader, self.prepare, self.device = loader, prepare, device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self.prepare(batch, self.device) for batch in self.loader)


def boxes_for_training(view: View, crops_per_volume: int, foreground: float) -> Compose:
    """What a network for segmentation sees in training: a radiograph whole, of a volume random boxes, with their masks.

    Args:
        view: of the network.
        crops_per_volume: boxes of each volume; of a radiograph there is one.
        foreground: share of boxes about a voxel of an outlined class.
    """
    return view.random_crops(crops_per_volume if view.spatial_dims == 3 else 1, masks=True, foreground=foreground)


def mirror_axes(mirrored: bool | str, classes: Sequence[str]) -> tuple[int, ...] | None:
    """Along which axes a training mirrors its images, as `ClinicalAugmentation` takes it.

    Args:
        mirrored: whether half of them are mirrored left to right; `auto`: unless a class is of one side of the body.
        classes: their names.
    """
    if mirrored == "auto":
        mirrored = not any(ONE_SIDE.search(name) for name in classes)
    return None if mirrored else ()


def check_segmentation(
    prepared: Datalist,
    view: View,
    description: Mapping[str, Any],
    training: Items,
    validation: Items,
    batch_size: int,
    pretrained: str | Path = "",
) -> None:
    """Look whether a training for segmentation can begin, and can end with a model.

    Args:
        prepared: where the images come from.
        view: what the network is to see of them.
        description: of the model, as it will stand in `model.json`.
        training: the items to train on, with `mask` and `outlined` [C].
        validation: those to choose the best epoch by, likewise.
        batch_size: boxes of a mini-batch.
        pretrained: weights to begin with, or the folder of their run; "" for none.

    Raises:
        UserError: there is too little to learn from or to choose the best epoch by; the loss is of classes of another
            kind; the images are not what the network is to see; or the weights are of another network.
        MissingFileError: there are no such weights.
    """
    path, classes, contains = prepared.path, description["classes"], description["contains"]
    if not training:
        raise UserError(f"{path} has no mask in training: prepare the images with their masks (--masks).")
    check_view(prepared, view)
    architecture = find_architecture(description["architecture"], view.spatial_dims)
    if min(view.image_size) < architecture.smallest_side:
        raise UserError(
            f"A box of {' × '.join(map(str, view.image_size))} is too small for {description['architecture']}: no side "
            f"may be below {architecture.smallest_side}."
        )
    if batch_size == 1 and max(view.image_size) < 2 * architecture.strides[-1]:
        # The last map has one voxel, of which batch normalisation cannot take a variance.
        raise UserError("--batch_size 1 is too small for boxes of this size: take at least 2.")
    name, depth = description["architecture"], description["deep_supervision"]  # are there so many levels?
    without_values(lambda: build_segmenter(name, view.spatial_dims, 1, len(classes), depth))
    if description["mask_loss"] == "marginal_exclusion" and contains:
        whole, parts = next(iter(contains.items()))
        raise UserError(
            f"--mask_loss marginal_exclusion is for classes that never share a voxel, and {whole} contains "
            f"{', '.join(parts)}: take dice_bce, or prepare the masks without contains."
        )
    learnt = np.sum([item["outlined"] for item in training], axis=0) > 0
    for name, parts in contains.items():  # a whole of outlined parts is known, too
        learnt[classes.index(name)] |= all(learnt[classes.index(part)] for part in parts)
    if not learnt.all():
        raise UserError(
            f"Nobody outlined {', '.join(name for name, known in zip(classes, learnt, strict=True) if not known)} in "
            f"training of {path}: prepare the images again with other splits, or without that class."
        )
    if not validation:
        raise UserError(
            f"{path} has no mask in validation, by which the best epoch is chosen: prepare the images again, with "
            "--fractions 0.7 0.1 0.2, --folds, or a split column."
        )
    if pretrained:
        weights = weights_file(pretrained)
        if weights.with_suffix(".json").is_file() and read_description(weights).get("labels"):
            raise UserError(
                f"{weights} is a classifier's, and a segmentation begins with a backbone: give a pre-training's folder."
            )
        check_pretrained(pretrained, {**description, "labels": None})


def masks_fingerprint(items: Items) -> str:
    """A few words that differ where images, their order, their masks or what was outlined do."""
    digest = sha256()
    for item in items:
        digest.update(f"{Path(item['image']).name} {Path(item['mask']).name}".encode())
        digest.update(np.asarray(item["outlined"], dtype=np.float32).tobytes())
    return f"{len(items)} images ({digest.hexdigest()[:16]})"
