"""What a network says of images and of their mirror images, together."""

from collections.abc import Callable

from torch import Tensor


def mean_with_mirror_image(network: Callable[[Tensor], Tensor], images: Tensor, maps: bool) -> Tensor:
    """The mean of the logits of images ``[B, C, *spatial]`` and of the same mirrored left to right, in float32.

    Left to right is along the last axis of a radiograph [rows, columns] and the first of a volume in RAS order.

    Args:
        network: gives logits.
        images: what it sees.
        maps: whether it gives maps, of which those of mirrored images are mirrored back.
    """
    left_right = -1 if images.ndim == 4 else 2
    straight, mirrored = network(images).float(), network(images.flip(left_right)).float()
    return (straight + (mirrored.flip(left_right) if maps else mirrored)) / 2
