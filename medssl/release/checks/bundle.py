"""A bundle as the checks see it: its files and configs, read and not run."""

import json
import logging
import pickle
import pickletools
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser

from .identifiers import Names

METADATA = "configs/metadata.json"
CONFIG_SUFFIXES = (".json", ".yaml", ".yml")
DEEPEST_ARCHIVE = 3
"""Archives in archives are opened so far."""
PICKLES = tuple(pickle.PROTO + bytes([protocol]) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1))
SHORTEST_STRETCH = 8
"""Bytes of readable text in binary data (a power of two); what is shorter is chance."""


class Note(str):
    """What a check says without failing."""

    __slots__ = ()


@dataclass(frozen=True)
class Content:
    """The bytes of a file, or of a member of an archive."""

    name: str
    data: bytes

    @property
    def file(self) -> str:
        """The file, without the member."""
        return self.name.partition(" (")[0]

    @cached_property
    def _is_text(self) -> bool:
        if b"\0" in self.data:
            return False
        try:
            self.data.decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True

    @property
    def _is_pickle(self) -> bool:
        return self.data[:2] in PICKLES and self.data[-1:] == pickle.STOP

    def place(self, position: int) -> str:
        """Where a position of ``text`` is, for a reader: with the line, where there are lines."""
        return f"{self.name}, line {self.text.count(chr(10), 0, position) + 1}," if self._is_text else self.name

    @property
    def is_binary(self) -> bool:
        """Whether ``text`` is what happens to be readable, such as in the numbers of weights."""
        return not self._is_text and not self._is_pickle

    @cached_property
    def text(self) -> str:
        """What can be read of it: all of a text; of a pickle its texts, of anything else its ASCII, one a line."""
        if self._is_text:
            return self.data.decode("utf-8")
        return "\n".join(_pickled(self.data) if self._is_pickle else _stretches(self.data))


def _pickled(data: bytes) -> Iterator[str]:
    """The texts of a pickle, which is not loaded; of a damaged one those before the damage."""
    with suppress(ValueError, IndexError, UnicodeDecodeError, OverflowError):
        for _, argument, _ in pickletools.genops(data):
            if isinstance(argument, str):
                yield argument


def _stretches(data: bytes) -> Iterator[str]:
    """Printable ASCII of at least ``SHORTEST_STRETCH`` bytes.

    With numpy, for a regular expression needs 4 s for the 45 MB of a small network, this 0.3 s.
    """
    values = np.frombuffer(data, np.uint8)
    good = (values >= 32) & (values < 127)
    width = 1
    while width < SHORTEST_STRETCH and len(good) > width:  # good[i]: all of the ``width`` bytes from i on are printable
        good = good[:-width] & good[width:]
        width *= 2
    starts = np.flatnonzero(good) if width == SHORTEST_STRETCH else np.empty(0, int)
    for stretch in np.split(starts, np.flatnonzero(np.diff(starts) > 1) + 1):
        if len(stretch):
            yield data[stretch[0] : stretch[-1] + SHORTEST_STRETCH].decode("ascii")


@dataclass(frozen=True)
class Bundle:
    """A folder that should be a bundle.

    Attributes:
        folder: of the bundle.
        names: of the patients and images that must not be named; None when these are unknown.
    """

    folder: Path
    names: Names | None = None

    @cached_property
    def files(self) -> list[str]:
        """Every file, relative to the folder, sorted."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if not path.is_dir())

    @property
    def is_training(self) -> bool:
        """Whether it trains, so that it may need medssl and carry no weights."""
        return self.config_file("train") is not None

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What ``metadata.json`` holds; empty where it cannot be read, of which a check of its own speaks."""
        try:
            content = json.loads((self.folder / METADATA).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def has_weights(self) -> bool:
        """Whether ``models/model.pt`` lies in the bundle."""
        return "models/model.pt" in self.files

    def config_file(self, name: str) -> str | None:
        """The file of a config, such as ``train``, relative to the folder; None where there is none."""
        candidates = (f"configs/{name}{suffix}" for suffix in CONFIG_SUFFIXES)
        return next((file for file in candidates if file in self.files), None)

    @property
    def configs(self) -> list[str]:
        """The files of all configs, relative to the folder, without the metadata."""
        found = (file for file in self.files if file.startswith("configs/") and file.endswith(CONFIG_SUFFIXES))
        return [file for file in found if file != METADATA]

    @property
    def workflows(self) -> list[tuple[str, ...]]:
        """The configs that are run together, the later over the earlier."""
        base = "train" if self.is_training else "inference"
        together = [("train",), ("inference",), (base, "evaluate"), ("train", "multi_gpu_train")]
        return [names for names in together if all(self.config_file(name) for name in names)]

    def paths(self, *names: str) -> list[str]:
        """The absolute paths of configs by name, for MONAI."""
        return [str(self.folder / str(self.config_file(name))) for name in names]

    def parser(self, *names: str) -> ConfigParser:
        """MONAI's parser with configs and metadata read, and nothing evaluated."""
        parser = ConfigParser()
        with quiet():
            parser.read_config(self.paths(*names))
            parser.read_meta(str(self.folder / METADATA))
        return parser

    def contents(self) -> Iterator[Content]:
        """Every file; of archives, such as weights, every member instead."""
        for file in self.files:
            yield from _contents(file, (self.folder / file).read_bytes())


def _contents(name: str, data: bytes, depth: int = 0) -> Iterator[Content]:
    if depth < DEEPEST_ARCHIVE and data[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(BytesIO(data)) as archive:
                members = [(member, archive.read(member)) for member in archive.namelist()]
                comment = archive.comment
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError):
            pass  # damaged, of which a check of its own speaks: its bytes as they are
        else:
            yield Content(name, comment)
            for member, content in members:
                yield from _contents(f"{name} ({member})", content, depth + 1)
            return
    yield Content(name, data)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MONAI from logging and warning: what is wrong is for the checks to say."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def own_scripts(folder: Path) -> Iterator[None]:
    """Let ``scripts`` be this bundle's and no other's for a while, as in a process of its own."""

    def loaded() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] == "scripts"]

    before, path, writes = {name: sys.modules.pop(name) for name in loaded()}, list(sys.path), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # a check leaves no __pycache__ in the bundle
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = path, writes
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(before)
