"""Does pre-training help on the phantoms? The demo's comparison, kept with the machine it ran on.

`python benchmarks/demo.py` writes `results/demo_chest.json` and `.md` beside this file; `--kind head` the same in 3D.
Runs that `make demo` has ended already are not repeated.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from environment import environment

from medssl.studies.demo import ARCHITECTURE, RECIPES, run_demo
from medssl.studies.pretraining_gain import PRETRAINED, RANDINI, format_cell

RESULTS = Path(__file__).parent / "results"
COLUMNS = (RANDINI, PRETRAINED, "difference")


def as_markdown(report: dict[str, Any]) -> str:
    recipe, seeds = report["recipe"], len(report["seeds"][RANDINI])
    size = " × ".join(map(str, recipe["size"]))
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        f"# RandIni against {report['task']} on {report['kind']} phantoms",
        "",
        f"{report['machine']}; {versions}. {report['minutes']} minutes of training and evaluation.",
        f"{recipe['count']} images of {size}, {recipe['labelled_per_class']} labelled for each class, {ARCHITECTURE}, "
        f"pre-training with {named(recipe['pretrain'])}, fine-tuning with {named(recipe['finetune'])}. AUROC "
        "on the test split (patients not seen before, all labels known), mean ± standard deviation over "
        f"{seeds} seeds; the difference is paired by seed.",
        "",
        "| | " + " | ".join(COLUMNS) + " |",
        "|---|" + "---|" * len(COLUMNS),
    ]
    for row in report["summary"]:
        cells = [format_cell(row[column], column) for column in COLUMNS]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def named(numbers: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in numbers.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(RECIPES), default="chest")
    parser.add_argument("--runs", type=Path, default=Path("demo"), help="where `make demo` keeps its runs")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    report = {**environment(), **run_demo(RECIPES[arguments.kind], arguments.runs / arguments.kind, arguments.seeds)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"demo_{arguments.kind}.json").write_text(json.dumps(report, indent=2) + "\n")
    (RESULTS / f"demo_{arguments.kind}.md").write_text(as_markdown(report))


if __name__ == "__main__":
    main()
