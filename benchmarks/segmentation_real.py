"""What does a segmentation reach on real images, with few cases and all, from random and pre-trained weights?

Three sets: the hippocampus on MR, outlined as two classes; soft-tissue sarcomas on CT; lungs on radiographs of two
hospitals, which outline them differently and so are two classes. Patients of the test are seen by no training, not even
a pre-training. `DATA` is a folder with `mr_seg`, `ct_seg`, `cxr_seg` and `cxr_pool`. Rows are appended to
`results/segmentation_real.csv`, one for each training, and `.md` is written from them; what is there is not repeated.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from environment import environment

from medssl.data import Datalist, Source, write_datalist
from medssl.data.prepare import prepare
from medssl.evaluation.masks.baselines import MASK_BASELINES
from medssl.runs import Run
from medssl.studies import BundleRun

RESULTS = Path(__file__).parent / "results"
RANDOM, PARTIAL = "random weights", "random weights, each hospital one class"


@dataclass(frozen=True)
class Images:
    """A set of real images: where its parts are, what its masks say, how it is prepared and pre-trained."""

    sources: Mapping[str, Mapping[str, Any]]
    pool: str = ""
    """Further images to pre-train on."""
    prepared: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    pretraining: Mapping[str, Any] = field(default_factory=dict)


SETS = {
    "hippocampus": Images(
        {"msd": {"images": "mr_seg/msd_hippocampus", "mask_labels": {1: "anterior", 2: "posterior"}}},
        prepared={"spatial_dims": 3, "modality": "MR"},
        training={"batch_size": 4},
        pretraining={"batch_size": 16},
    ),
    "sarcoma": Images(
        {"sts": {"images": "ct_seg/sts_gtv", "mask_labels": {1: "tumour"}}},
        prepared={"spatial_dims": 3, "modality": "CT", "crop": (64, 64, 32)},
        training={"batch_size": 2},  # nnU-Net's
        pretraining={"batch_size": 16},
    ),
    "lungs": Images(
        {
            "shenzhen": {"images": "cxr_pool/shenzhen_tb", "masks": "cxr_seg/shenzhen_lungs", "label": "without_heart"},
            "ieee": {"images": "cxr_pool/ieee_covid", "masks": "cxr_seg/ieee_lungs", "label": "with_heart"},
        },
        "cxr_pool/kermany",
        {"size": (128, 128)},
        {"batch_size": 16},
        {"batch_size": 64},
    ),
}
ARMS: dict[str, dict[str, Any]] = {
    "simclr": {"simclr": {"temperature": 0.2}},
    "models_genesis": {"models_genesis": {"decoder": "pyramid"}},
}


def prepared(data: Path, folder: Path, name: str) -> Path:
    """The whole set as `medssl prepare` makes it."""
    images, sources = SETS[name], []
    for source, parts in images.sources.items():
        base = data / parts["images"]
        masks = data / parts["masks"] / "masks" if "masks" in parts else base / "labels"
        labels = parts.get("mask_labels") or {255: parts["label"]}
        sources.append(Source(images=base / "images", masks=masks, mask_labels=labels, name=source))
    if images.pool:
        sources.append(Source(images=data / images.pool / "images"))
    if not (folder / "datalist.json").exists():
        prepare(sources, folder, seed=0, **images.prepared)
    return folder


def fewer(whole: Path, cases: int, shared_out: bool = False) -> Path:
    """The datalist with so many outlined cases of each source in training (0: all); test and validation stay.

    With ``shared_out`` every other case keeps the first class alone, the rest the second one, as two hospitals would.
    """
    datalist = Datalist.read(whole)
    splits = {name: [dict(item) for item in datalist.content[name]] for name in ("training", "validation", "test")}
    chosen: list[dict[str, Any]] = []
    for source in dict.fromkeys(item["source"] for item in splits["training"]):
        items = [item for item in splits["training"] if item["source"] == source and "mask" in item]
        random.Random(0).shuffle(items)
        chosen += items[: cases or None]
    if shared_out:
        for number, item in enumerate(chosen):
            item["outlined"] = [datalist.classes[number % 2]]
    path = whole / f"cases_{cases}{'_shared' if shared_out else ''}.json"
    write_datalist(path, [], {**splits, "training": chosen}, classes=datalist.classes)
    return path


def jobs(sets: Sequence[str], cases: Sequence[int], arms: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """Every training: set, cases, arm."""
    for name in sets:
        for count in cases:
            for arm in arms:
                if arm != PARTIAL or name == "hippocampus":
                    yield name, count, arm


def measure(options: argparse.Namespace, name: str, count: int, arm: str) -> dict[str, Any]:
    """Train, evaluate, and say what came of it: a row."""
    started, folder = time.process_time(), options.work / name
    whole = prepared(options.data, folder / "data", name)
    shared = {"architecture": options.architecture, "workers": 0, "resume": True}
    chosen = fewer(whole, count, arm == PARTIAL)
    output = folder / f"{arm}_{count}_{options.steps}_{options.architecture}".replace(" ", "_").replace(",", "")
    training = {**shared, **SETS[name].training, "data": chosen, "output_dir": output, "steps": options.steps}
    if arm in ARMS:
        pretrained = folder / f"pretrain_{arm}_{options.architecture}"
        values = {"data": whole, "output_dir": pretrained, "tasks": ARMS[arm], "steps": options.pretraining_steps}
        BundleRun("pretrain", {**shared, **SETS[name].pretraining, **values}).run()
        training["pretrained"] = pretrained
    BundleRun("segment", {**training, "keep": "last", "val_interval": 10_000}).run()
    values = {"data": whole, "output_dir": output, "workers": 0, "trivial": arm == RANDOM, "pictures": 0}
    BundleRun("segment", values, "evaluate").run()
    found = Run.read(output).metrics["splits"]["test"]
    return {
        "set": name,
        "cases": len(Datalist.read(chosen).content["training"]),
        "arm": arm,
        "steps": options.steps,
        "architecture": options.architecture,
        "mDice": found["mDice"],
        "low": found["mDice_interval"][0],
        "high": found["mDice_interval"][1],
        "per_class": json.dumps(found["per_class"]),
        "trivial": json.dumps({what: each["mDice"][0] for what, each in found.get("baselines", {}).items()}),
        "images": found["images"],
        "minutes": round((time.process_time() - started) / 60, 1),
    }


def as_markdown(rows: pd.DataFrame) -> str:
    """A table for each set: a row for each arm and number of cases."""
    facts = environment()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = ["# Segmentation of real images", "", f"{facts['machine']}; {versions}."]
    lines += [
        "Mean Dice over the classes on patients of the test, 95 % interval by bootstrap over them; one training each."
    ]
    for name, of_set in rows.groupby("set", sort=False):
        classes = list(json.loads(of_set["per_class"].iloc[0]))
        count = of_set["images"].iloc[0]
        lines += ["", f"## {str(name).capitalize()}, {count} images in the test", ""]
        lines += ["| cases | from | steps | network | mean Dice | " + " | ".join(classes) + " | processor minutes |"]
        lines += ["|---" * (6 + len(classes)) + "|"]
        for row in of_set.sort_values(["steps", "architecture", "cases"], kind="stable").to_dict("records"):
            each = json.loads(row["per_class"])
            cells = [row["cases"], row["arm"], row["steps"], row["architecture"]]
            cells += [f"{row['mDice']:.3f} ({row['low']:.3f} to {row['high']:.3f})"]
            cells += [*(f"{each[label]:.3f}" for label in classes), row["minutes"]]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        trivial = [json.loads(each) for each in of_set["trivial"]]
        said = {what: value for each in trivial for what, value in each.items()}
        lines += [
            "",
            "Trivial: " + ", ".join(f"{MASK_BASELINES[what]} {value:.3f}" for what, value in said.items()) + ".",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("segmentation_real"), help="where runs are kept")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--cases", nargs="+", type=int, default=[10, 30, 0], help="outlined in training; 0: all")
    parser.add_argument("--arms", nargs="+", default=[RANDOM, PARTIAL, *ARMS])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--pretraining_steps", type=int, default=400)
    parser.add_argument("--architecture", default="resnet10_quarter")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    path = options.output / "segmentation_real.csv"
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame()
    for name, count, arm in jobs(options.sets, options.cases, options.arms):
        known = {"set": name, "arm": arm, "steps": options.steps, "architecture": options.architecture, "asked": count}
        if len(rows) and (rows[list(known)] == pd.Series(known)).all(axis=1).any():
            continue
        row = {"asked": count, **measure(options, name, count, arm)}
        rows = pd.concat([rows, pd.DataFrame([row])], ignore_index=True)
        rows.to_csv(path, index=False)
        path.with_suffix(".md").write_text(as_markdown(rows), encoding="utf-8")
        print(row, flush=True)


if __name__ == "__main__":
    main()
