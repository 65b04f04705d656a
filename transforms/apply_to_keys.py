"""What the dictionary forms of our transforms have in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable


class ApplyToKeys(MapTransform):
    """Apply an array transform to each key of an item; other keys stay."""

    def __init__(self, keys: KeysCollection, transform: Callable[[Any], Any], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform every key of one item; other keys stay."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.transform(item[key])
        return item


class RandApplyToKeys(Randomizable, ApplyToKeys):
    """As `ApplyToKeys`, with a random array transform, whose numbers are drawn once for all keys of an item."""

    transform: Any  # an array transform that is Randomizable, and draws nothing when called with randomize=False

    def set_random_state(self, seed: int | None = None, state: Any = None) -> RandApplyToKeys:
        """Make the random numbers repeatable, as MONAI's transforms do."""
        self.transform.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw the numbers of the next item."""
        self.transform.randomize(data)

    def __call__(self, data: Mapping[Hashable, Any]) -> Any:
        """Transform every key of one item with the same random numbers; other keys stay."""
        self.randomize()
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.transform(item[key], randomize=False)
        return item
