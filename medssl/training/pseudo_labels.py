"""Self-training: what a first model is sure of fills the unknown labels of the training split (Lee 2013)."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from scipy.special import expit, softmax
from torch import nn

from medssl import runs
from medssl.data import Datalist
from medssl.errors import UserError
from medssl.evaluation import Calibration, ImageInferer, calibrate
from medssl.networks import build_classifier, compute_features, load_model_weights, model_description
from medssl.transforms import View

from .checks import check_view

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingItems:
    """The items to train on.

    Attributes:
        items: of the training split, and unlabelled ones of which something was filled.
        description: what of their labels is none of a person, for `model.json`; empty where all are.
    """

    items: list[dict[str, Any]]
    description: Mapping[str, Any] = field(default_factory=dict)


def fill_unknown(
    prepared: Datalist,
    labels: Sequence[str],
    exclusive: bool = False,
    model: str | Path = "",
    positive: float = 0.9,
    negative: float = 0.1,
    unlabeled: bool = False,
    batch_size: int = 64,
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> TrainingItems:
    """The training split, with unknown labels filled where a first model's calibrated probability is high or low.

    Known labels stay as they are, and validation and test are never touched. No random number of the run is drawn.

    Args:
        prepared: the images.
        labels: names of the K classes to train on.
        exclusive: whether each image has exactly one of them; then an image is filled whole, by its likeliest class.
        model: a fine-tuning's folder, or its ``model.pt``; "" fills nothing.
        positive: probability from which on a label becomes 1.
        negative: probability up to which it becomes 0.
        unlabeled: whether unlabelled images are filled, too, and trained on where something could be.
        batch_size: images at once.
        workers: processes that load images.
        device: to compute on.

    Raises:
        MissingFileError: there is no such model.
        UserError: it knows none of the classes, lets them occur together where they exclude each other (or the
            reverse), or sees other images; or the probabilities are no such limits.
    """
    items = prepared.labelled("training", labels, exclusive, may_be_empty=True)
    if not model:
        return TrainingItems(items)
    if not 0 <= negative < positive <= 1:
        raise UserError(f"pseudo_negative ({negative:g}) must be below pseudo_positive ({positive:g}), both 0 to 1.")
    path = Path(model) / runs.MODEL if Path(model).is_dir() else Path(model)
    nothing = np.full(len(labels), np.nan, dtype=np.float32)
    more = [{**item, "label": nothing} for item in prepared.items("unlabeled")] if unlabeled else []
    known = np.array([item["label"] for item in items + more], ndmin=2)
    probabilities = _probabilities(path, prepared, items + more, labels, exclusive, batch_size, workers, device)
    filled = fill_confident(known, probabilities, positive, negative, exclusive)
    kept = [
        {**item, "label": label}
        for number, (item, label) in enumerate(zip(items + more, filled, strict=True))
        if number < len(items) or not np.isnan(label).all()
    ]
    new = np.isnan(known) & ~np.isnan(filled)
    counts = {
        name: [int((column[where] == outcome).sum()) for outcome in (1, 0)]
        for name, column, where in zip(labels, filled.T, new.T, strict=True)
    }
    told = ", ".join(f"{name} {ones} positive and {zeros} negative" for name, (ones, zeros) in counts.items())
    logger.info(
        "Of %d unknown labels of training %d are filled by what %s is sure of: %s.",
        np.isnan(known).sum(),
        new.sum(),
        path,
        told,
    )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    description = {"model_sha256": digest, "positive": positive, "negative": negative, "filled": counts}
    return TrainingItems(kept, {"pseudo_labels": {**description, "unlabeled_images": len(kept) - len(items)}})


def fill_confident(
    labels: np.ndarray, probabilities: np.ndarray, positive: float, negative: float, exclusive: bool = False
) -> np.ndarray:
    """Labels with 1 and 0 where they are unknown and the probability is high or low enough.

    Args:
        labels: ``[N, K]`` of 1, 0, NaN.
        probabilities: ``[N, K]``; NaN where there is none.
        positive: from which on a label becomes 1.
        negative: up to which it becomes 0; of no use for exclusive classes.
        exclusive: whether one class is 1 and the others are 0, or all are unknown.

    Returns:
        float32 ``[N, K]``.
    """
    unknown = np.isnan(labels)
    if exclusive:
        sure = unknown.all(axis=1) & (np.nan_to_num(probabilities).max(axis=1) >= positive)
        likeliest = np.eye(labels.shape[1])[np.nan_to_num(probabilities).argmax(axis=1)]
        return np.where(sure[:, None], likeliest, labels).astype(np.float32)
    ones, zeros = unknown & (probabilities >= positive), unknown & (probabilities <= negative)
    return np.select([ones, zeros], [1.0, 0.0], labels).astype(np.float32)


def _probabilities(
    path: Path,
    prepared: Datalist,
    items: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    exclusive: bool,
    batch_size: int,
    workers: int,
    device: torch.device | str,
) -> np.ndarray:
    """Calibrated probabilities ``[N, K]`` of a model, NaN for classes that it does not know."""
    described = model_description(path, prepared.view().spatial_dims)
    view = View.from_dict(described, str(path))
    names = described["labels"]
    if not set(names) & set(labels):
        raise UserError(f"{path} knows none of {', '.join(labels)} but {', '.join(names)}: leave --pseudo out.")
    if described["exclusive"] != exclusive:
        raise UserError(f"Of the classes of {path} and those of {prepared.path} only one kind excludes each other.")
    check_view(prepared, view)
    if Calibration.read(path.parent) is None:
        logger.warning("%s is not calibrated, so what it is sure of may be wrong more often than it says.", path)
    boxes = described.get("boxes", "middle")
    inferer = ImageInferer(pooling=described.get("pooling", "max"), at_once=batch_size)
    at_once = 1 if boxes == "several" else batch_size
    # On one GPU twice the same, so that a run that is resumed fills the same.
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.random.fork_rng(devices=[]), exact:  # a new network and a loader draw from the global generator
        network = _load(path, described, view).to(device)
        loader = DataLoader(Dataset(items, view.stored(boxes)), batch_size=at_once, num_workers=workers)
        logits = compute_features(network, partial(inferer, network=network), loader, description="pseudo-labels")
    found = logits.double().cpu().numpy()
    of_name = dict(zip(names, (softmax(found, axis=1) if exclusive else expit(found)).T, strict=True))
    nowhere = np.full(len(items), np.nan)
    return np.stack([of_name.get(name, nowhere) for name in labels], axis=1)


def _load(path: Path, described: Mapping[str, Any], view: View) -> nn.Module:
    network = build_classifier(
        described["architecture"], view.spatial_dims, described["in_channels"], len(described["labels"])
    )
    load_model_weights(network, path)
    calibrate(network, path)
    return network
