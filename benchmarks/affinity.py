"""Which guide tells beforehand what a pretext task will be worth, proxy or gradient task affinity?

Radiographs of ChestX-ray14 get partial labels as in Dong et al. 2024. Four tasks are pre-trained with one seed, so from
the same random weights; half-way and at the end each is fine-tuned with several seeds, and so are these weights. Then
`python -m medssl affinity` holds both guides, measured on validation, beside the gain on the test split.
`python benchmarks/affinity.py --images FOLDER --csv Data_Entry_2017.csv [--unlabeled FOLDER]` writes
`results/affinity.json`, `.md` and `.png`; runs that have ended in `--output` are not repeated.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from environment import environment
from three_hospitals import medssl

from medssl.data import Datalist, label_counts
from medssl.runs import BACKBONES, kept_file
from medssl.studies import BundleRun
from medssl.studies.affinity import agreement, run_affinity
from medssl.studies.affinity.guides import GUIDES
from medssl.studies.affinity.results import cells
from medssl.studies.trainings import Training, run_trainings

RESULTS = Path(__file__).parent / "results"
TASKS = ("rotation", "mim", "simclr", "src")
BACKBONE = "resnet10_quarter"
BATCH = 32
LABELS = ("Infiltration", "Atelectasis", "Edema", "Effusion")
"""Not Pneumonia, whose images were picked apart from the others and give themselves away."""
LIMITS = (
    "What it does not say: that it would be so with other images, tasks, networks or seeds. Epochs of one run are not "
    "independent, so p is too small. One seed of pre-training, a small network, small images and 160 labelled ones; "
    "the gains are about as large as the spread between the seeds of fine-tuning."
)
HEAD = (
    "pre-training",
    "epoch",
    "LCP, validation",
    "proxy task affinity (95 % interval)",
    "gradient task affinity ± SE",
    "fine-tuned, test",
    "gain over RandIni",
)


def trainings(data: Path, output: Path, options: argparse.Namespace) -> list[list[Training]]:
    """For each task its pre-training, and the fine-tunings that begin with what it kept."""
    numbers = {"architecture": BACKBONE, "learning_rate": 0.001, "batch_size": BATCH}
    shared = {"data": data, "workers": 0, "resume": True, **numbers}
    chains = []
    for task in TASKS:
        folder, middle = output / task, options.epochs // 2
        kept = {"epochs": options.epochs, "keep_every": middle, "probe_every": 0, "output_dir": folder}
        chain = [Training(f"Pre-training on {task}", [BundleRun("pretrain", {**shared, "tasks": task, **kept})])]
        for epoch in (*([0] if task == TASKS[0] else []), middle, options.epochs):
            for seed in range(options.seeds):
                start = folder / BACKBONES / kept_file(epoch)
                run = {"seed": seed, "pretrained": start, "output_dir": finetuned(output, task, epoch, seed)}
                train = BundleRun("finetune", {**shared, **run, "epochs": options.finetune_epochs})
                what = f"Fine-tuning from epoch {epoch} of {task}, seed {seed}"
                chain.append(Training(what, [train, train.evaluation()]))
        chains.append(chain)
    return chains


def finetuned(output: Path, task: str, epoch: int, seed: int) -> Path:
    """Folder of a fine-tuning."""
    return output / f"finetune_{task}_epoch{epoch}_seed{seed}"


def spread(output: Path, run: str, epoch: int, seeds: int) -> str:
    """The fine-tuned results of each seed, on the test split."""
    folders = [finetuned(output, run, epoch, seed) for seed in range(seeds)]
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in folders if folder.exists()]
    return ", ".join(f"{content['splits']['test']['mAUROC']:.3f}" for content in metrics)


def known(datalist: Datalist, split: str) -> str:
    """How many images of a split are labelled, and for what."""
    items = datalist.items(split)
    positive, negative = label_counts(np.array([item["label"] for item in items]))
    counts = [f"{name} {p}/{n}" for name, p, n in zip(LABELS, positive, negative, strict=True)]
    return f"{split} {len(items)} images ({', '.join(counts)})"


def as_markdown(report: dict[str, Any], affinities: pd.DataFrame, output: Path) -> str:
    settings, seeds = report["settings"], report["settings"]["seeds"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "# Task affinity as a guide to the pretext task",
        "",
        f"{report['machine']}; {versions}. {report['minutes']} minutes of training.",
        f"ChestX-ray14 at {settings['size']} × {settings['size']}, {BACKBONE}; known positive/negative: "
        + "; ".join(report["known"])
        + f". Pre-training {settings['epochs']} epochs on {report['images']} images, one seed; fine-tuning "
        f"{settings['finetune_epochs']} epochs, the best by validation, mean of {seeds} seeds. Guides: on "
        f"validation; gradients: over {settings['batches']} batches of {BATCH}. Epoch 0 is the RandIni that all tasks "
        "began with.",
        "",
        f"| {' | '.join(HEAD)} | each seed |",
        "|---" * (len(HEAD) + 1) + "|",
    ]
    for each in affinities.itertuples():
        seeded = spread(output, each.run, each.epoch, seeds)
        lines.append(f"| {' | '.join([each.run, *cells(each), seeded])} |")
    lines += [
        "",
        "| guide | fine-tuned epochs | Kendall's τ with the gain | p | gain of its first choice | largest gain |",
    ]
    lines.append("|---" * 6 + "|")
    last = affinities[affinities["epoch"] == affinities["epoch"].max()]
    for name, points in (("", affinities), (", last epochs only", last)):
        for guide, words in GUIDES.items():
            found = agreement(points, guide)
            figures = (found.tau, found.p, found.chosen, found.best)
            row = ["" if figure is None else f"{figure:+.3f}" for figure in figures]
            lines.append(f"| {words}{name} | {found.points} | {' | '.join(row)} |")
    lines += ["", "![The same as a picture](affinity.png)", "", said(affinities), "", LIMITS]
    return "\n".join(lines) + "\n"


def said(affinities: pd.DataFrame) -> str:
    """What the figures come to, in words."""
    found = {words: agreement(affinities, guide) for guide, words in GUIDES.items()}
    taus = [f"the {words} agrees by τ {each.tau:+.2f}" for words, each in found.items() if each.tau is not None]
    measured = affinities[affinities["epoch"] > 0]
    clear = ((measured["proxy_low"] > 0) | (measured["proxy_high"] < 0)).sum()
    return (
        f"What it says: with the order of the gains {', '.join(taus)}. {clear} of {len(measured)} proxy affinities "
        "have an interval that leaves out 0, so single values of a validation split of this size tell little."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--unlabeled", type=Path, nargs="*", default=[])
    parser.add_argument("--output", type=Path, default=Path("affinity"))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--labelled-per-class", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=20, help="of pre-training")
    parser.add_argument("--finetune-epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3, help="of fine-tuning")
    parser.add_argument("--batches", type=int, default=16, help="that the gradient affinity is averaged over")
    options = parser.parse_args()
    output, data = options.output, options.output / "data"
    more = ["--unlabeled", *options.unlabeled] if options.unlabeled else []
    medssl(
        *["prepare", data, "--images", options.images, "--csv", options.csv, *more, "--labels", *LABELS],
        *["--size", options.size, "--fractions", 0.5, 0.2, 0.3],
        *["--labelled-per-class", options.labelled_per_class, "--full-test"],
    )
    datalist = Datalist.read(data)
    chains = trainings(data, output, options)
    run_trainings(chains, lambda what, run: print(f"\n{what}\n  {run.command()}", flush=True))
    folders = [training.folder for chain in chains for training in chain]
    affinities = run_affinity(folders, data, output / "study", batches=options.batches)
    settings = {
        name: getattr(options, name)
        for name in ("size", "labelled_per_class", "epochs", "finetune_epochs", "seeds", "batches")
    }
    report = {
        **environment(),
        "settings": settings,
        "known": [known(datalist, split) for split in ("training", "validation", "test")],
        "images": len(datalist.items("pretrain")),
        "minutes": round(sum(training.seconds for chain in chains for training in chain) / 60, 1),
        "affinities": json.loads(affinities.to_json(orient="records", double_precision=15)),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "affinity.json").write_text(json.dumps(report, indent=2) + "\n")
    (RESULTS / "affinity.md").write_text(as_markdown(report, affinities, output))
    shutil.copy(output / "study" / "affinity.png", RESULTS / "affinity.png")


if __name__ == "__main__":
    main()
