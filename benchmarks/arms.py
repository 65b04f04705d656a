"""Pre-train, fine-tune and probe in memory, with the library's own tasks, augmentations, losses and schedules.

The bundles do the same from files; here a training of small images takes seconds, so that many can be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.optimizers import WarmupCosineSchedule
from radiographs import Images
from torch import Tensor, nn

from medssl.data import label_counts
from medssl.evaluation import thumbnails
from medssl.evaluation.logistic import linear_probe
from medssl.losses import label_loss
from medssl.networks import build_backbone, build_classifier, output_layer
from medssl.pretext import build_pretext_model, copies_of
from medssl.training import build_optimizer, freeze, half_type
from medssl.training.probe_head import probe_weights
from medssl.transforms import ClinicalAugmentation

Weights = dict[str, Tensor]


def normalised(images: Tensor) -> Tensor:
    """8-bit images as the view has them: each minus its mean, over its standard deviation (Dong et al. 2024, Eq. 7)."""
    values, axes = images.float(), tuple(range(1, images.ndim))
    values = values - values.mean(dim=axes, keepdim=True)
    return values / values.std(dim=axes, keepdim=True, correction=0).clamp(min=1e-6)


@dataclass(frozen=True)
class Pretraining:
    """How a backbone is pre-trained.

    Args:
        tasks: as `build_pretext_model` takes them.
        steps, batch, learning_rate, weight_decay: of AdamW with warm-up and cosine.
    """

    tasks: Mapping[str, Any]
    steps: int = 1600
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5


@dataclass(frozen=True)
class Recipe:
    """How a classifier is fine-tuned.

    Args:
        learning_rate, steps, batch, weight_decay: of AdamW with warm-up and cosine.
        augmentation: strength of `ClinicalAugmentation`.
        backbone_rate: rate of the backbone over that of the head.
        head: `random`, or a `probe`'s.
        frozen: see `medssl.training.freeze`.
    """

    learning_rate: float = 3e-4
    steps: int = 200
    batch: int = 32
    weight_decay: float = 1e-4
    augmentation: float = 1.0
    backbone_rate: float = 1.0
    head: str = "random"
    frozen: str = "nothing"

    def __str__(self) -> str:
        words = [f"{self.learning_rate:.0e}x{self.steps}"]
        words += [f"b{self.backbone_rate:g}"] if self.backbone_rate != 1 else []
        words += [self.head] if self.head != "random" else []
        words += [self.frozen] if self.frozen != "nothing" else []
        words += [f"a{self.augmentation:g}"] if self.augmentation != 1 else []
        return " ".join(words)


def changed(recipe: Recipe, **values: Any) -> Recipe:
    """A recipe with other values."""
    return replace(recipe, **values)


def pretrain(
    images: Tensor, architecture: str, pretraining: Pretraining, seed: int, device: torch.device
) -> tuple[Weights, list[float]]:
    """The weights of a backbone after its tasks, and the loss of every hundredth step.

    Args:
        images: the pool, 8 bit `[N, 1, *spatial]`, 2D or 3D.
    """
    torch.manual_seed(seed)
    tasks = pretraining.tasks
    backbone = build_backbone(architecture, images.ndim - 2, copies_of(tasks))
    model = build_pretext_model(backbone, tuple(images.shape[2:]), tasks, seed=seed).to(device)
    optimizer = build_optimizer(model, "adamw", pretraining.learning_rate, pretraining.weight_decay)
    schedule = WarmupCosineSchedule(optimizer, max(1, pretraining.steps // 10), pretraining.steps)
    images, losses = images.to(device), []
    order = torch.empty(0, dtype=torch.long, device=device)
    for step in range(pretraining.steps):
        if len(order) < pretraining.batch:
            order = torch.randperm(len(images), device=device)
        batch, order = order[: pretraining.batch], order[pretraining.batch :]
        with torch.autocast(device.type, half_type(device), enabled=device.type == "cuda"):
            loss = model(normalised(images[batch])).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        model.after_step()
        if step % 100 == 99:
            losses.append(float(loss))
    return {name: value.detach().clone() for name, value in backbone.network.state_dict().items()}, losses


@torch.no_grad()
def features(images: Tensor, architecture: str, weights: Weights | None, seed: int, device: torch.device) -> np.ndarray:
    """The pooled features of images `[N, 1, *spatial]` in 8 bit, `[N, D]`; `weights` None for random ones."""
    torch.manual_seed(seed)
    backbone = build_backbone(architecture, images.ndim - 2, 1)
    if weights is not None:
        backbone.network.load_state_dict(weights)
    backbone = backbone.to(device).eval()
    parts = [backbone.pool(backbone(normalised(part.to(device)))).float().cpu() for part in images.split(512)]
    return torch.cat(parts).numpy()


def pixels(images: Tensor, side: int = 8) -> np.ndarray:
    """Each image as few pixels, `[N, side^dims]`."""
    return torch.cat([thumbnails(normalised(part), side) for part in images.split(2048)]).numpy()


def finetune(
    known: Images,
    drawn: tuple[np.ndarray, np.ndarray],
    architecture: str,
    weights: Weights | None,
    recipe: Recipe,
    seed: int,
    device: torch.device,
) -> tuple[nn.Module, Weights]:
    """A classifier trained on labelled images, and the weights that it began with.

    Args:
        drawn: numbers of the images, and their labels `[n, K]` of 1, 0, NaN.
        weights: of the backbone; None for random ones.
    """
    torch.manual_seed(seed)
    images, labels = known.images[drawn[0]].to(device), torch.from_numpy(drawn[1]).float().to(device)
    network = build_classifier(architecture, images.ndim - 2, 1, labels.shape[1])
    if weights is not None:
        network.load_state_dict(weights, strict=False)
    network = network.to(device)
    inputs = normalised(images)
    if recipe.head == "probe":
        _begin_with_probe(network, architecture, weights, known, drawn, seed, device)
    begun = {name: value.detach().clone() for name, value in network.state_dict().items()}
    freeze(network, recipe.frozen)
    positive, negative = label_counts(list(drawn[1]))
    loss_function = label_loss(positive, negative).to(device)
    optimizer = build_optimizer(
        network, "adamw", recipe.learning_rate, recipe.weight_decay, backbone_rate=recipe.backbone_rate
    )
    schedule = WarmupCosineSchedule(optimizer, max(1, recipe.steps // 10), recipe.steps)
    augment = ClinicalAugmentation(recipe.augmentation)
    batch = min(recipe.batch, len(inputs))
    order = torch.empty(0, dtype=torch.long, device=device)
    network.train()
    for _ in range(recipe.steps):
        if len(order) < batch:
            order = torch.randperm(len(inputs), device=device)
        places, order = order[:batch], order[batch:]
        seen = augment(inputs[places])
        with torch.autocast(device.type, half_type(device), enabled=device.type == "cuda"):
            logits = network(seen)
        loss = loss_function(logits.float(), labels[places])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval(), begun


def _begin_with_probe(
    network: nn.Module,
    architecture: str,
    weights: Weights | None,
    known: Images,
    drawn: tuple[np.ndarray, np.ndarray],
    seed: int,
    device: torch.device,
) -> None:
    numbers, labels = drawn
    seen = features(known.images[numbers], architecture, weights, seed, device)
    rows, biases, fitted = probe_weights(seen.astype(float), labels, list(known.patient[numbers]))
    head = output_layer(network)
    with torch.no_grad():
        head.weight[fitted] = torch.from_numpy(rows[fitted]).to(head.weight)
        head.bias[fitted] = torch.from_numpy(biases[fitted]).to(head.bias)


@torch.no_grad()
def scores(network: nn.Module, images: Tensor, device: torch.device, mirror: bool = False) -> np.ndarray:
    """The logits of images, `[N, K]`; with `mirror` the mean with those of the mirrored images."""
    parts = []
    for part in images.split(512):
        inputs = normalised(part.to(device))
        logits = network(inputs)
        parts.append((logits + network(inputs.flip(-1 if part.ndim == 4 else 2))) / 2 if mirror else logits)
    return torch.cat(parts).float().cpu().numpy()


def between(network: nn.Module, begun: Weights, share: float) -> Weights:
    """Weights on the way from those that a fine-tuning began with to those it ended with (Wortsman et al. 2022)."""
    ended = network.state_dict()
    return {
        name: torch.lerp(begun[name], value, share) if value.is_floating_point() else value
        for name, value in ended.items()
    }


def probe_scores(known: np.ndarray, labels: np.ndarray, patients: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The probabilities of a linear probe, `C` by folds over patients."""
    return linear_probe(known, labels, asked, list(patients))
