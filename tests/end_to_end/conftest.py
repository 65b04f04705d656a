"""Small phantom data sets, prepared once as a user would."""

from pathlib import Path

import pytest
import torch

from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.phantoms import write_phantoms

HEAD_SIZE = (32, 32, 32)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads of parallel test workers would fight over the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datalist of 60 chest radiographs of 80 × 80, stored as 64 × 64."""
    folder = tmp_path_factory.mktemp("chest")
    table = write_phantoms(folder / "phantoms", "chest", 60, size=80, progress=False)
    sources = [Source(images=folder / "phantoms" / "images", csv=table)]
    prepare(sources, folder / "data", size=(64, 64), fractions=(0.5, 0.25, 0.25), labels=["Effusion", "Mass"])
    return folder / "data" / "datalist.json"


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datalist of 24 head CT volumes of 32 × 32 × 32, stored as 37 × 32 × 23: more, equal and less than a crop."""
    folder = tmp_path_factory.mktemp("head")
    table = write_phantoms(folder / "phantoms", "head", 24, size=HEAD_SIZE, progress=False)
    sources = [Source(images=folder / "phantoms" / "images", csv=table)]
    prepare(sources, folder / "data", spatial_dims=3, spacing=(6, -1, 7), fractions=(0.5, 0.25, 0.25))
    return folder / "data" / "datalist.json"
