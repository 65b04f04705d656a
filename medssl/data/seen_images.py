"""Which images a network learned from: how many, from which sources, and a hash of each, which names nobody.

`medssl prepare` notes the hash of what it read from each file, a training leaves the list of what it was shown, an
export hands it on, and `medssl overlap` looks whether an image of a test set is in it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from medssl.errors import MissingFileError, UserError
from medssl.files import write_json

from .store import read_contents

HASHED = "BLAKE2b, 128 bits, of shape, voxels' directions (of volumes) and values, as they were read from the file"
"""Said in the list itself, so that others can compute it; see `medssl.data.prepare.examine`."""


@dataclass(frozen=True)
class SeenImages:
    """The images that a network learned from.

    Attributes:
        images: how many.
        patients: how many, by their hashed names.
        sources: name → images.
        hashes: of the images, in order of their digits; fewer than `images` where a store has none.
        before: those that its weights had learned from when it began; None where it began at random, or nobody knows.
    """

    images: int
    patients: int
    sources: Mapping[str, int]
    hashes: Sequence[str]
    before: Self | None = None

    @classmethod
    def of_items(cls, items: Sequence[Mapping[str, Any]], before: Self | None = None) -> Self:
        """Those of a datalist's items, see `Datalist.items`."""
        sources = Counter(str(item.get("source", "")) for item in items)
        patients = {item["patient"] for item in items}
        return cls(
            len(items), len(patients), dict(sorted(sources.items())), sorted(filter(None, hashes(items))), before
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a list that `write` wrote.

        Raises:
            MissingFileError: there is none.
            UserError: it is damaged, or none of ours.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(
                f"There is no {path}: runs of medssl from before 0.2.0 left no list of their images."
            )
        try:
            return cls._from(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is no list of images: it is damaged, or something else.") from error

    @classmethod
    def _from(cls, content: Mapping[str, Any]) -> Self:
        before = content.get("before")
        return cls(
            int(content["images"]),
            int(content["patients"]),
            {str(name): int(count) for name, count in content["sources"].items()},
            [str(each) for each in content["hashes"]],
            cls._from(before) if before else None,
        )

    def write(self, path: str | Path) -> None:
        """Write the list as JSON, whole or not at all."""
        write_json(Path(path), {"hashed": HASHED, **self._content()})

    def _content(self) -> dict[str, Any]:
        before = {"before": self.before._content()} if self.before else {}
        counts = {"images": self.images, "patients": self.patients, "sources": dict(self.sources)}
        return {**counts, **before, "hashes": list(self.hashes)}

    @property
    def chain(self) -> list[Self]:
        """This list, and those of the trainings before it, the latest first."""
        return [self, *(self.before.chain if self.before else ())]

    @cached_property
    def known(self) -> frozenset[str]:
        """The hashes, to look one up."""
        return frozenset(self.hashes)


def hashes(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The hash of each item's image, as the store in which it lies says; "" where none does."""
    stores: dict[Path, dict[str, str]] = {}
    found = []
    for item in items:
        path = Path(item["file"])
        store = path.parents[1]
        if store not in stores:
            stores[store] = read_contents(store)
        found.append(stores[store].get(f"{path.parent.name}/{path.name}", ""))
    return found
