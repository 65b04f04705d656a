"""One backbone of each family, that with the fewest channels: for tests that need not see every size of a network."""

from collections.abc import Collection, Iterable
from importlib.util import find_spec
from typing import Any

import pytest

from medssl.networks import ARCHITECTURES


def is_installed(name: str) -> bool:
    """Whether a backbone's optional packages are there."""
    return all(find_spec(package.replace("-", "_")) for package in ARCHITECTURES[name].packages)


def _smallest(name: str) -> str:
    family = [other for other, each in ARCHITECTURES.items() if each.pyramid is ARCHITECTURES[name].pyramid]
    return min(family, key=lambda other: ARCHITECTURES[other].channels[-1])


def slow_but(quick: Collection[str], names: Iterable[str]) -> list[Any]:
    """Values of a parametrisation, of which all but the quick ones are left to ``make test-all``."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def skip_unless_for(spatial_dims: int, name: str) -> None:
    """Leave a test out whose images have more dimensions than a backbone is for."""
    if spatial_dims not in ARCHITECTURES[name].spatial_dims:
        pytest.skip(f"{name} is not for {spatial_dims}D images")


QUICK = ("resnet10_quarter", "vit_tiny")
"""A convolutional network and a transformer, for what a test in every run need not see on each family."""
FAMILIES = [name for name in ARCHITECTURES if _smallest(name) == name and is_installed(name)]

every_family = pytest.mark.parametrize(
    ("name", "spatial_dims"),
    [
        *((name, 2) for name in FAMILIES),
        *(
            pytest.param(name, 3, marks=() if name in QUICK else pytest.mark.slow)
            for name in FAMILIES
            if 3 in ARCHITECTURES[name].spatial_dims
        ),
    ],
)
