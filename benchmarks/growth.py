"""How time and memory grow with the number of images: `prepare`, datalists, evaluation, the bootstrap, training.

1000, 10 000 and 100 000 images, each in a fresh process; memory is its peak beyond what the imports took (Linux). Every
step may grow as the number of images does, and not more; the memory of training may not grow at all, but for the
datalist itself. Training means the bundle `pretrain` for a few steps, on links to one prepared image; with its
images in memory, as is its default for data sets that fit there, and without. Each size gives as many results as it was
given images. `python benchmarks/growth.py` writes `results/growth.json` and `.md`; a quarter of an hour on two cores.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Result, in_fresh_process, parser, peak_megabytes

SIZES = (1_000, 10_000, 100_000)
CLASSES, SIDE, RESAMPLES, STEPS = 14, 32, 100, 4
SLACK = 1.25
"""How much more than linear counts as noise."""
LEAST = {"seconds": 0.05, "megabytes": 10.0}
"""What is too little to be compared with: a process keeps some memory that it has freed, and uses that first."""


def in_folder(function: Callable[[int, Path], Callable[[], int]], images: int) -> dict[str, float]:
    """Seconds and peak memory of what ``function`` returns; it returns how many images it saw."""
    seen: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        run = function(images, Path(name))
        started = time.perf_counter()
        megabytes = peak_megabytes(lambda: seen.append(run()))
        seconds = time.perf_counter() - started
    assert seen == [images], (seen, images)
    return {"seconds": seconds, "megabytes": megabytes}


def prepare_images(images: int, folder: Path) -> Callable[[], int]:
    """`prepare` with as many small PNG files as there are images, none like another."""
    from PIL import Image

    from medssl.data import Source
    from medssl.data.prepare import prepare

    random = np.random.default_rng(0)
    (folder / "images").mkdir()
    rows = ["image,patient,Mass"]
    for number in range(images):
        Image.fromarray(random.integers(256, size=(SIDE, SIDE), dtype=np.uint8)).save(folder / f"images/{number}.png")
        rows.append(f"{number}.png,{number // 2},{number % 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    sources = [Source(images=folder / "images", csv=folder / "labels.csv")]

    def run() -> int:
        prepare(sources, folder / "data", size=(SIDE, SIDE))
        return len(list((folder / "data" / "store").glob("??/*.b2nd")))

    return run


def draw_items(images: int) -> list[dict[str, Any]]:
    """Items of a datalist with partial labels, one image a patient."""
    labels = np.random.default_rng(0).choice([0.0, 1.0, np.nan], (images, CLASSES)).tolist()
    return [
        {"image": f"store/{number}.b2nd", "patient": f"patient{number}", "source": "site", "label": label}
        for number, label in enumerate(labels)
    ]


def read_list(images: int, folder: Path) -> Callable[[], int]:
    """Reading and checking a datalist."""
    from medssl.data import Datalist, write_datalist

    path = folder / "datalist.json"
    write_datalist(path, [f"finding {k}" for k in range(CLASSES)], {"training": draw_items(images)})
    return lambda: len(Datalist.read(path).items("training", check_files=False))


def draw_scores(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels, a third of them unknown."""
    random = np.random.default_rng(0)
    return random.random((images, CLASSES)), random.choice([0.0, 1.0, np.nan], (images, CLASSES))


def evaluate(images: int, folder: Path) -> Callable[[], int]:
    """All figures without intervals."""
    from medssl.evaluation import figures
    from medssl.evaluation.predictions import Predictions

    names = [str(number) for number in range(images)]
    predictions = Predictions(names, names, [f"finding {k}" for k in range(CLASSES)], *draw_scores(images))
    return lambda: figures(predictions, [0.5] * CLASSES, resamples=0)["images"]


def bootstrap(images: int, folder: Path) -> Callable[[], int]:
    """Intervals of the AUROC over replicates."""
    from medssl.evaluation.bootstrap import bootstrap, interval
    from medssl.evaluation.partial_metrics import rank_classes, weighted_areas

    scores, labels = draw_scores(images)

    def run() -> int:
        ranked = rank_classes(scores, labels)

        def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
            return {"auroc": np.stack([weighted_areas(each, weights)[0] for each in ranked], axis=1)}

        interval(bootstrap(statistics, [str(image) for image in range(images)], RESAMPLES)["auroc"])
        return len(scores)

    return run


def train(images: int, folder: Path, cache_rate: float) -> Callable[[], int]:
    """A few steps of a bundle."""
    from medssl.data import Datalist, write_datalist
    from medssl.data.store import check_settings, write_settings
    from medssl.studies import BundleRun
    from medssl.transforms import write_stored

    (folder / "store").mkdir()
    write_settings(folder, check_settings(2, (SIDE, SIDE), ()))
    first = folder / "store" / "0.b2nd"
    write_stored(first, np.random.default_rng(0).random((SIDE, SIDE)))
    for number in range(1, images):
        os.symlink(first, folder / "store" / f"{number}.b2nd")
    datalist = folder / "datalist.json"
    items = [{key: value for key, value in item.items() if key != "label"} for item in draw_items(images)]
    write_datalist(datalist, [], {"unlabeled": items})
    options = {"data": datalist, "output_dir": folder / "run", "epochs": 1, "workers": 0, "batch_size": 8}
    options |= {"architecture": "resnet18", "cache_rate": cache_rate, "train::trainer::epoch_length": STEPS}
    run = BundleRun("pretrain", options)

    def steps() -> int:
        run.run()
        return len(Datalist.read(datalist).items("unlabeled"))

    return steps


def train_from_disk(images: int, folder: Path) -> Callable[[], int]:
    """Every image is read when it is needed."""
    return train(images, folder, 0.0)


def train_from_memory(images: int, folder: Path) -> Callable[[], int]:
    """All images stay in memory."""
    return train(images, folder, 1.0)


STEPS_OF_WORK: dict[str, Callable[[int, Path], Callable[[], int]]] = {
    "prepare": prepare_images,
    "reading a datalist": read_list,
    f"figures of {CLASSES} classes": evaluate,
    f"bootstrap of {CLASSES} AUROCs, {RESAMPLES} replicates": bootstrap,
    f"{STEPS} steps of training, cache_rate 0": train_from_disk,
    f"{STEPS} steps of training, cache_rate 1": train_from_memory,
}


def growth(row: dict[str, Any], before: dict[str, Any] | None) -> str:
    """Time and memory over those of the size before."""
    if before is None:
        return ""
    times = {key: row[key] / max(before[key], LEAST.get(key, 1)) for key in ("images", *LEAST)}
    return "{images:.0f} × images: {seconds:.1f} × time, {megabytes:.1f} × memory".format(**times)


def main() -> None:
    options = parser(__doc__, 1)
    options.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    chosen = options.parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "step": lambda row: row["step"],
        "images": lambda row: str(row["images"]),
        "s": lambda row: f"{row['seconds']:.2f}",
        "peak memory, MB": lambda row: f"{row['megabytes']:.0f}",
        "growth": lambda row: row["growth"],
    }
    text = "Each in a fresh process, once (the least of as many as --repeats says); memory beyond that of the imports."
    result = Result(chosen, "growth", "How time and memory grow with the number of images", text, columns)
    steeper = []
    for name, function in STEPS_OF_WORK.items():
        before: dict[str, Any] | None = None
        for images in chosen.sizes:
            runs = [in_fresh_process(in_folder, function, images) for _ in range(chosen.repeats)]
            row = {"images": images, **{key: min(run[key] for run in runs) for key in runs[0]}}
            result.add(step=name, **row, growth=growth(row, before))
            if before is not None:
                most = SLACK * images / before["images"]
                steeper += [
                    f"{name}, {key}" for key, least in LEAST.items() if row[key] > most * max(before[key], least)
                ]
            before = row
    result.notes.append(f"More than linear (by over {SLACK - 1:.0%}): {'; '.join(steeper) or 'nothing'}.")
    result.write()


if __name__ == "__main__":
    main()
