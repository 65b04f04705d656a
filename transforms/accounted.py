"""Every study becomes an item for the network, with a note of what was put right, or the reason why it is empty."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Transform

from medssl.errors import UnusableImageError, user_error
from medssl.readers.modalities import are_of_one_kind

from .image_tensor import image_tensor


class Accounted(Transform):
    """Read the study under ``image`` and transform it; one that cannot be used becomes zeros and stops nothing.

    Items get ``note``, what was put right, and ``reason``, empty; of a study that cannot be used ``reason`` says why in
    a word or three, and ``note`` in a sentence. Whatever is no fault of the study (see `medssl.errors.UserError`) is
    raised.

    Args:
        transform: from an item whose ``image`` is a MetaTensor [1, *spatial] in the file's values to what the network
            sees.
        size: of the latter, without its one channel.
        modality: of the images that the network was trained on; files that state one of another kind are refused, and
            "" takes all.
    """

    def __init__(
        self,
        transform: Callable[[Mapping[Hashable, Any]], Mapping[Hashable, Any]],
        size: Sequence[int],
        modality: str = "",
    ) -> None:
        self.transform = transform
        self.size = tuple(int(side) for side in size)
        self.modality = modality

    def __call__(self, item: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read and transform one item, whose ``image`` is a `medssl.readers.Study`."""
        study = item["image"]
        try:
            reading = study.read(keep_masks=True)  # what the network was trained on may look like masks
            if not are_of_one_kind(reading.modality.upper(), self.modality):
                sentence = f"It is {reading.modality}, and the network was trained on {self.modality}."
                raise UnusableImageError("other modality", sentence)
            seen = self.transform({**item, "image": image_tensor(reading, study.path)})
        except Exception as error:
            fault = user_error(error)  # MONAI wraps what its transforms raise
            if fault is None:
                raise
            reason = getattr(fault, "reason", "unusable")
            return {**item, "image": torch.zeros(1, *self.size), "reason": reason, "note": str(fault)}
        return {**seen, "reason": "", "note": "; ".join(reading.notes)}
