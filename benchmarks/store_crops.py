"""A random 96³ crop of a 512×512×300 volume: from the store, from the file, and from MONAI's PersistentDataset.

The volume is a head phantom, enlarged, with the noise of a CT. The ways take turns of some crops in a row, so that a
change of the machine's pace meets all; times are medians with the files in the page cache; bytes are what the process
read (Linux only). Every crop is compared with the volume. zarr takes part where it is installed (`pip install zarr`).
`python benchmarks/store_crops.py` writes `results/store_crops.json` and `.md`, three minutes on two cores.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from environment import environment
from monai.data import PersistentDataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged, RandSpatialCropd
from scipy.ndimage import zoom

from medssl.phantoms.head import draw_head
from medssl.phantoms.write import head_spacing
from medssl.transforms import StoredImage, write_stored
from medssl.transforms.stored import read_box

try:
    import zarr
    from zarr.codecs import BloscCodec
except ImportError:
    zarr = None

RESULTS = Path(__file__).parent / "results"
SHAPE, CROP, SMALL = (512, 512, 300), (96, 96, 96), (128, 128, 75)
AS_FAST = 10  # times, which the store must reach
IN_A_ROW = {"LoadImage of .nii.gz": 1}  # crops in a turn, as in training; the others have five


def draw_volume() -> np.ndarray:
    """A head in HU, integers as CT files have them."""
    random = np.random.default_rng(0)
    small = draw_head([], random, SMALL, head_spacing(SMALL))
    large = zoom(small.astype(np.float32), np.divide(SHAPE, SMALL), order=1)
    return np.rint(large + random.normal(0, 15, SHAPE)).astype(np.int16)


def bytes_read() -> int:
    """What this process has read from files so far, the page cache included."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def ways(volume: np.ndarray, folder: Path) -> dict[str, Callable[[np.random.Generator], tuple[Any, list[slice]]]]:
    """Each way to get a random crop: returns the crop and where it lies."""
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "volume.nii.gz")
    write_stored(folder / "volume.b2nd", volume.astype(np.float32), (1, 1, 1))
    load = LoadImage(image_only=True)
    crop = RandSpatialCropd("image", CROP, random_size=False)
    transform = Compose([LoadImaged("image"), EnsureChannelFirstd("image"), crop])
    cached = PersistentDataset([{"image": folder / "volume.nii.gz"}], transform, cache_dir=folder / "cache")

    def place(random: np.random.Generator) -> list[slice]:
        starts = [int(random.integers(whole - side + 1)) for whole, side in zip(SHAPE, CROP, strict=True)]
        return [slice(start, start + side) for start, side in zip(starts, CROP, strict=True)]

    def from_store(random: np.random.Generator) -> tuple[Any, list[slice]]:
        box = place(random)
        return read_box(StoredImage(folder / "volume.b2nd"), [side.start for side in box], CROP)[0], box

    def from_file(random: np.random.Generator) -> tuple[Any, list[slice]]:
        box = place(random)
        return load(folder / "volume.nii.gz")[tuple(box)], box

    def from_cache(random: np.random.Generator) -> tuple[Any, list[slice]]:
        image = cached[0]["image"][0]
        return image, list(crop.cropper._slices)

    found = {"store": from_store, "LoadImage of .nii.gz": from_file, "PersistentDataset": from_cache}
    if zarr is not None:
        codec = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
        array = zarr.create_array(
            folder / "volume.zarr", shape=SHAPE, chunks=(64, 64, 64), dtype="int16", compressors=codec
        )
        array[:] = volume

        def from_zarr(random: np.random.Generator) -> tuple[Any, list[slice]]:
            box = place(random)
            crop = zarr.open_array(folder / "volume.zarr", mode="r")[tuple(box)]
            return torch.from_numpy(crop.astype(np.float32)), box

        found["zarr"] = from_zarr
    return found


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def measure(repeats: int) -> dict[str, Any]:
    """Medians and ratios."""
    volume = draw_volume()
    random = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {}
    read: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        takes = ways(volume, folder)
        for turn in range(repeats + 1):
            for way, take in takes.items():
                for _ in range(IN_A_ROW.get(way, 5)):
                    before, started = bytes_read(), time.perf_counter()
                    crop, box = take(random)
                    took, bytes_now = time.perf_counter() - started, bytes_read() - before
                    assert np.array_equal(np.asarray(crop), volume[tuple(box[-3:])]), way
                    if turn:  # the first fills the caches
                        seconds.setdefault(way, []).append(took)
                        read.setdefault(way, []).append(bytes_now)
        files = {"store": "volume.b2nd", "LoadImage of .nii.gz": "volume.nii.gz", "PersistentDataset": "cache"}
        disk = {way: size_on_disk(folder / files.get(way, "volume.zarr")) for way in takes}
    store = statistics.median(seconds["store"])
    return {
        way: {
            "milliseconds": 1000 * statistics.median(values),
            "over_store": statistics.median(values) / store,
            "megabytes_read": statistics.median(read[way]) / 1e6,
            "megabytes_on_disk": disk[way] / 1e6,
        }
        for way, values in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    rows = measure(repeats)
    results = {**environment(), "volume": SHAPE, "crop": CROP, "repeats": repeats, "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "store_crops.json").write_text(json.dumps(results, indent=2) + "\n")
    lines = [
        "# A random 96³ crop of a 512×512×300 CT volume\n",
        f"{results['machine']}; {', '.join(f'{name} {value}' for name, value in results['versions'].items())}. "
        f"Medians over {repeats} turns, one thread, files in the page cache; every crop equals the volume.\n",
        "| from | ms a crop | times the store's | MB read a crop | MB on disk |",
        "|---|---|---|---|---|",
    ]
    for way, row in rows.items():
        lines.append(
            f"| {way} | {row['milliseconds']:.1f} | {row['over_store']:.1f} | {row['megabytes_read']:.1f} | "
            f"{row['megabytes_on_disk']:.0f} |"
        )
    text = "\n".join(lines) + "\n"
    (RESULTS / "store_crops.md").write_text(text)
    print(text)
    for way in ("LoadImage of .nii.gz", "PersistentDataset"):
        assert rows[way]["over_store"] >= AS_FAST, f"{way} takes only {rows[way]['over_store']:.1f} times as long"


if __name__ == "__main__":
    main()
