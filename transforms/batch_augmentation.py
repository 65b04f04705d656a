"""Augmentations that work on a batch, and as MONAI transforms of a single image: array and dictionary form."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import RandomizableTransform, Transform
from monai.transforms.traits import RandomizableTrait
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor
from torch import Tensor

from .apply_to_keys import RandApplyToKeys


class BatchAugmentation(Transform, RandomizableTrait):
    """Change each image of a batch at random, all of them in one call, on their device.

    The random numbers are those of torch's global generator of that device. `RandPerImage` makes a transform of a
    single image of it.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 -- as MONAI's transforms have it

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Images ``[B, C, *spatial]``, augmented, of the same shape and type; those given stay as they are."""


class RandPerImage(RandomizableTransform):
    """Apply one of our augmentations to an image ``[C, *spatial]`` in a MONAI pipeline.

    Its random numbers follow MONAI's rules: ``set_random_state`` makes them repeatable, and each worker has its own.
    Torch's global generators stand afterwards where they stood before.

    Args:
        augmentation: works on a batch: ``ContrastiveView``, ``BezierIntensity``, ``LocalShuffle``, ``Painting``.
        prob: probability that it is applied at all; the augmentation may have a probability of its own.
    """

    backend = BatchAugmentation.backend

    def __init__(self, augmentation: Callable[[Tensor], Tensor], prob: float = 1.0) -> None:
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
        devices = [plain.device] if plain.is_cuda else []
        with torch.random.fork_rng(devices):
            # Not `torch.manual_seed`: it would seed the devices that are not put back, too.
            for generator in (torch.default_generator, *(torch.cuda.default_generators[one.index] for one in devices)):
                generator.manual_seed(self._seed)
            return convert_to_dst_type(self.augmentation(plain[None])[0], tensor)[0]


class RandPerImaged(RandApplyToKeys):
    """Dictionary form of `RandPerImage`; all keys get the same random numbers."""

    backend = BatchAugmentation.backend

    def __init__(
        self,
        keys: KeysCollection,
        augmentation: Callable[[Tensor], Tensor],
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandPerImage(augmentation, prob), allow_missing_keys)
