"""A linear probe on features computed once, beside one that runs the frozen backbone anew in each epoch.

Both train the same linear layer with the same mini-batches, as `fit_linear_layer` does, and end with the same weights.
The time of both is linear in the epochs; the last column extends the medians to the 300 epochs of
`configs/linear_probe.yaml`. `python benchmarks/linear_probe_cost.py` writes `results/linear_probe_cost.json`
and `.md`; one minute on two cores.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measuring import DEVICE, Result, compare, parser, ratio_cell, take_turns
from torch import Tensor, nn

from medssl.losses import partial_bce
from medssl.networks import build_classifier, classifier_features
from medssl.phantoms.batch import draw_batch
from medssl.training import fit_linear_layer

SHAPES = {"cpu": (((64, 64), 64), ((32, 32, 32), 32)), "cuda": (((224, 224), 512), ((96, 96, 64), 64))}
BATCH, CLASSES, ALL_EPOCHS = 16, 11, 300
SAME = 1e-3


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    ones = torch.ones(CLASSES, device=logits.device)
    return partial_bce(logits, labels, ones, ones)


def features(network: nn.Module, images: Tensor) -> Tensor:
    """What the linear layer sees of each image."""
    with torch.no_grad():
        return torch.cat([classifier_features(network, part) for part in images.split(BATCH)])


def once(network: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> nn.Linear:
    """The features first, then the layer."""
    return fit_linear_layer(features(network, images), labels, loss, 0, epochs, batch_size=BATCH)


class Anew:
    """Stands for the features: whatever rows are asked for, the backbone runs on their images."""

    def __init__(self, network: nn.Module, images: Tensor, width: int) -> None:
        self.network, self.images = network, images
        self.shape, self.device = (len(images), width), images.device

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return features(self.network, self.images[rows])


def anew(network: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> nn.Linear:
    """The backbone in every step."""
    width = features(network, images[:1]).shape[1]
    rows: Any = Anew(network, images, width)
    return fit_linear_layer(rows, labels, loss, 0, epochs, batch_size=BATCH)


def main() -> None:
    options = parser(__doc__, 5)
    options.add_argument("--epochs", type=int, default=5)
    chosen = options.parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "images": lambda row: row["images"],
        "way": lambda row: row["way"],
        f"s for {chosen.epochs} epochs": lambda row: f"{row['milliseconds'] / 1000:.2f}",
        "times (quartiles)": ratio_cell,
        f"times over {ALL_EPOCHS} epochs": lambda row: f"{row['extended']:.0f}",
    }
    text = f"ResNet-18, mini-batches of {BATCH}; {chosen.repeats} turns, medians. Both layers have the same weights."
    result = Result(chosen, "linear_probe_cost", "A linear probe on features computed once", text, columns)
    for size, count in SHAPES[DEVICE.type]:
        torch.manual_seed(0)
        network = build_classifier("resnet18", len(size), 1, CLASSES).to(DEVICE).eval()
        images = draw_batch(size, count).to(DEVICE)
        labels = (torch.rand(count, CLASSES) < 0.3).float().to(DEVICE)
        arguments = (network, images, labels)
        layers = [way(*arguments, chosen.epochs) for way in (once, anew)]
        torch.testing.assert_close(layers[1].weight, layers[0].weight, rtol=SAME, atol=SAME)
        seen = features(network, images)
        steps = {
            "features once": partial(once, *arguments, chosen.epochs),
            "backbone in each epoch": partial(anew, *arguments, chosen.epochs),
            "features": partial(features, network, images),
            "layer": partial(fit_linear_layer, seen, labels, loss, 0, chosen.epochs, batch_size=BATCH),
        }
        times = take_turns(steps, chosen.repeats)
        rows = {name: compare(times[name], times["features once"]) for name in steps}
        extraction, layer = (rows.pop(part)["milliseconds"] for part in ("features", "layer"))
        whole = extraction + layer * ALL_EPOCHS / chosen.epochs
        for name, row in rows.items():
            extended = row["milliseconds"] * ALL_EPOCHS / chosen.epochs / whole if name != "features once" else 1.0
            shape = f"{count} of {'×'.join(map(str, size))}"
            result.add(images=shape, way=name, **row, extended=extended)


if __name__ == "__main__":
    main()
