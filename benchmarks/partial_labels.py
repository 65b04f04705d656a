"""What is worth what with partial labels: losses, weights, mixing, one head a source, and self-training.

Three hospitals of real radiographs, each labelled for what it was collected for: five findings and Pneumonia at NIH,
Pneumonia in children (Kermany), which is another thing, and Tuberculosis in Shenzhen. An image is labelled for one
class. One network for all seven classes is fine-tuned from one short pre-training by SimCLR in each arm, and judged
within each hospital on patients that none of it has seen; of NIH's images those with a finding count, for the normal
ones were picked separately. `python benchmarks/partial_labels.py --images DATA` writes `results/partial_labels.json`
and `.md`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import arms
import numpy as np
import torch
from measuring import DEVICE, Result, parser
from radiographs import FINDINGS, NORMAL, Images, read
from scipy import stats
from torch import Tensor, nn

from medssl.data import label_counts, labels_by_source
from medssl.evaluation import Calibration, Predictions, partial_auroc
from medssl.losses import label_loss
from medssl.networks import build_classifier, give_heads
from medssl.training import build_optimizer, mix_up
from medssl.training.pseudo_labels import fill_confident
from medssl.transforms import ClinicalAugmentation

ARCHITECTURE, SIDE = "resnet10_quarter", 64
CLASSES = (*FINDINGS, "Pneumonia", "Tuberculosis")
ASKED = {"nih": (*FINDINGS, "Pneumonia"), "kermany": ("Pneumonia",), "shenzhen_tb": ("Tuberculosis",)}
NIH = ("nih_cxr", "nih_extra")


@dataclass(frozen=True)
class Arm:
    """An option of fine-tuning."""

    mixup: float = 0.0
    kind: str = "cross_entropy"
    balance: bool = True
    heads: str = "merged"
    pseudo: tuple[float, float] | None = None  # probabilities up to which and from which on an unknown label is filled


ARMS = {
    "plain": Arm(),
    "class_balance False": Arm(balance=False),
    "mixup 0.4": Arm(mixup=0.4),
    "label_loss asymmetric": Arm(kind="asymmetric", balance=False),
    "heads source": Arm(heads="source"),
    "pseudo, 0.9 and 0.1": Arm(pseudo=(0.1, 0.9)),
}


@dataclass
class Split:
    """Images of a part of the patients, each with its hospital and what is known, `[n, 7]`."""

    numbers: np.ndarray
    hospitals: np.ndarray
    labels: np.ndarray


def split(radiographs: Images, seed: int, labelled: int) -> dict[str, Split]:
    """Patients of each hospital as training (of each of its classes so many images), validation and test."""
    random = np.random.default_rng([seed, 1])
    parts: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {"training": [], "validation": [], "test": []}
    for hospital, names in ASKED.items():
        images = radiographs.of(*(NIH if hospital == "nih" else (hospital,)))
        known = np.full((len(images), len(CLASSES)), np.nan)
        for name in names:
            known[:, CLASSES.index(name)] = radiographs.column(name)[images]
        if hospital == "nih":  # Pneumonia and No Finding were picked separately
            known[radiographs.column(NORMAL)[images] == 1] = np.nan
        patients = random.permutation(np.unique(radiographs.patient[images]))
        cuts = (np.array([0.3, 0.5]) * len(patients)).astype(int)
        for part, own in zip(("test", "validation", "training"), np.split(patients, cuts), strict=True):
            here = np.isin(radiographs.patient[images], own)
            labels = known[here] if part != "training" else drawn(known[here], labelled, random)
            some = ~np.isnan(labels).all(axis=1)
            parts[part].append((images[here][some], np.full(some.sum(), hospital), labels[some]))
    return {part: Split(*map(np.concatenate, zip(*of_hospitals, strict=True))) for part, of_hospitals in parts.items()}


def drawn(known: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Half as many positive and negative images of each class, each known for that class alone (Dong et al. 6.1)."""
    labels, free = np.full_like(known, np.nan), np.ones(len(known), dtype=bool)
    for k in np.argsort((known == 1).sum(axis=0), kind="stable"):
        for value in (1, 0):
            rows = random.permutation(np.flatnonzero((known[:, k] == value) & free))[: count // 2]
            labels[rows, k], free[rows] = value, False
    return labels


def finetuned(images: Tensor, data: Split, weights: arms.Weights, arm: Arm, seed: int, steps: int) -> nn.Module:
    """A classifier of the seven classes, in evaluation mode."""
    torch.manual_seed(seed)
    items = [{"source": name, "label": row} for name, row in zip(data.hospitals, data.labels, strict=True)]
    rows = np.array([item["label"] for item in labels_by_source(items, arm.heads)])
    counts = label_counts(rows)
    network = build_classifier(ARCHITECTURE, 2, 1, len(CLASSES))
    network.load_state_dict(weights, strict=False)
    network = give_heads(network, *counts).to(DEVICE).train()
    loss_of = label_loss(*counts, kind=arm.kind, balance=arm.balance)
    optimizer = build_optimizer(network, "adamw", 3e-4, 1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: np.cos(np.pi * step / steps) / 2 + 0.5)
    inputs = arms.normalised(images[data.numbers].to(DEVICE))
    labels, augment = torch.from_numpy(rows).float().to(DEVICE), ClinicalAugmentation()
    for _ in range(steps):
        places = torch.randint(len(inputs), (32,), device=DEVICE)
        seen, known = augment(inputs[places]), labels[places]
        seen, known = mix_up(seen, known, arm.mixup) if arm.mixup else (seen, known)
        optimizer.zero_grad()
        loss_of(network(seen), known).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def filled(images: Tensor, splits: Mapping[str, Split], first: nn.Module, limits: tuple[float, float]) -> Split:
    """The training split with what the first model, calibrated on validation, is sure of."""
    training, validation = splits["training"], splits["validation"]
    logits = [arms.scores(first, images[part.numbers], DEVICE).astype(float) for part in (validation, training)]
    scores = [1 / (1 + np.exp(-values)) for values in logits]
    names = [str(number) for number in validation.numbers]
    predictions = Predictions(names, names, list(CLASSES), scores[0], validation.labels, logits[0])
    of_training = Predictions(
        *[[str(number) for number in training.numbers]] * 2, list(CLASSES), scores[1], training.labels, logits[1]
    )
    sure = Calibration.fit(predictions).applied(of_training).scores
    return replace(training, labels=fill_confident(training.labels, sure, limits[1], limits[0]))


def judged(images: Tensor, data: Split, network: nn.Module) -> dict[str, float]:
    """AUROC of each class within each hospital that labelled it."""
    logits = arms.scores(network, images[data.numbers], DEVICE)
    found = {}
    for hospital, names in ASKED.items():
        here = data.hospitals == hospital
        areas = partial_auroc(logits[here], data.labels[here])
        found |= {f"{hospital}: {name}": float(areas[CLASSES.index(name)]) for name in names}
    return found


def trial(radiographs: Images, seed: int, options: Any) -> dict[str, dict[str, float]]:
    """The AUROCs of every arm for one split, pre-training, draw of the labels and seed of the fine-tuning."""
    splits = split(radiographs, seed, options.labelled)
    kept_back = np.concatenate([splits[part].numbers for part in ("validation", "test")])
    seen = ~np.isin(radiographs.patient, radiographs.patient[kept_back])
    pool = np.flatnonzero(seen & (radiographs.hospital != "montgomery_dev"))
    pretraining = arms.Pretraining({"simclr": {}}, steps=options.pretraining, batch=128)
    weights, _ = arms.pretrain(radiographs.images[pool], ARCHITECTURE, pretraining, seed, DEVICE)
    found, first = {}, None
    for name, arm in ARMS.items():
        data = splits["training"]
        if arm.pseudo:
            assert first is not None
            data = filled(radiographs.images, splits, first, arm.pseudo)
        network = finetuned(radiographs.images, data, weights, arm, seed, options.steps)
        first = first or network
        new = int((~np.isnan(data.labels)).sum() - (~np.isnan(splits["training"].labels)).sum())
        found[name] = {**judged(radiographs.images, splits["test"], network), "filled": new}
        print(seed, name, found[name], flush=True)
    return found


def main() -> None:
    options = parser(__doc__, 3)
    options.add_argument("--images", type=Path, required=True)
    options.add_argument("--labelled", type=int, default=40, help="images of each class in each hospital")
    options.add_argument("--pretraining", type=int, default=300, help="steps of SimCLR")
    options.add_argument("--steps", type=int, default=250, help="of fine-tuning")
    chosen = options.parse_args()
    kept = chosen.output / "partial_labels_trials.json"  # so that an interrupted run goes on
    done = json.loads(kept.read_text()) if kept.is_file() else {}
    radiographs = read(chosen.images, SIDE)
    for seed in map(str, range(chosen.repeats)):
        if seed not in done:
            done[seed] = trial(radiographs, int(seed), chosen)
            kept.write_text(json.dumps(done, indent=1) + "\n")
    trials = list(done.values())
    columns = {
        "option": lambda row: row["option"],
        "mean AUROC": lambda row: "{:.3f} ± {:.3f}".format(*row["mean"]),
        "over plain (95 % interval)": lambda row: "{:+.3f} ({:+.3f} to {:+.3f})".format(*row["gain"]),
        "of two hospitals: Pneumonia": lambda row: f"{row['shared']:.3f}",
        "of one: the others": lambda row: f"{row['single']:.3f}",
        "labels filled": lambda row: f"{row['filled']:.0f}" if row["filled"] else "",
    }
    text = (
        f"{SIDE} px, {ARCHITECTURE}, {chosen.pretraining} steps of SimCLR, {chosen.steps} of AdamW 3e-4 with a cosine "
        f"and augmentation; {chosen.labelled} labelled images of each class in each hospital (or what there is), "
        f"each known for one class; {chosen.repeats} draws of split, pre-training, labels and seed. AUROC within each "
        "hospital on test patients, mean over its classes and hospitals, ± SD over draws; the interval is a paired t."
    )
    result = Result(chosen, "partial_labels", "What helps with partial labels", text, columns)
    cells = [name for name in trials[0]["plain"] if name != "filled"]
    shared = [name for name in cells if name.endswith("Pneumonia")]
    plain = np.array([np.nanmean([of["plain"][cell] for cell in cells]) for of in trials])
    for name in ARMS:
        values = np.array([np.nanmean([of[name][cell] for cell in cells]) for of in trials])
        gain = values - plain
        half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / len(gain) ** 0.5
        result.add(
            option=name,
            mean=[values.mean(), values.std(ddof=1)],
            gain=[gain.mean(), gain.mean() - half, gain.mean() + half],
            shared=np.nanmean([of[name][cell] for of in trials for cell in shared]),
            single=np.nanmean([of[name][cell] for of in trials for cell in cells if cell not in shared]),
            filled=np.mean([of[name]["filled"] for of in trials]),
        )
    result.facts["trials"] = trials
    result.write()
    kept.unlink()


if __name__ == "__main__":
    main()
