"""The whole path on real radiographs: three hospitals that annotated different findings, one model, one report.

Images of ChestX-ray14 are dealt to three hospitals by patient, and the CSV of each keeps only the findings that it
"annotated". `prepare` merges the three CSVs, a backbone is pre-trained on all images, and fine-tuning with and without
it is evaluated on the test split and reported. Each step is a command of README, which is printed.
`python benchmarks/three_hospitals.py --images FOLDER --csv Data_Entry_2017.csv [--unlabeled FOLDER]` writes
`results/three_hospitals.json` and `.md`, and all runs with their page into `--output`; ten minutes on two cores with
688 images.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from environment import environment

from medssl.data import Datalist
from medssl.studies import BundleRun

RESULTS = Path(__file__).parent / "results"
HOSPITALS = {
    "north": ["Pneumonia", "Effusion", "Consolidation"],
    "centre": ["Infiltration", "Atelectasis", "Edema"],
    "south": ["Pneumonia", "Infiltration", "Edema", "Effusion"],
}
BASELINES = {"pixels": "logistic regression on 8×8 pixels", "untrained": "probe of the untrained backbone"}


def write_tables(csv: Path, folder: Path) -> list[Path]:
    """A CSV for each hospital, with its own patients and findings."""
    table = pd.read_csv(csv)
    patients = table["Patient ID"].unique()
    dealt = dict(zip(patients, np.random.default_rng(0).integers(len(HOSPITALS), size=len(patients)), strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (name, findings) in enumerate(HOSPITALS.items()):
        own = table[table["Patient ID"].map(dealt) == number]
        rows = pd.DataFrame({"image": own["Image Index"], "patient": own["Patient ID"]})
        for finding in findings:
            rows[finding] = [int(finding in cell.split("|")) for cell in own["Finding Labels"]]
        paths.append(folder / f"{name}.csv")
        rows.to_csv(paths[-1], index=False)
    return paths


def medssl(*words: object) -> None:
    """Run a command of the command line, and show it."""
    print("\npython -m medssl", *words, flush=True)
    subprocess.run([sys.executable, "-m", "medssl", *map(str, words)], check=True)


def bundle(run: BundleRun) -> None:
    """Run a bundle in this process, and show the command that does the same."""
    print(f"\n{run.command()}", flush=True)
    run.run()


def train(data: Path, output: Path, task: str, epochs: int) -> dict[str, Path]:
    """Pre-train, then fine-tune and evaluate from random weights and from the backbone; the runs by name."""
    shared = {"data": data, "architecture": "resnet18", "learning_rate": 0.001, "epochs": epochs, "workers": 0}
    bundle(BundleRun("pretrain", {**shared, "output_dir": output / "pretrain", "tasks": task}))
    arms = {
        "RandIni": {"output_dir": output / "randini"},
        f"pre-trained on {task}": {"output_dir": output / "pretrained", "pretrained": output / "pretrain"},
    }
    for values in arms.values():
        run = BundleRun("finetune", {**shared, **values})
        bundle(run)
        bundle(run.evaluation())
    return {name: values["output_dir"] for name, values in arms.items()}


def cell(triple: list[float] | None) -> str:
    """A figure with its interval."""
    return "undefined" if triple is None else "{:.2f} ({:.2f} to {:.2f})".format(*triple)


def table(figures: dict[str, Any], labels: list[str]) -> list[str]:
    """The figures of the runs and of the trivial baselines, as Markdown."""
    first = next(iter(figures.values()))
    columns = {name: (run["mAUROC"], run["mAUROC_interval"], run["classes"]) for name, run in figures.items()}
    lines = [f"| AUROC on test | known +/− | {' | '.join([*columns, *BASELINES.values()])} |"]
    lines.append("|---" * (2 + len(columns) + len(BASELINES)) + "|")
    means = [cell([mean, *interval]) for mean, interval, _ in columns.values()]
    means += [cell(first["baselines"][name]["mAUROC"]) for name in BASELINES]
    lines.append(f"| mAUROC | | {' | '.join(means)} |")
    for label in labels:
        known = first["known"][label]
        cells = [cell(classes[label]["auroc"]) for _, _, classes in columns.values()]
        values = [first["baselines"][name]["per_class"][label] for name in BASELINES]
        cells += ["undefined" if value is None else f"{value:.2f}" for value in values]
        lines.append(f"| {label} | {known['positive']}/{known['negative']} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--unlabeled", type=Path, nargs="*", default=[])
    parser.add_argument("--output", type=Path, default=Path("three_hospitals"))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--task", default="sc_assl")
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    tables = write_tables(options.csv, options.output / "tables")
    data = options.output / "data"
    more = ["--unlabeled", *options.unlabeled] if options.unlabeled else []
    medssl(
        "prepare", data, "--images", *[options.images] * len(tables), "--csv", *tables, "--size", options.size, *more
    )
    runs = train(data, options.output, options.task, options.epochs)
    medssl("report", *runs.values(), options.output / "pretrain", "--output", options.output / "report")
    figures = {name: json.loads((run / "metrics.json").read_text())["splits"]["test"] for name, run in runs.items()}
    settings = {"size": options.size, "task": options.task, "epochs": options.epochs, "hospitals": HOSPITALS}
    labels = Datalist.read(data).labels
    lines = [
        "# Three hospitals, three sets of findings, one model\n",
        f"ChestX-ray14 images at {options.size} × {options.size}, dealt to three hospitals by patient; "
        + "; ".join(f"{name} annotated {', '.join(findings)}" for name, findings in HOSPITALS.items())
        + f". ResNet-18, {options.epochs} epochs of {options.task}, {options.epochs} of fine-tuning, ONE seed; 95 % "
        "bootstrap intervals over patients. The images of Pneumonia and No Finding were picked separately, so a figure "
        "means something only beside the two trivial ones.\n",
        *table(figures, labels),
    ]
    text = "\n".join(lines) + "\n"
    print(f"\n{text}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "three_hospitals.md").write_text(text)
    results = {**environment(), "settings": settings, "figures": figures}
    (RESULTS / "three_hospitals.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
