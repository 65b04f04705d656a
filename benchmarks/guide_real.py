"""Does MT-ASSL's guide choose well on real radiographs? Its choice against the best one, and LCKA's beside it.

A case is a question and a first network; each other pre-trained network, and one with random weights, is a candidate.
The guide sees training patients alone. What a candidate is worth is the AUROC on test patients of a probe on both
networks' features, minus that on the first's. Networks are those that `tasks_real.py` left in `--backbones`.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import arms
import numpy as np
import torch
from arms import features
from radiographs import Trial, deal_radiographs, read
from real_trials import RANDOM, parser

from medssl.evaluation.logistic import feature_gains, linear_probe
from medssl.evaluation.partial_metrics import mean_of_defined, partial_auroc
from medssl.losses import linear_cka

TESTED_ON = {"tuberculosis": "within", "nih": "all", "pneumonia": "within"}
COLUMNS = ("trial", "question", "first", "candidate", "guide", "lcka", "gain")


def cases(trial: Trial, nets: dict[str, np.ndarray], question: str) -> list[list[object]]:
    """A row for each first network and candidate."""
    known, asked = trial.images, trial.questions[question]
    train, labels = trial.draw(question, 0)
    if len(train) > 1000:  # as many as the other questions have
        train, labels = train[::8], labels[::8]
    test = asked.tests[TESTED_ON[question]]
    truth = np.stack([known.column(name)[test] for name in asked.labels], axis=1)
    patients = list(known.patient[train])

    def judged(*names: str) -> float:
        seen = np.concatenate([nets[name] for name in names], axis=1)
        return float(mean_of_defined(partial_auroc(linear_probe(seen[train], labels, seen[test], patients), truth)))

    rows: list[list[object]] = []
    for first in nets:
        others = {name: seen[train] for name, seen in nets.items() if name != first}
        guides = feature_gains(nets[first][train], others, labels, patients)
        alone = judged(first)
        for name in others:
            alike = float(linear_cka(torch.from_numpy(nets[first][train]), torch.from_numpy(others[name])))
            rows.append([trial.seed, question, first, name, guides[name], alike, judged(first, name) - alone])
            print(*rows[-1], flush=True)
    return rows


def write_table(path: Path) -> Path:
    """Write `guide_real.md` from the CSV: of each case the best choice and what the guides lose."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "# The guide of MT-ASSL on real radiographs",
        "",
        "ResNet-10 of a quarter of the channels at 96 px. A case: a question, a first network; gains are on test "
        "patients, of a probe on both networks' features over one on the first's. Lost: the best candidate's gain "
        "minus that of the choice.",
        "",
        "| question | first | best candidate | its gain | by gain | lost | by LCKA | lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lost: dict[str, list[float]] = {"guide": [], "lcka": []}
    for case in dict.fromkeys((row["trial"], row["question"], row["first"]) for row in rows):
        here = [row for row in rows if (row["trial"], row["question"], row["first"]) == case]
        best = max(here, key=lambda row: float(row["gain"]))
        chosen = {
            "guide": max(here, key=lambda row: float(row["guide"])),
            "lcka": min(here, key=lambda row: float(row["lcka"])),
        }
        cells = []
        for name, row in chosen.items():
            lost[name].append(float(best["gain"]) - float(row["gain"]))
            cells += [row["candidate"], f"{lost[name][-1]:.3f}"]
        lines.append(
            f"| {case[1]} | {case[2]} | {best['candidate']} | {float(best['gain']):+.3f} | {' | '.join(cells)} |"
        )
    lines.append("")
    for name, losses in lost.items():
        within = sum(loss <= 0.005 for loss in losses)
        lines.append(
            f"- {'Gain' if name == 'guide' else 'LCKA'}: loses at most 0.005 in {within} of {len(losses)} cases, "
            f"{np.mean(losses):.3f} on average."
        )
    table = path.with_suffix(".md")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measure the first trial's networks, and write the table."""
    options = parser(__doc__ or "").parse_args(arguments)
    trial = deal_radiographs(read(options.images, 96), 0)
    images, device = trial.images.images, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wanted = np.unique(
        np.concatenate([part for each in trial.questions.values() for part in (each.training, *each.tests.values())])
    )
    nets = {}
    weights = {path.stem.split("-")[2]: path for path in sorted(options.backbones.glob("resnet10_quarter-96-*-0.pt"))}
    for name, path in {**weights, RANDOM: None}.items():
        state = None if path is None else torch.load(path, weights_only=True)
        known: arms.Weights | None = state
        values = features(images[wanted], "resnet10_quarter", known, 0, device)
        nets[name] = np.zeros((len(images), values.shape[1]), values.dtype)
        nets[name][wanted] = values
    path = options.output / "guide_real.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *(row for question in TESTED_ON for row in cases(trial, nets, question))])
    return write_table(path)


if __name__ == "__main__":
    main()
