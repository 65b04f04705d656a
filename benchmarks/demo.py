"""Does pre-training help on the phantoms, at a hospital never seen? The demo with other phantoms, labels and weights.

`python benchmarks/demo.py` repeats the demo ten times, each time with one seed of its own for phantoms, split, labelled
images, pre-training and fine-tuning, and writes `results/demo_chest.json` and `.md` beside this file; `--kind head` the
same in 3D. Repetitions that have ended are not repeated.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from environment import environment

from medssl.studies.demo import ARCHITECTURE, RECIPES, run_demo
from medssl.studies.hospital_table import WORDS
from medssl.studies.pretraining_gain import PRETRAINED

RESULTS = Path(__file__).parent / "results"
RIVALS = {arm: words for (arm, _), words in WORDS.items() if arm != PRETRAINED}
FINE_TUNED = next(words for (arm, _), words in WORDS.items() if arm == PRETRAINED)


def measured(kind: str, folder: Path, seed: int) -> dict[str, Any]:
    """One repetition: rows, minutes of training, and minutes of a processor for all of it."""
    path = folder / "measured.json"
    if not path.exists():
        started = time.process_time()
        results = run_demo(RECIPES[kind], folder, seeds=1, first_seed=seed)
        found = {"processor_minutes": (time.process_time() - started) / 60, **results}
        found["machine"] = environment()["machine"]
        path.write_text(json.dumps(found))
    return dict(json.loads(path.read_text()))


def over_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Place → row → mAUROC of each run, and of each class."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for run in runs:
        for row in run["rows"]:
            cell = found.setdefault(row["place"], {}).setdefault(row["row"], {"mAUROC": [], "per_class": {}})
            cell["mAUROC"] += row["mAUROC"]
            for name, values in row["per_class"].items():
                cell["per_class"].setdefault(name, []).extend(values or [np.nan])
    return found


def leads(rows: Mapping[str, Mapping[str, Any]]) -> tuple[np.ndarray, float]:
    """By how much fine-tuning from pre-trained weights is above the better of its rivals in each run; the spread.

    The spread is the largest of the three standard deviations over the runs.
    """
    values = {words: np.array(rows[words]["mAUROC"]) for words in (*RIVALS.values(), FINE_TUNED)}
    best = np.max([values[words] for words in RIVALS.values()], axis=0)
    return values[FINE_TUNED] - best, max(float(each.std(ddof=1)) for each in values.values())


def as_markdown(report: Mapping[str, Any]) -> str:
    runs, recipe, places = report["runs"], report["recipe"], over_runs(report["runs"])
    machines = "; ".join(f"{count} runs: {name}" for name, count in Counter(run["machine"] for run in runs).items())
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    minutes = (np.mean([run[name] for run in runs]) for name in ("minutes", "processor_minutes"))
    lines = [
        f"# RandIni against {runs[0]['task']} on {report['kind']} phantoms",
        "",
        f"{machines}; {versions}. A run took {next(minutes):.1f} minutes of training and evaluation beside "
        f"other work on the machine, {next(minutes):.1f} minutes of a processor with drawing and preparing.",
        f"Images of {' × '.join(map(str, recipe['size']))}: {told(recipe['hospitals'])}. {runs[0]['images']} labelled "
        f"images, {recipe['labelled_per_class']} for each class; {ARCHITECTURE}; pre-training with "
        f"{named(recipe['pretrain'])}; fine-tuning with {named(recipe['finetune'])}.",
        f"mAUROC on patients not seen before, all labels known; mean ± standard deviation over {len(runs)} runs, each "
        "with phantoms, split, labelled images and weights of its own.",
        "",
        "| mAUROC | " + " | ".join(places) + " |",
        "|---|" + "---|" * len(places),
        *(
            f"| {row} | " + " | ".join(spread(places[name][row]["mAUROC"]) for name in places) + " |"
            for row in WORDS.values()
        ),
    ]
    for place, rows in places.items():
        lead, wide = leads(rows)
        lines += [
            "",
            f"## {place[0].upper()}{place[1:]}",
            "",
            f"Pre-trained and fine-tuned, minus the better of RandIni and pixels: {spread(lead, '+')}; above it in "
            f"{(lead > 0).sum()} of {len(lead)} runs, by more than the spread ({wide:.3f}, the largest standard "
            f"deviation of the three) in {(lead > wide).sum()}.",
            "",
            "| | " + " | ".join(WORDS.values()) + " |",
            "|---|" + "---|" * len(WORDS),
        ]
        for name in rows[FINE_TUNED]["per_class"]:
            lines.append(
                f"| {name} | " + " | ".join(spread(rows[row]["per_class"][name]) for row in WORDS.values()) + " |"
            )
        lines += [
            f"| run {n} | " + " | ".join(f"{rows[row]['mAUROC'][n]:.3f}" for row in WORDS.values()) + " |"
            for n in range(len(lead))
        ]
    return "\n".join(lines) + "\n"


def told(hospitals: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{each['count']} of {each['name']} ({each['role']})" for each in hospitals)


def spread(values: Sequence[float] | np.ndarray, sign: str = "") -> str:
    return f"{np.mean(values):{sign}.3f} ± {np.std(values, ddof=1):.3f}"


def named(numbers: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in numbers.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(RECIPES), default="chest")
    parser.add_argument("--runs", type=Path, default=Path("demo") / "runs", help="where the runs are kept")
    parser.add_argument("--count", type=int, default=10, help="of the runs")
    arguments = parser.parse_args()
    folder = arguments.runs / arguments.kind
    runs = [measured(arguments.kind, folder / f"run{seed}", seed) for seed in range(arguments.count)]
    report = {**environment(), "kind": arguments.kind, "recipe": asdict(RECIPES[arguments.kind]), "runs": runs}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"demo_{arguments.kind}.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / f"demo_{arguments.kind}.md").write_text(as_markdown(report))


if __name__ == "__main__":
    main()
