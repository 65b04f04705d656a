"""Do data, weights and settings fit each other? Asked before a run begins, so that nothing is lost or misread.

What a model was trained with (its labels, whether they exclude each other, what it sees of an image) rules whatever is
done with it later. Each kind of run has one function here, called from ``initialize`` of its bundle.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from medssl.data import Datalist, are_of_one_kind, is_auroc_defined
from medssl.errors import UserError
from medssl.networks import find_architecture, read_description, weights_file
from medssl.runs import CHECKPOINTS
from medssl.transforms import View

from .resuming import SETTINGS

logger = logging.getLogger(__name__)

Items = Sequence[Mapping[str, Any]]


def check_finetuning(
    prepared: Datalist,
    view: View,
    description: Mapping[str, Any],
    training: Items,
    validation: Items,
    batch_size: int,
    pretrained: str | Path = "",
    patience: int = 0,
) -> None:
    """Look whether a fine-tuning can begin, and can end with a model.

    Args:
        prepared: where the images come from.
        view: what the network is to see of them.
        description: of the model, as it will stand in `model.json`.
        training: the items to train on, with `label` [K].
        validation: those to choose the best epoch by, likewise.
        batch_size: images of a mini-batch.
        pretrained: weights to begin with, or the folder of their run; "" for none.
        patience: validations without a rise until the training ends; 0 for never.

    Raises:
        UserError: there is too little to learn from or to choose the best epoch by; the images are not what the
            network is to see; or the weights are of another network.
        MissingFileError: there are no such weights.
    """
    datalist = prepared.path
    _check_count(datalist, training, "training", view, description["architecture"], batch_size)
    check_view(prepared, view)
    if all(np.isnan(item["label"]).all() for item in training):
        raise UserError(f"No label of any training image in {datalist} is known: prepare the images with their labels.")
    if not validation:
        raise UserError(
            f"{datalist} has no image in validation, by which the best epoch is chosen: prepare the images again, with "
            "--fractions 0.7 0.1 0.2, --folds, or a split column."
        )
    if not is_auroc_defined(validation):
        if patience:
            raise UserError(
                f"No class has known positive and negative images in validation of {datalist}, so --patience has "
                "nothing to go by: leave it out, or prepare the images with more for validation."
            )
        logger.warning(
            "No class has known positive and negative images in validation of %s, so there is no AUROC to choose the "
            "best epoch by: the model of the last epoch is kept.",
            datalist,
        )
    if pretrained:
        check_pretrained(pretrained, description)


def check_pretraining(prepared: Datalist, view: View, architecture: str, images: Items, batch_size: int) -> None:
    """Look whether a pre-training can begin.

    Args:
        prepared: where the images come from.
        view: what the backbone is to see of them.
        architecture: of the backbone.
        images: the items to train on.
        batch_size: images of a mini-batch.

    Raises:
        UserError: there are too few images, or they are not what the network is to see.
    """
    _check_count(prepared.path, images, "training and unlabeled", view, architecture, batch_size)
    check_view(prepared, view)


def check_view(prepared: Datalist, view: View) -> None:
    """Look whether prepared images are what a network sees.

    Args:
        prepared: the images.
        view: of the network.

    Raises:
        UserError: when axes, size, spacing or modality differ; names both.
        MissingFileError: there is no store.
    """
    datalist, store = prepared.path, prepared.settings
    modality = str(store.get("modality", ""))
    if store["spatial_dims"] != view.spatial_dims:
        words = {2: "2D images", 3: "volumes"}
        raise UserError(
            f"{datalist} is of {words[store['spatial_dims']]}, and the network sees {words[view.spatial_dims]}: "
            f"prepare such with --dims {view.spatial_dims}."
        )
    if view.spatial_dims == 2 and tuple(store["size"]) != view.image_size:
        raise UserError(
            f"The images of {datalist} have {_sides(store['size'])} pixels, and the network sees "
            f"{_sides(view.image_size)}: prepare them with --size {' '.join(map(str, view.image_size))}."
        )
    if view.spacing and not np.allclose(store["spacing"], view.spacing, atol=1e-3):
        raise UserError(
            f"The voxels of {datalist} have a spacing of {_sides(store['spacing'])} mm, and the network sees "
            f"{_sides(view.spacing)} mm: prepare the volumes with --spacing "
            f"{' '.join(f'{side:g}' for side in view.spacing)}."
        )
    if not are_of_one_kind(modality, view.modality):
        raise UserError(f"The images of {datalist} are {modality}, and the network was trained on {view.modality}.")
    if view.window and not are_of_one_kind(modality, "CT"):
        raise UserError(
            f"The volumes of {datalist} are {modality}, and a window of HU ({_sides(view.window)}) means nothing "
            "there: leave it out, or give --window none."
        )


def check_pretrained(pretrained: str | Path, description: Mapping[str, Any]) -> None:
    """Look whether a network may begin with weights that have a description, and warn where they saw other images.

    Weights of others without a description are left to the loading.

    Args:
        pretrained: the weights, or the folder of their run.
        description: of the network that is to be trained.

    Raises:
        UserError: they are of another network, or of a classifier of other classes.
        MissingFileError: there are no such weights.
    """
    path = weights_file(pretrained)
    if not path.with_suffix(".json").is_file():
        return
    theirs = read_description(path)
    network = {
        "architecture": theirs.get("backbone", theirs.get("architecture")),
        "spatial_dims": theirs.get("network", theirs).get("spatial_dims"),
        "labels": theirs.get("labels"),
    }
    for name, value in network.items():
        if value not in (None, description[name]):
            raise UserError(
                f"{path} is of a network with {name} {value}, and this one has {description[name]}: give the weights "
                f"of such a one, or take {name} from there."
            )
    if not theirs.get("image_size"):
        return
    seen, sees = View.from_dict(theirs, str(path)), View.from_dict(description)
    if differing := seen.differences(sees, but=["image_size"]):  # which may be any for a convolutional network
        logger.warning("%s learned from other images than these: %s.", path, ", ".join(differing))


def check_resumed(
    resume: bool, output_dir: str | Path, settings: Mapping[str, Any], may_differ: Sequence[str] = ()
) -> None:
    """Look whether a run that is to go on is still the same.

    Args:
        resume: whether it is to go on.
        output_dir: of the run, in whose checkpoints `RunCheckpoint` kept the settings.
        settings: of the run as it is wanted now.
        may_differ: names of settings that are only named where they differ.

    Raises:
        UserError: for a setting that differs; names both values.
    """
    if not resume:
        return
    directory = Path(output_dir) / CHECKPOINTS
    if not (directory / "last.pt").exists() and not (directory / "previous.pt").exists():
        logger.warning("There is no checkpoint in %s to go on from: the run begins with the first epoch.", directory)
        return
    before = _read_settings(directory / SETTINGS)
    for name, value in _plain(settings).items():
        if name not in before or before[name] == value:
            continue
        sentence = f"The checkpoints in {directory} are of a run with {name} {before[name]}, and now it is {value}"
        if name not in may_differ:
            raise UserError(f"{sentence}: take another --output_dir, or the settings of that run.")
        logger.warning("%s.", sentence)


def _read_settings(path: Path) -> dict[str, Any]:
    """Empty for checkpoints of an earlier version, which have none."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return {**settings}
    except (ValueError, TypeError) as error:  # no JSON, or no names and values
        raise UserError(f"{path} is damaged: remove it to go on without a look at the settings.") from error


def fingerprint(items: Items) -> str:
    """A few words that differ where images, their order or their labels do.

    Args:
        items: of a datalist, whose images ``prepare`` named by what they show.
    """
    digest = sha256()
    for item in items:
        digest.update(Path(item["image"]).name.encode())
        digest.update(np.asarray(item["label"], dtype=np.float32).tobytes())
    return f"{len(items)} images ({digest.hexdigest()[:16]})"


def _check_count(datalist: Path, items: Items, split: str, view: View, architecture: str, batch_size: int) -> None:
    if len(items) < 2:
        raise UserError(f"{datalist} has {len(items) or 'no'} image in {split}: a training needs at least two.")
    network, size = find_architecture(architecture, view.spatial_dims), view.image_size
    if min(size) < network.smallest_side:
        raise UserError(
            f"Images of {_sides(size)} are too small for {architecture}: no side may be below {network.smallest_side}."
        )
    if batch_size == 1 and max(size) < 2 * network.strides[-1]:
        # The last map has one voxel, of which batch normalisation cannot take a variance.
        raise UserError(f"--batch_size 1 is too small for images of {_sides(size)}: take at least 2.")


def _plain(value: Any) -> Any:
    """As JSON gives it back: a tuple is a list."""
    return json.loads(json.dumps(value, default=str))


def _sides(values: Sequence[float]) -> str:
    return " × ".join(f"{value:g}" for value in values)
