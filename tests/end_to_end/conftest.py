"""Small phantom data sets, prepared once as a user would."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medssl.data import Source, read_sources
from medssl.data.prepare import prepare
from medssl.phantoms import write_phantoms, write_segmented_heads

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


@pytest.fixture(scope="session")
def outlined_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datalist of 12 small head CTs of three hospitals, each of which outlined other classes."""
    folder = tmp_path_factory.mktemp("outlined_heads")
    sources = read_sources(write_segmented_heads(folder / "phantoms", 12, size=(28, 28, 24)))
    prepare(sources, folder / "data", spatial_dims=3, spacing=(8, 8, 7), fractions=(0.5, 0.25, 0.25))
    return folder / "data" / "datalist.json"


@pytest.fixture(scope="session")
def outlined_discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datalist of 16 pictures of 32 x 32 with two discs and what both are together; one hospital outlined the whole."""
    folder, random = tmp_path_factory.mktemp("outlined_discs"), np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    for number in range(16):
        hospital = ("north", "south")[number % 2]
        discs = [np.hypot(rows - random.uniform(10, 22), columns - middle) < random.uniform(4, 7) for middle in (8, 24)]
        grey = 40 + 90 * discs[0] + 150 * discs[1] + random.normal(0, 8, rows.shape)
        mask = discs[0] + 2 * discs[1] if hospital == "north" else discs[0] | discs[1]
        for kind, values in (("images", grey.clip(0, 255)), ("masks", mask)):
            path = folder / hospital / kind / f"{hospital}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(path)
    names = {"north": {1: "dark", 2: "bright"}, "south": {1: "discs"}}
    sources = [
        Source(
            images=folder / hospital / "images", masks=folder / hospital / "masks", mask_labels=labels, name=hospital
        )
        for hospital, labels in names.items()
    ]
    contains = {"discs": ["dark", "bright"]}
    prepare(sources, folder / "data", size=(32, 32), fractions=(0.5, 0.25, 0.25), contains=contains)
    return folder / "data" / "datalist.json"
