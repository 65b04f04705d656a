"""The two guides at each kept epoch of a pre-training: proxy and gradient task affinity."""

from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.data import DataLoader, Dataset
from torch import nn

from medssl.data import Datalist, label_counts
from medssl.errors import UserError
from medssl.evaluation import Predictions, compare_runs
from medssl.evaluation.probes import labels_of, patients_of, pooled_features
from medssl.losses import label_loss
from medssl.networks import Backbone, load_backbone
from medssl.progress import watched
from medssl.training import (
    check_batches,
    fit_linear_layer,
    gradient_affinity,
    prepare_images,
    prepare_labelled,
    restate_batch_norm,
)

from .kept_backbones import PretrainingRun

GUIDES = {"proxy": "proxy task affinity", "gradient": "gradient task affinity"}
MEASURED = (
    *("run", "epoch", "lcp_mAUROC", "proxy_affinity", "proxy_low", "proxy_high"),
    *("gradient_affinity", "gradient_standard_error"),
)


@dataclass(frozen=True)
class Images:
    """The labelled images that the guides are measured with.

    Attributes:
        names: of the K labels.
        exclusive: whether they exclude each other.
        training: items that the linear layer is fitted to and the gradients are taken on.
        judged: items that the linear layer is judged by.
    """

    names: list[str]
    exclusive: bool
    training: list[dict[str, Any]]
    judged: list[dict[str, Any]]

    @classmethod
    def read(cls, data: str | Path, split: str) -> "Images":
        """The images of `training` and `split` of which at least one label is known.

        Raises:
            UserError: when there are none.
        """
        datalist = Datalist.read(data)
        known = {}
        for name in ("training", split):
            known[name] = [item for item in datalist.items(name) if not np.isnan(item["label"]).all()]
            if not known[name]:
                raise UserError(f"{datalist.path}: no image of {name} has a known label, so nothing can be measured.")
        return cls(datalist.labels, datalist.exclusive, known["training"], known[split])

    def loss(self) -> nn.Module:
        """The downstream loss, as the fine-tuning bundle has it."""
        positive, negative = map(torch.as_tensor, label_counts(labels_of(self.training)))
        return label_loss(positive, negative, self.exclusive)


def measure(
    run: PretrainingRun, images: Images, device: torch.device, batches: int = 8, workers: int = 0
) -> pd.DataFrame:
    """Measure both guides at every kept epoch of a run.

    Args:
        run: the pre-training.
        images: to measure with.
        device: to compute on.
        batches: mini-batches of the run's `batch_size` that the gradient affinity is averaged over, from the training
            images in random order, over and over; every epoch sees the same batches and the same puzzles.
        workers: processes that load images.

    Returns:
        A row for each kept epoch, with the columns `run`: name of the pre-training; `epoch`: 0 for the random weights
        it began with (RandIni); `lcp_mAUROC`: of the linear layer on the frozen backbone (the linear classification
        protocol); `proxy_affinity`, `proxy_low` and `proxy_high`: `lcp_mAUROC` minus that of RandIni (Dong et al. 2024,
        Definition 1) with its 95 % interval by a paired bootstrap over patients; `gradient_affinity` and
        `gradient_standard_error`: the mean cosine over the batches (Eq. 2), NaN where the run kept no heads.

    Raises:
        UserError: when no class has known positive and negative cases among the judged images.
    """
    measured = []
    randini: Predictions | None = None
    for epoch in watched(run.kept, f"task affinity of {run.name}", "epochs"):
        predictions = _probe(run, epoch, images, device, workers)
        randini = randini or predictions
        difference = compare_runs(randini, predictions)["mAUROC"]
        if difference is None:
            raise UserError("No class has known positive and negative cases among the images to judge the guides by.")
        gradient = _gradient(run, epoch, images, device, batches, workers)
        measured.append([run.name, epoch, difference["second"], *difference["difference"], *gradient])
    return pd.DataFrame(measured, columns=MEASURED).astype(dict.fromkeys(MEASURED[2:], float))


def _probe(run: PretrainingRun, epoch: int, images: Images, device: torch.device, workers: int) -> Predictions:
    """The linear classification protocol: features once, then a linear layer, the same seed for every epoch."""
    backbone = load_backbone(run.kept[epoch]).to(device)
    head = _head(run, backbone, images, workers)
    judged = pooled_features(backbone, Dataset(images.judged, run.view.stored()), run.batch_size, workers)
    with torch.no_grad():
        logits = head(judged).double()
    scores = (logits.softmax(dim=1) if images.exclusive else logits.sigmoid()).cpu().numpy()
    files, patients = ([str(item[key]) for item in images.judged] for key in ("file", "patient"))
    return Predictions(files, patients, images.names, scores, labels_of(images.judged))


def _head(run: PretrainingRun, backbone: Backbone, images: Images, workers: int) -> nn.Linear:
    """A linear layer fitted to the features of the training images, in evaluation mode."""
    features = pooled_features(backbone, Dataset(images.training, run.view.stored()), run.batch_size, workers)
    labels = torch.as_tensor(labels_of(images.training), dtype=torch.float32, device=features.device)
    patients = patients_of(images.training)
    return fit_linear_layer(features, labels, images.loss(), run.seed, batch_size=run.batch_size, patients=patients)


def _gradient(
    run: PretrainingRun,
    epoch: int,
    images: Images,
    device: torch.device,
    batches: int,
    workers: int,
) -> tuple[float, float]:
    model = run.pretext_model(epoch)
    if model is None:
        return np.nan, np.nan
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)  # of the order of the images and of the puzzles
        loader = DataLoader(
            Dataset(images.training, run.view.stored()),
            batch_size=run.batch_size,
            shuffle=True,
            drop_last=len(images.training) > run.batch_size,
            num_workers=workers,
        )
        check_batches(model, loader)
        endless = chain.from_iterable(repeat(loader))
        model = model.to(device)
        restate_batch_norm(model.backbone, (prepare_images(batch, device)[0] for batch in loader))
        head = _head(run, model.backbone, images, workers)
        labelled = (_labelled(batch, device) for batch in islice(endless, batches))
        cosines = gradient_affinity(model, head, images.loss(), labelled)
    return cosines.mean().item(), cosines.std().item() / batches**0.5


def _labelled(batch: dict[str, Any], device: torch.device) -> tuple[torch.Tensor, ...]:
    """Images, labels and what else a pretext model is given of a batch."""
    _, _, *others = prepare_images(batch, device)
    return (*prepare_labelled(batch, device), *(others[0] if others else ()))
