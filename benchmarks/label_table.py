"""How long does a large table of labels take? CheXpert's size: 220 000 rows, 14 labels, blanks and -1.

Measured in a fresh process: reading the CSV, checking it (every cell, then the datalist's own rules while it is written
and read back), and splitting by patient, with the processor's seconds and the peak memory of the whole process. The
limit is 20 s and 1 GB together; on a busy machine the processor's seconds say what an idle one would need.
`python benchmarks/label_table.py` writes `results/label_table.json` and `.md` beside this file; it takes a minute.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from multiprocessing import Process
from pathlib import Path

import numpy as np

from medssl.data.tables import CHEXPERT_LABELS

RESULTS = Path(__file__).parent / "results"
SECONDS, MEGABYTES = 20, 1000


def draw_table(path: Path, rows: int, patients: int, seed: int) -> None:
    """A CSV in CheXpert's form: two thirds blank, the rest 1, 0 and -1, commoner findings and rarer ones."""
    random = np.random.default_rng(seed)
    states = np.array(["", "1.0", "0.0", "-1.0"])
    weights = [[0.65, share, 0.3 - share, 0.05] for share in np.linspace(0.01, 0.29, len(CHEXPERT_LABELS))]
    cells = np.stack([random.choice(states, rows, p=weight) for weight in weights], axis=1)
    lines = [f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(CHEXPERT_LABELS)}"]
    for row, (patient, line) in enumerate(zip(np.sort(random.integers(0, patients, rows)), cells, strict=True)):
        image = f"CheXpert-v1.0/train/patient{patient:05d}/study{row % 9 + 1}/view{row}_frontal.jpg"
        lines.append(f"{image},Female,68,Frontal,AP,{','.join(line)}")
    path.write_text("\n".join(lines) + "\n")


def measure(csv: Path) -> dict:
    """Wall and processor seconds of each step, and the peak memory in MB before the first and after each."""
    import resource  # here and not above: Windows has no such module

    from medssl.data import Datalist, merge_sources, read_table, split_patients, write_datalist

    def megabytes() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6

    steps: dict[str, dict[str, float]] = {}
    marks = [("", time.perf_counter(), time.process_time())]

    def step(name: str) -> None:
        marks.append((name, time.perf_counter(), time.process_time()))
        seconds, processor = (marks[-1][place] - marks[-2][place] for place in (1, 2))
        steps[name] = {"seconds": seconds, "processor_seconds": processor, "peak_megabytes": megabytes()}

    before = megabytes()
    table = merge_sources({"site": read_table(csv)})
    step("read and check")
    known = np.isfinite(table.values).any(axis=1)
    rows, values = table.rows[known], table.values[known]
    splits = split_patients(rows["patient"].to_list(), values)
    step("split by patient")
    items: dict[str, list] = {split: [] for split in np.unique(splits)}
    for split, image, patient, label in zip(splits, rows["image"], rows["patient"], values.tolist(), strict=True):
        items[split].append({"image": image, "patient": patient, "label": label})
    write_datalist(csv.with_suffix(".json"), table.labels, items)
    step("write the datalist")
    del items
    Datalist.read(csv.with_suffix(".json")).items("training", check_files=False)
    step("read the datalist")
    shares = {split: round(float((splits == split).mean()), 4) for split in ("training", "validation", "test")}
    drift = 0.0  # the largest difference between a label's share in a split and the wanted one
    for split, share in (("training", 0.7), ("validation", 0.1), ("test", 0.2)):
        for state in (values == 1, values == 0):
            drift = max(drift, float(np.abs(state[splits == split].sum(axis=0) / state.sum(axis=0) - share).max()))
    return {
        "rows": len(table.rows),
        "patients": int(rows["patient"].nunique()),
        "shares_of_images": shares,
        "largest_drift_of_a_label": drift,
        "peak_megabytes_before": before,
        "steps": steps,
    }


def as_markdown(report: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "# A large table of labels",
        "",
        f"{report['machine']}; {versions}.",
        f"{report['rows']} rows of {report['patients']} patients, {len(CHEXPERT_LABELS)} labels with blanks and -1; "
        "one fresh process, one thread.",
        "",
        "| step | seconds | processor seconds | peak memory so far, MB |",
        "|---|---|---|---|",
        f"| imports | | | {report['peak_megabytes_before']:.0f} |",
    ]
    for name, figures in report["steps"].items():
        cells = f"{figures['seconds']:.1f} | {figures['processor_seconds']:.1f} | {figures['peak_megabytes']:.0f}"
        lines.append(f"| {name} | {cells} |")
    lines += [
        f"| **together** | **{report['seconds']:.1f}** | **{report['processor_seconds']:.1f}** | "
        f"**{report['peak_megabytes']:.0f}** |",
        f"| limit | {SECONDS} | | {MEGABYTES} |",
        "",
        "Shares of the images, wanted 0.7, 0.1, 0.2: "
        + ", ".join(f"{split} {share}" for split, share in report["shares_of_images"].items())
        + ". The share of no label's positives or negatives is further from the wanted one than "
        f"{report['largest_drift_of_a_label']:.5f}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=220_000)
    parser.add_argument("--patients", type=int, default=64_540)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--measure", type=Path, metavar="CSV", help="only measure with this table, and print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        csv = Path(folder) / "train.csv"
        # In a process each: a process starts with the peak memory of the one that started it.
        drawing = Process(target=draw_table, args=(csv, arguments.rows, arguments.patients, arguments.seed))
        drawing.start()
        drawing.join()
        command = [sys.executable, __file__, "--measure", str(csv)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    from environment import environment  # here and not above: a process started later would count torch's memory

    report = {**environment(), **json.loads(answer.stdout)}
    steps = report["steps"].values()
    report["seconds"] = sum(step["seconds"] for step in steps)
    report["processor_seconds"] = sum(step["processor_seconds"] for step in steps)
    report["peak_megabytes"] = max(step["peak_megabytes"] for step in steps)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "label_table.json").write_text(json.dumps(report, indent=2) + "\n")
    (arguments.output / "label_table.md").write_text(as_markdown(report))
    print(as_markdown(report))


if __name__ == "__main__":
    main()
