"""What a backbone is made of: one entry of the registry (``architectures.py``)."""

from collections.abc import Callable
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from medssl.errors import UserError

Built = TypeVar("Built")


class Architecture(NamedTuple):
    """How to build a network and how to look at it as a feature extractor."""

    target: str
    """Dotted path of the constructor, kept in the checkpoint's description."""
    build: Callable[..., nn.Module]
    names: dict[str, str]
    """What the constructor calls ``in_channels`` and ``out_channels``."""
    defaults: dict[str, Any]
    pyramid: Callable[[Any, Tensor], list[Tensor]]
    """Gives the network's feature maps, from fine to coarse."""
    channels: tuple[int, ...]
    """Of these maps."""
    strides: tuple[int, ...]
    """Input voxels per voxel of each of them, along every axis."""
    last_map: str
    """Name of the module whose output is the last feature map, for Grad-CAM."""
    head: str
    """Name of the member after the feature map, which a backbone leaves out."""
    smallest_side: int
    """Images with a shorter side leave no feature map."""
    channels_last: tuple[int, ...]
    """The ``spatial_dims`` in which a training step is quicker with channels_last, as measured on a CPU
    (``benchmarks/results/fast_defaults_cpu.md``)."""
    encoder: bool = False
    """Whether the constructor makes no classifier, so that `with_head` makes it one."""
    without: tuple[str, ...] = ()
    """Members of an encoder's network that are left out, such as its decoder."""
    idle: str = ""
    """Pattern of the names of weights that the network has and never uses."""
    in_3d: MappingProxyType[str, Any] = MappingProxyType({})
    """Fields that differ in 3D."""
    blocks: str = ""
    """Pattern of the names of the blocks that it is a sequence of; "" for none."""
    spatial_dims: tuple[int, ...] = (2, 3)
    """What images it is for."""
    packages: tuple[str, ...] = ()
    """Distributions that it needs and MONAI does not bring."""
    extra: str = ""
    """The extra of medssl that brings them; "" where it always does."""

    def check_installed(self, name: str) -> None:
        """Raise `UserError` where a package of it is missing; ``name`` is what it is called."""
        missing = [each for each in self.packages if find_spec(each.replace("-", "_")) is None]
        if missing:
            needed = f"'medssl[{self.extra}]'" if self.extra else " ".join(missing)
            raise UserError(f"{name} needs {' and '.join(missing)}: pip install {needed}.")


def without_values(build: Callable[[], Built]) -> Built:
    """What comes of a network of which names and shapes alone are wanted: quickly, and no random number is drawn.

    It is built on the device ``meta``, or on the CPU where its library computes with values on the way.
    """
    try:
        with torch.device("meta"):
            return build()
    except RuntimeError:  # which NotImplementedError is, too
        with torch.random.fork_rng(devices=[]):
            return build()
