"""Augmentations that work on a batch, as MONAI transforms of a single image: array and dictionary form."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch import Tensor

BatchAugmentation = Callable[[Tensor, torch.Generator], Tensor]


class RandPerImage(RandomizableTransform):
    """Apply one of our augmentations to an image ``[C, *spatial]`` in a MONAI pipeline.

    Its random numbers follow MONAI's rules: ``set_random_state`` makes them repeatable, and each worker has its own.

    Args:
        augmentation: works on a batch, with a generator: ``ContrastiveView``, ``BezierIntensity``, ``LocalShuffle``,
            ``Painting``.
        prob: probability that it is applied at all; the augmentation may have a probability of its own.
    """

    def __init__(self, augmentation: BatchAugmentation, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.augmentation = augmentation
        self._seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw whether to apply the augmentation, and the seed of its random numbers."""
        super().randomize(data)
        self._seed = int(self.R.randint(2**31))

    def __call__(self, image: Any, randomize: bool = True) -> Tensor:
        """The augmented image; with ``randomize=False`` the numbers of the last call are used again."""
        if randomize:
            self.randomize()
        tensor = convert_to_tensor(image, track_meta=get_track_meta())
        if not self._do_transform:
            return tensor
        plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
        generator = torch.Generator(device=plain.device).manual_seed(self._seed)
        return convert_to_dst_type(self.augmentation(plain[None], generator)[0], tensor)[0]


class RandPerImaged(MapTransform, RandomizableTransform):
    """Dictionary form of :class:`RandPerImage`; all keys get the same random numbers.

    Args:
        keys: of the images.
        augmentation, prob: see :class:`RandPerImage`.
        allow_missing_keys: whether an item may lack a key.
    """

    def __init__(
        self,
        keys: KeysCollection,
        augmentation: BatchAugmentation,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self)
        self.transform = RandPerImage(augmentation, prob)

    def set_random_state(self, seed: int | None = None, state: Any = None) -> RandPerImaged:
        """Make the random numbers repeatable, as MONAI's transforms do."""
        self.transform.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of the item with augmented images."""
        item = dict(data)
        self.transform.randomize()
        for key in self.key_iterator(item):
            item[key] = self.transform(item[key], randomize=False)
        return item
