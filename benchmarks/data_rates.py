"""How quickly images come: from the store with 1, 2 and 4 workers, and through `prepare`; beside the disk's own speed.

Radiographs of 224 × 224 and random 96³ crops of CT volumes, as the bundles load them, and as `prepare` takes them in
(PNG and NIfTI, on all cores). The disk's own speed is reading the same files and doing nothing with them. All files are
driven out of the page cache before each turn (Linux), so that all read from the disk. Workers deliver the very images
that the process itself loads. `python benchmarks/data_rates.py` writes `results/data_rates.json` and `.md`; three
minutes on two cores.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import Result, compare, parser, ratio_cell, take_turns
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

from medssl.data import Datalist, Source
from medssl.data.prepare import prepare
from medssl.phantoms import write_phantoms
from medssl.transforms import LoadStoredd, MiddleStoredCropd, RandStoredCropsd

WORKERS = (0, 1, 2, 4)
CROP, CROPS = (96, 96, 96), 8
KINDS = {
    "radiographs of 224 × 224": ("chest", 600, 256, {"size": (224, 224)}),
    "volumes of 192 × 192 × 128": ("head", 8, (192, 192, 128), {"spatial_dims": 3, "spacing": (-1, -1, -1)}),
}
"""Kind and number of phantoms, their size, and how they are prepared."""


def drive_out(files: Iterable[Path]) -> None:
    """Take files, written out before, out of the page cache, so that the next reading is the disk's."""
    if hasattr(os, "posix_fadvise"):
        for path in files:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_all(files: Iterable[Path]) -> None:
    """Every byte, and nothing done with it."""
    for path in files:
        path.read_bytes()


def load_all(dataset: Dataset, workers: int) -> torch.Tensor:
    """A whole epoch; the sum of each image's values."""
    loader = DataLoader(dataset, batch_size=4, num_workers=workers)
    return torch.cat([batch["image"].flatten(1).double().sum(dim=1) for batch in loader])


def epoch(dataset: Dataset, workers: int, files: list[Path]) -> None:
    drive_out(files)
    load_all(dataset, workers)


def add_rows(result: Result, what: str, units: int, steps: dict[str, Callable[[], Any]], base: str) -> None:
    os.sync()
    times = take_turns(steps, result.options.repeats, at_least=0)
    for name in steps:
        row = compare(times[name], times[base])
        result.add(what=what, by=name, **row, rate=1000 * units / row["milliseconds"])


def measure_loading(result: Result, what: str, datalist: Path, crops: bool) -> None:
    items = Datalist.read(datalist).items("pretrain")
    files = [Path(item["image"]) for item in items]
    units = len(items) * (CROPS if crops else 1)
    loading = RandStoredCropsd("image", CROP, CROPS) if crops else LoadStoredd("image")
    dataset = Dataset(items, Compose([loading]))
    certain = Dataset(items, MiddleStoredCropd("image", CROP)) if crops else dataset
    sums = [load_all(certain, workers) for workers in WORKERS]
    assert all(torch.equal(found, sums[0]) for found in sums)

    def disk() -> None:
        drive_out(files)
        read_all(files)

    steps: dict[str, Callable[[], Any]] = {"the disk alone": disk}
    steps |= {f"store, {workers or 'no'} workers": partial(epoch, dataset, workers, files) for workers in WORKERS}
    add_rows(result, f"{CROPS} random 96³ crops of each volume" if crops else what, units, steps, "the disk alone")


def measure_prepare(result: Result, what: str, sources: list[Source], output: Path, options: dict[str, Any]) -> None:
    assert sources[0].images is not None
    files = [path for path in Path(sources[0].images).rglob("*") if path.is_file()]

    def disk() -> None:
        drive_out(files)
        read_all(files)

    def whole() -> None:
        shutil.rmtree(output, ignore_errors=True)
        drive_out(files)
        prepare(sources, output, fractions=(1, 0, 0), **options)

    add_rows(result, f"prepare, {what}", len(files), {"the disk alone": disk, "prepare": whole}, "the disk alone")


def main() -> None:
    options = parser(__doc__, 5).parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "what": lambda row: row["what"],
        "by": lambda row: row["by"],
        "a second": lambda row: f"{row['rate']:.0f}" if row["rate"] > 10 else f"{row['rate']:.1f}",
        "time over the disk's (quartiles)": ratio_cell,
    }
    text = (
        f"{options.repeats} turns, medians; an epoch each, the start of the workers included; files not in the cache."
    )
    result = Result(options, "data_rates", "How quickly images come", text, columns)
    with tempfile.TemporaryDirectory() as name:
        for what, (kind, count, size, settings) in KINDS.items():
            folder = Path(name) / kind
            table = write_phantoms(folder / "phantoms", kind, count, size=size, progress=False)
            sources = [Source(images=folder / "phantoms" / "images", csv=table)]
            measure_prepare(result, what, sources, folder / "data", settings)
            measure_loading(result, what, folder / "data" / "datalist.json", kind == "head")


if __name__ == "__main__":
    main()
