"""Volumes larger than the network's box: is the middle one enough, and how do several become one answer?

Head phantoms with five kinds of bleeding, whose volumes have four times the voxels of a box. One network a seed is
trained on random boxes, and its test split is judged by the middle box, and by the boxes that cover the volume, whose
logits are joined by their maximum and by their mean. `python benchmarks/several_boxes.py` writes
`results/several_boxes.json` and `.md`.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Result, parser

from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.phantoms import write_phantoms
from medssl.studies import BundleRun

SIZE, BOX = (64, 64, 32), [32, 32, 32]
SEEN: dict[str, dict[str, str]] = {
    "the middle box": {"boxes": "middle"},
    "boxes that cover it, mean of their logits": {"boxes": "several", "pooling": "mean"},
    "boxes that cover it, max of their logits": {"boxes": "several", "pooling": "max"},
}


def judged(folder: Path, seed: int, count: int, epochs: int) -> dict[str, dict[str, float]]:
    """AUROCs of the test split of new phantoms, by what the network sees of a volume."""
    table = write_phantoms(folder / "phantoms", "head", count, seed=seed, size=SIZE, progress=False)
    sources = [Source(images=folder / "phantoms" / "images", csv=table)]
    prepare(sources, folder / "data", spatial_dims=3, spacing=(-1, -1, -1), fractions=(0.5, 0.1, 0.4), seed=seed)
    training = {"epochs": epochs, "val_interval": epochs, "keep": "last", "rate_schedule": "cosine"}
    network = {"architecture": "resnet10_quarter", "image_size": BOX, "window": "brain", "learning_rate": 0.003}
    shared = {"data": folder / "data", "output_dir": folder / "run", "workers": 0, "seed": seed, "batch_size": 16}
    BundleRun("finetune", {**shared, **network, **training}).run()
    found = {}
    for name, options in SEEN.items():
        run = BundleRun("finetune", {**shared, **options, "resamples": 0}, "evaluate")
        run.run()
        figures = run.figures("test")
        found[name] = {"mAUROC": figures["mAUROC"], **figures["per_class"]}
    return found


def main() -> None:
    options = parser(__doc__, 3)
    options.add_argument("--count", type=int, default=200)
    options.add_argument("--epochs", type=int, default=50)
    chosen = options.parse_args()
    runs = []
    for seed in range(chosen.repeats):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(judged(Path(folder), seed, chosen.count, chosen.epochs))
    classes = list(next(iter(runs[0].values())))

    def cell(row: Any, name: str) -> str:
        return "{:.3f} ± {:.3f}".format(*row[name])

    columns = {"seen of a volume": lambda row: row["seen"]}
    columns |= {name: lambda row, name=name: cell(row, name) for name in classes}
    text = (
        f"AUROC on test, mean ± SD over {chosen.repeats} sets of {chosen.count} head phantoms of {SIZE}, half of them "
        f"to train on in random boxes of {BOX}, a ResNet-10 with a quarter of the channels, {chosen.epochs} epochs."
    )
    result = Result(chosen, "several_boxes", "What is seen of a volume that is larger than the box", text, columns)
    for name in SEEN:
        of_class = {key: np.array([run[name][key] for run in runs], dtype=float) for key in classes}
        result.add(seen=name, **{key: [values.mean(), values.std(ddof=1)] for key, values in of_class.items()})
    middle, *others = (np.array([run[name]["mAUROC"] for run in runs]) for name in SEEN)
    for name, values in zip(list(SEEN)[1:], others, strict=True):
        gains = values - middle
        result.notes.append(f"mAUROC over the middle box's, {name}: {gains.mean():+.3f} ± {gains.std(ddof=1):.3f}.")
    result.write()


if __name__ == "__main__":
    main()
