"""Were images of a test set among those that a network learned from? By the hashes of the images, which name nobody."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medssl import runs
from medssl.data import Datalist
from medssl.data.seen_images import SeenImages, hashes
from medssl.errors import MissingFileError, UserError
from medssl.files import whole_file

OVERLAP = "overlap.csv"
IN_BUNDLE = Path("docs", runs.IMAGES)


@dataclass(frozen=True)
class Overlap:
    """Which images of a split were learned from; as text, for the screen.

    Attributes:
        images: how many images the split has.
        unknown: how many of them have no hash.
        unlisted: how many of the images learned from have none.
        found: a row an image that was learned from: `image`, `patient`, `source`, and `seen_in`, its own
            `training` or the `pre-training` that it began with.
    """

    images: int
    unknown: int
    unlisted: int
    found: pd.DataFrame

    def __str__(self) -> str:
        by_place = self.found["seen_in"].value_counts().items()
        places = "".join(f" {count} in its {place}." for place, count in by_place)
        said = [f"{len(self.found)} of {self.images} images were among those that the network learned from.{places}"]
        if self.unknown:
            said.append(f"Of {self.unknown} images nothing is known: prepare them again, which keeps what is there.")
        if self.unlisted:
            said.append(f"{self.unlisted} of the images learned from are not in the list: their store had no hashes.")
        if not len(self.found):
            said.append("Copies with other grey values or edges, and other images of a patient, are not seen so.")
        return " ".join(said)


def find_overlap(data: str | Path, run: str | Path, split: str = "test", output: str | Path | None = None) -> Overlap:
    """Look for the images of a split in the list that a training left.

    Args:
        data: what `medssl prepare` wrote, or a datalist in it.
        run: output_dir of a training; a bundle that `medssl export` wrote; or the list itself.
        split: whose images; `all` for every one that is prepared.
        output: the table to write; by default `overlap.csv` beside the datalist.

    Raises:
        MissingFileError: the run left no list.
        UserError: there is no such split, or no image in it.
    """
    datalist = Datalist.read(data)
    splits = ("pretrain", "validation", "test") if split == "all" else (split,)
    items = [item for name in splits for item in datalist.items(name, check_files=False)]
    if not items:
        raise UserError(f"{datalist.path} has no image in {split}: choose another split (--split), or all.")
    seen = SeenImages.read(_list_of(Path(run))).chain
    own = hashes(items)
    names = ["training", *["pre-training"] * (len(seen) - 1)]
    rows = [
        {"image": Path(item["file"]).name, "patient": item["patient"], "source": item["source"], "seen_in": name}
        for item, each in zip(items, own, strict=True)
        for name, stage in zip(names, seen, strict=True)
        if each in stage.known
    ]
    found = pd.DataFrame(rows, columns=["image", "patient", "source", "seen_in"]).drop_duplicates("image")
    with whole_file(Path(output) if output else datalist.path.parent / OVERLAP) as temporary:
        found.to_csv(temporary, index=False)
    return Overlap(len(items), own.count(""), sum(stage.images - len(stage.hashes) for stage in seen), found)


def _list_of(run: Path) -> Path:
    if run.is_file():
        return run
    if not run.is_dir():
        raise MissingFileError(f"There is no run or bundle {run}.")
    return next((run / name for name in (runs.IMAGES, IN_BUNDLE) if (run / name).is_file()), run / runs.IMAGES)
