"""Are the phantoms a fair test? A linear model on the pixels must stay well below a trained network.

If logistic regression could read the findings from single pixels, nothing would be learnt about a backbone by training
it on phantoms. This measures, on patients not seen in training, the AUROC of

- logistic regression on a coarse thumbnail (8 x 8 or 8 x 8 x 8),
- logistic regression on all pixels, through their principal components,
- a small convolutional network, trained with all labels and without flips,

for chest radiographs and head CTs. `python benchmarks/phantom_shortcut.py` writes `results/phantom_shortcut.json` and
`.md` beside this file; it takes a
quarter of an hour on two idle cores. Times are processor seconds, so that a busy machine does not falsify them.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from multiprocessing import Pool
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from environment import environment
from monai.networks.nets import ResNet
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from medssl.phantoms import CHEST_FINDINGS, HEAD_FINDINGS
from medssl.phantoms.write import Study, draw_study, studies

RESULTS = Path(__file__).parent / "results"
Kind = Literal["chest", "head"]
LABELS = {"chest": CHEST_FINDINGS, "head": HEAD_FINDINGS}


@dataclass
class Split:
    """Images [N, *spatial], roughly -1..1, and labels [N, classes] of patients in this split only."""

    images: np.ndarray
    labels: np.ndarray


def _draw(job: tuple[Kind, Study, int, tuple[int, ...]]) -> np.ndarray:
    kind, study, seed, size = job
    image = draw_study(kind, study, seed, size)
    if kind == "head":
        # the brain window, as a radiologist would set it; in full HU the skull drowns everything
        return (np.clip(image, -20, 120).astype(np.float32) / 50 - 1).astype(np.float16)
    return (2 * image.astype(np.float32) - 1).astype(np.float16)


def make_splits(
    kind: Kind, train: int, test: int, size: tuple[int, ...], seed: int, workers: int
) -> tuple[Split, Split]:
    """Draw phantoms; the first patients train, the patients after them test."""
    chosen = list(islice(studies(kind, seed), train + test + 4))
    border = next(i for i in range(train, len(chosen)) if chosen[i].patient != chosen[i - 1].patient)
    with Pool(workers) as pool:
        images = np.stack(list(pool.imap(_draw, [(kind, study, seed, size) for study in chosen], chunksize=16)))
    labels = np.array([[name in study.findings for name in LABELS[kind]] for study in chosen])
    return Split(images[:border], labels[:border]), Split(images[border:], labels[border:])


def aurocs(scores: np.ndarray, labels: np.ndarray) -> list[float]:
    """AUROC of each class."""
    return [float(roc_auc_score(labels[:, k], scores[:, k])) for k in range(labels.shape[1])]


def linear(train: np.ndarray, test: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Scores of one regularised logistic regression per class."""
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    columns = []
    for k in range(labels.shape[1]):
        model = LogisticRegression(C=strength, max_iter=500).fit(train, labels[:, k])
        columns.append(model.decision_function(test))
    return np.stack(columns, 1)


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Means over an 8 x 8 (x 8) grid, flattened."""
    tensor = torch.from_numpy(images.astype(np.float32))[:, None]
    pool = F.adaptive_avg_pool2d if images.ndim == 3 else F.adaptive_avg_pool3d
    return pool(tensor, 8).flatten(1).numpy()


def best_linear(train: np.ndarray, test: np.ndarray, split: Split, labels: np.ndarray) -> list[float]:
    """The best of three regularisations, chosen in favour of the linear model on the test set itself."""
    trials = [aurocs(linear(train, test, split.labels, strength), labels) for strength in (0.001, 0.01, 0.1)]
    return max(trials, key=np.mean)


def linear_on_thumbnails(train: Split, test: Split) -> list[float]:
    return best_linear(thumbnails(train.images), thumbnails(test.images), train, test.labels)


def linear_on_pixels(train: Split, test: Split) -> list[float]:
    """All pixels, each standardised, through 300 principal components."""
    flat, flat_test = (split.images.reshape(len(split.images), -1).astype(np.float32) for split in (train, test))
    mean, spread = flat.mean(0), flat.std(0) + 1e-3
    flat, flat_test = (flat - mean) / spread, (flat_test - mean) / spread
    reduce = PCA(min(300, len(flat) // 2), svd_solver="randomized", random_state=0).fit(flat)
    return best_linear(reduce.transform(flat), reduce.transform(flat_test), train, test.labels)


def build_network(dimensions: int, classes: int) -> nn.Module:
    """A narrow ResNet-18 for radiographs; in 3D five plain convolutions, which two cores can train in minutes."""
    if dimensions == 2:
        widths = [24, 48, 96, 160]
        # A small first stride, so that a nodule survives it.
        return ResNet(
            "basic", [2, 2, 2, 2], widths, spatial_dims=2, n_input_channels=1, num_classes=classes, no_max_pool=True
        )
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, 16, 2), (16, 32, 2), (32, 48, 1), (48, 64, 2), (64, 96, 1)):
        layers += [nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(96, classes))


def trained_network(train: Split, test: Split, epochs: int, seed: int = 0) -> list[float]:
    """Train with every label; the only augmentation is a shift by a few pixels and a change of contrast."""
    torch.manual_seed(seed)
    dimensions = train.images.ndim - 1
    network = build_network(dimensions, train.labels.shape[1])
    images, targets = torch.from_numpy(train.images), torch.from_numpy(train.labels.astype(np.float32))
    batch, reach = (32, 3) if dimensions == 2 else (16, 2)
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.02)
    steps = epochs * (len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    axes = tuple(range(2, 2 + dimensions))
    for epoch in range(epochs):
        network.train()
        for chosen in torch.randperm(len(images))[: len(images) // batch * batch].split(batch):
            inputs = images[chosen].float()[:, None]
            inputs = torch.roll(inputs, torch.randint(-reach, reach + 1, (dimensions,)).tolist(), axes)
            if dimensions == 2:
                inputs = inputs * (0.8 + 0.4 * torch.rand(batch, 1, 1, 1)) + 0.2 * torch.randn(batch, 1, 1, 1)
            loss = F.binary_cross_entropy_with_logits(network(inputs), targets[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"  epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)
    network.eval()
    with torch.no_grad():
        parts = torch.from_numpy(test.images).split(32)
        scores = torch.cat([network(part.float()[:, None]) for part in parts]).numpy()
    return aurocs(scores, test.labels)


def measure(kind: str, split: tuple[Split, Split], epochs: int) -> dict[str, dict[str, object]]:
    models: dict[str, Callable[[Split, Split], list[float]]] = {
        "linear, thumbnail": linear_on_thumbnails,
        "linear, all pixels": linear_on_pixels,
        "network": lambda train, test: trained_network(train, test, epochs),
    }
    figures: dict[str, dict[str, object]] = {}
    for name, model in models.items():
        started = time.process_time()
        values = model(*split)
        per_class = {label: round(value, 3) for label, value in zip(LABELS[kind], values, strict=True)}
        seconds = round(time.process_time() - started, 1)
        figures[name] = {"mAUROC": round(float(np.mean(values)), 3), "per_class": per_class, "cpu_seconds": seconds}
        print(kind, name, figures[name], flush=True)
    return figures


def drawing_time(kind: Kind, size: tuple[int, ...], count: int = 40) -> float:
    """Processor seconds for one phantom."""
    started = time.process_time()
    for study in islice(studies(kind, 99), count):
        draw_study(kind, study, 99, size)
    return (time.process_time() - started) / count


def as_markdown(report: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "# Can a linear model read the phantoms?",
        "",
        f"{report['machine']}; {versions}. AUROC on patients not seen in training.",
        "The regularisation of the linear models was chosen on the test set, in their favour.",
    ]
    for kind, result in report["kinds"].items():
        shape = " x ".join(map(str, result["size"]))
        names = list(result["models"])
        lines += ["", f"## {kind}: {result['train']} training and {result['test']} test images of {shape}", ""]
        lines += ["| | prevalence | " + " | ".join(names) + " |", "|---|" + "---|" * (len(names) + 1)]
        for label, share in result["prevalence"].items():
            cells = [f"{result['models'][name]['per_class'][label]:.2f}" for name in names]
            lines.append(f"| {label} | {share:.2f} | " + " | ".join(cells) + " |")
        cells = [f"**{result['models'][name]['mAUROC']:.2f}**" for name in names]
        lines.append("| **mean** | | " + " | ".join(cells) + " |")
        cells = [f"{result['models'][name]['cpu_seconds']:.0f}" for name in names]
        lines.append("| processor seconds | | " + " | ".join(cells) + " |")
        lines += ["", f"Drawing took {1000 * result['cpu_seconds_per_image']:.0f} ms of one core for an image."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=["chest", "head"], choices=["chest", "head"])
    parser.add_argument("--train", type=int, nargs=2, default=[2000, 1500], help="training images of chest and head")
    parser.add_argument("--test", type=int, default=600)
    parser.add_argument("--epochs", type=int, nargs=2, default=[15, 30], help="of chest and head")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    report: dict = {
        **environment(),
        "kinds": {},
    }
    earlier = arguments.output / "phantom_shortcut.json"
    if earlier.exists():  # a run of one kind keeps the other's figures
        report["kinds"] = json.loads(earlier.read_text())["kinds"]
    for kind in arguments.kinds:
        index, size = (0, (64, 64)) if kind == "chest" else (1, (48, 48, 24))
        train, test = make_splits(kind, arguments.train[index], arguments.test, size, arguments.seed, arguments.workers)
        report["kinds"][kind] = {
            "size": size,
            "train": len(train.images),
            "test": len(test.images),
            "prevalence": dict(zip(LABELS[kind], train.labels.mean(0).round(3).tolist(), strict=True)),
            "cpu_seconds_per_image": round(drawing_time(kind, size), 4),
            "models": measure(kind, (train, test), arguments.epochs[index]),
        }
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "phantom_shortcut.json").write_text(json.dumps(report, indent=2) + "\n")
        (arguments.output / "phantom_shortcut.md").write_text(as_markdown(report))


if __name__ == "__main__":
    main()
