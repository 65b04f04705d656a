"""Losses and metrics beside those of MONAI, lightly, scikit-learn, torchmetrics, and the loop over classes.

NT-Xent (forward and backward, and the memory that takes), binary cross-entropy with unknown labels (forward and
backward), and AUROC on 25 596 images × 14 classes (the test split of ChestX-ray14), all labels known and 30 % unknown.
Every value is compared with ours. torchxrayvision's package has neither a loss nor a metric: a loop over classes,
as one writes it by hand, stands for it. Peers are installed beside, not into, the package's environment:
`python -m venv .peers && .peers/bin/pip install -e . lightly torchmetrics`, then
`.peers/bin/python benchmarks/losses_and_metrics.py` writes `results/losses_and_metrics.json` and `.md`; two minutes on
two cores. Without them their rows say so.
"""

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measuring import DEVICE, Result, compare, in_fresh_process, parser, peak_megabytes, ratio_cell, take_turns
from monai.losses import ContrastiveLoss
from monai.metrics import compute_roc_auc
from sklearn.metrics import roc_auc_score
from torch import Tensor

from medssl.evaluation import partial_auroc
from medssl.losses import nt_xent, partial_bce

BATCHES = (64, 256, 512)
FEATURES = 128
TEMPERATURE = 0.5
LABELLED = ((64, 14), (4096, 14))
TEST_SPLIT = (25596, 14)
UNKNOWN = 0.3
OURS = "medssl"


def available(package: str) -> bool:
    """Whether a peer is installed."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def lightly_nt_xent() -> Callable[[Tensor, Tensor], Tensor]:
    """lightly's loss, which imports torchvision."""
    if not torch.version.cuda:
        # PyPI's torchvision is compiled for CUDA. Beside a torch without it, it imports only when these are declared.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from lightly.loss import NTXentLoss

    loss: Callable[[Tensor, Tensor], Tensor] = NTXentLoss(TEMPERATURE)
    return loss


def contrastive_losses() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """From two views ``[B, D]`` to the loss."""
    losses = {OURS: partial(nt_xent, temperature=TEMPERATURE), "MONAI": ContrastiveLoss(TEMPERATURE)}
    return losses | ({"lightly": lightly_nt_xent()} if available("lightly") else {})


def views(batch: int) -> list[Tensor]:
    """Two views of ``batch`` images."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, FEATURES, generator=generator).to(DEVICE).requires_grad_() for _ in range(2)]


def memory_of_step(name: str, batch: int) -> float:
    """MB that forward and backward take."""
    loss, (first, second) = contrastive_losses()[name], views(batch)
    loss(*views(2)).backward()
    return peak_megabytes(lambda: loss(first, second).backward())


def measure_nt_xent(result: Result) -> None:
    for batch in BATCHES:
        pair = views(batch)
        losses = contrastive_losses()
        values, gradients = {}, {}
        for name, loss in losses.items():
            values[name] = loss(*pair)
            gradients[name] = torch.autograd.grad(values[name], pair)
            torch.testing.assert_close(values[name], values[OURS], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(gradients[name], gradients[OURS], rtol=1e-3, atol=1e-6)
        steps = {name: partial(_backward, loss, pair) for name, loss in losses.items()}
        memory = {name: in_fresh_process(memory_of_step, name, batch) for name in losses}
        add_rows(result, f"NT-Xent, B = {batch}", steps, memory)


def _backward(loss: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    torch.autograd.grad(loss(*inputs), inputs)


def loop_over_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Each class over its known labels, the sum over the number of known ones."""
    losses = []
    for k in range(labels.shape[1]):
        known = ~torch.isnan(labels[:, k])
        if known.any():
            losses.append(F.binary_cross_entropy_with_logits(logits[known, k], labels[known, k], reduction="sum"))
    return torch.stack(losses).sum() / (~torch.isnan(labels)).sum()


def known_entries(logits: Tensor, labels: Tensor) -> Tensor:
    """The known entries taken out, as many a training script does."""
    known = ~torch.isnan(labels)
    return F.binary_cross_entropy_with_logits(logits[known], labels[known])


def draw_labels(images: int, classes: int, unknown: float) -> np.ndarray:
    """Common and rare findings, ``unknown`` of the entries NaN."""
    random = np.random.default_rng(0)
    labels = (random.random((images, classes)) < np.linspace(0.02, 0.4, classes)).astype(np.float64)
    labels[random.random(labels.shape) < unknown] = np.nan
    return labels


def measure_bce(result: Result) -> None:
    for images, classes in LABELLED:
        labels = torch.as_tensor(draw_labels(images, classes, UNKNOWN), dtype=torch.float32, device=DEVICE)
        logits = torch.randn(images, classes, generator=torch.Generator().manual_seed(0)).to(DEVICE).requires_grad_()
        ones = torch.ones(classes, device=DEVICE)
        losses: dict[str, Callable[[Tensor], Tensor]] = {
            OURS: lambda logits, labels=labels, ones=ones: partial_bce(logits, labels, ones, ones),
            "loop over classes": partial(loop_over_classes, labels=labels),
            "known entries taken out": partial(known_entries, labels=labels),
        }
        (ours,) = torch.autograd.grad(losses[OURS](logits), logits)
        for loss in losses.values():
            torch.testing.assert_close(loss(logits), losses[OURS](logits), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(torch.autograd.grad(loss(logits), logits)[0], ours, rtol=1e-4, atol=1e-8)
        steps = {name: partial(_backward, loss, [logits]) for name, loss in losses.items()}
        add_rows(result, f"binary cross-entropy, {images} × {classes}, {UNKNOWN:.0%} unknown", steps)


def auroc_of_each_class(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """scikit-learn's, over the known labels of each class."""
    known = ~np.isnan(labels)
    columns = zip(scores.T, labels.T, known.T, strict=True)
    return np.array([roc_auc_score(label[here], score[here]) for score, label, here in columns])


def monai_auroc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """MONAI's, which needs all labels."""
    return np.array(compute_roc_auc(torch.from_numpy(scores), torch.from_numpy(labels), average="none"))


def torchmetrics_auroc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """torchmetrics', at every threshold; it takes integers, with a number for what is unknown."""
    from torchmetrics.functional.classification import multilabel_auroc

    target = torch.from_numpy(np.nan_to_num(labels, nan=-1)).long()
    areas: Tensor = multilabel_auroc(torch.from_numpy(scores), target, labels.shape[1], average="none", ignore_index=-1)
    return areas.numpy()


def measure_auroc(result: Result) -> None:
    scores = np.random.default_rng(1).random(TEST_SPLIT).round(4)  # with ties
    for unknown in (0.0, UNKNOWN):
        labels = draw_labels(*TEST_SPLIT, unknown)
        measures = {OURS: partial_auroc, "scikit-learn, each class": auroc_of_each_class}
        measures |= {} if unknown else {"MONAI": monai_auroc}
        measures |= {"torchmetrics": torchmetrics_auroc} if available("torchmetrics") else {}
        for name, measure in measures.items():
            difference = np.abs(measure(scores, labels) - partial_auroc(scores, labels)).max()
            assert difference < 1e-5, (name, difference)
        steps = {name: partial(measure, scores, labels) for name, measure in measures.items()}
        add_rows(result, f"AUROC, {TEST_SPLIT[0]} × {TEST_SPLIT[1]}, {unknown:.0%} unknown", steps)


def add_rows(
    result: Result, what: str, steps: dict[str, Callable[[], Any]], memory: dict[str, float] | None = None
) -> None:
    """A row for each of the ways to compute the same."""
    times = take_turns(steps, result.options.repeats)
    for name in steps:
        megabytes = None if memory is None else memory[name]
        result.add(what=what, by=name, **compare(times[name], times[OURS]), megabytes=megabytes)


def main() -> None:
    options = parser(__doc__, 7).parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "what": lambda row: row["what"],
        "by": lambda row: row["by"],
        "ms": lambda row: f"{row['milliseconds']:.2f}",
        "times ours (quartiles)": ratio_cell,
        "MB": lambda row: "" if row["megabytes"] is None else f"{row['megabytes']:.0f}",
    }
    peers = {name: version(name) if available(name) else "not installed" for name in ("lightly", "torchmetrics")}
    text = (
        f"Peers: {', '.join(f'{name} {number}' for name, number in peers.items())}. {options.repeats} turns, medians; "
        f"the losses forward and backward, {FEATURES} features an image. All values and gradients agree. "
        "Bar: no other is faster."
    )
    result = Result(options, "losses_and_metrics", "Losses and metrics beside others", text, columns, {"peers": peers})
    measure_nt_xent(result)
    measure_bce(result)
    measure_auroc(result)
    faster = [f"{row['what']}: {row['by']} {row['ratio']:.2f}" for row in result.rows if row["ratio"] < 1]
    result.notes.append(f"Faster than ours: {'; '.join(faster) or 'none'}.")
    result.notes.append("MONAI's AUROC is NaN as soon as a label is unknown, so it has no row there.")
    result.write()


if __name__ == "__main__":
    main()
