"""Does one network learn from three hospitals what each of them outlined?

Heads with masks of skull, brain, ventricles and bleedings, dealt to three hospitals, each of which outlined other
classes. One network learns from these masks (`partial`), one from all masks of the same heads (`full`), and one takes
what was not outlined for background (`as background`); all see the same heads, for as many steps, and are judged on
patients that none has seen, on all classes. `python benchmarks/segmentation_phantoms.py` writes
`results/segmentation_phantoms.json` and `.md` beside this file.
"""

import tempfile
from pathlib import Path
from typing import Any

from measuring import Result, parser

from medssl.data import Datalist, read_sources, write_datalist
from medssl.data.prepare import prepare
from medssl.phantoms import HEAD_CLASSES, write_segmented_heads
from medssl.phantoms.segmented import HOSPITALS
from medssl.runs import Run
from medssl.studies import BundleRun

SIZE, BOX, WINDOW = (40, 40, 28), [40, 40, 28], [-20.0, 100.0]


def datalists(folder: Path, count: int) -> dict[str, Path]:
    """One datalist an arm, of the same heads in the same splits; validation and test know all classes."""
    sources = read_sources(
        write_segmented_heads(folder / "heads", count, dict.fromkeys(HOSPITALS, HEAD_CLASSES), size=SIZE)
    )
    spacing = (224 / SIZE[0], 224 / SIZE[1], 160 / SIZE[2])
    prepare(sources, folder / "data", spatial_dims=3, spacing=spacing, fractions=(0.6, 0.15, 0.25))
    whole = Datalist.read(folder / "data")
    paths = {"full": whole.path}
    for arm in ("partial", "as background"):
        splits = {name: [dict(item) for item in whole.content[name]] for name in ("training", "validation", "test")}
        for item in splits["training"]:
            known = HOSPITALS[item["source"]]
            if arm == "partial":
                item["outlined"] = list(known)  # bits of others are not looked at
            else:
                item["mask"] = _without(folder / "data", item["mask"], [whole.classes.index(name) for name in known])
        paths[arm] = folder / "data" / f"{arm.replace(' ', '_')}.json"
        write_datalist(paths[arm], [], splits, classes=whole.classes)
    return paths


def _without(folder: Path, name: str, known: list[int]) -> str:
    """A copy of a mask that has these classes alone."""
    from medssl.transforms import StoredImage, write_stored_mask

    mask = StoredImage(folder / name)
    bits = mask.read()
    copy = str(Path(name).with_name(f"{Path(name).stem}_known.b2nd"))
    write_stored_mask(folder / copy, bits & sum(1 << number for number in known), mask.spacing)
    return copy


def main() -> None:
    options = parser(__doc__, 1)
    options.add_argument("--count", type=int, default=60, help="heads")
    options.add_argument("--steps", type=int, default=600)
    options.add_argument("--learning_rate", type=float, default=0.003)
    chosen = options.parse_args()
    columns: dict[str, Any] = {"masks in training": lambda row: row["arm"], "seed": lambda row: str(row["seed"])}
    columns["mean Dice, with 95 % interval"] = lambda row: (
        f"{row['mDice']:.3f} ({row['interval'][0]:.3f} to {row['interval'][1]:.3f})"
    )
    columns |= {name: lambda row, name=name: f"{row['per_class'][name]:.3f}" for name in HEAD_CLASSES}
    sides = " × ".join(map(str, SIZE))
    text = f"{chosen.count} heads of {sides}, ResNet-10 of a quarter of the width, {chosen.steps} steps."
    result = Result(chosen, "segmentation_phantoms", "One network from partial masks", text, columns)
    with tempfile.TemporaryDirectory() as folder:
        paths = datalists(Path(folder), chosen.count)
        for seed in range(chosen.repeats):
            for arm, path in paths.items():
                output = Path(folder) / f"{arm}-{seed}"
                values = {"data": path, "output_dir": output, "seed": seed, "workers": 0}
                training = {"architecture": "resnet10_quarter", "steps": chosen.steps, "image_size": BOX}
                training |= {"window": WINDOW, "batch_size": 4, "crops_per_volume": 1, "keep": "last"}
                training |= {"learning_rate": chosen.learning_rate, "val_interval": 1000}
                BundleRun("segment", {**values, **training}).run()
                values |= {"data": paths["full"], "trivial": False, "pictures": 0, "overlap": 0.0}
                BundleRun("segment", values, "evaluate").run()
                found = Run.read(output).metrics["splits"]["test"]
                result.add(
                    arm=arm,
                    seed=seed,
                    mDice=found["mDice"],
                    interval=found["mDice_interval"],
                    per_class=found["per_class"],
                )
        means = {arm: [row["mDice"] for row in result.rows if row["arm"] == arm] for arm in paths}
        mean = {arm: sum(values) / len(values) for arm, values in means.items()}
        result.notes.append(
            f"Partial masks reach {mean['partial'] / mean['full']:.3f} of all masks, unknown taken for background "
            f"{mean['as background'] / mean['full']:.3f}."
        )
        result.write()


if __name__ == "__main__":
    main()
