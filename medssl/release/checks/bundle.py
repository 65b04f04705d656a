"""A bundle as the checks see it: its files and configs, read and not run."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from medssl.errors import UserError
from medssl.networks import load_state_dict

METADATA = "configs/metadata.json"
MODEL = "models/model.pt"
CONFIG_SUFFIXES = (".json", ".yaml", ".yml")
WEIGHT_SUFFIXES = (".pt", ".pth")


class Note(str):
    """What a check says without failing."""

    __slots__ = ()


@dataclass(frozen=True)
class Bundle:
    """A folder that should be a bundle.

    Attributes:
        folder: of the bundle.
        names: of the patients and images that must not be named, in lower case; None when these are unknown.
    """

    folder: Path
    names: frozenset[str] | None = None

    @cached_property
    def files(self) -> list[str]:
        """Every file, relative to the folder, sorted."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if not path.is_dir())

    @property
    def is_training(self) -> bool:
        """Whether it trains, so that it may need medssl and carry no weights."""
        return self.config_file("train") is not None

    @property
    def has_weights(self) -> bool:
        """Whether `models/model.pt` lies in the bundle."""
        return MODEL in self.files

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What `metadata.json` holds."""
        return ConfigParser.load_config_file(str(self.folder / METADATA))

    def config_file(self, name: str) -> str | None:
        """The file of a config, such as `train`, relative to the folder; None where there is none."""
        candidates = (f"configs/{name}{suffix}" for suffix in CONFIG_SUFFIXES)
        return next((file for file in candidates if file in self.files), None)

    @property
    def configs(self) -> list[str]:
        """The files of all configs and the metadata, relative to the folder."""
        return [file for file in self.files if file.startswith("configs/") and file.endswith(CONFIG_SUFFIXES)]

    def paths(self, *names: str) -> list[str]:
        """The absolute paths of configs by name, for MONAI."""
        return [str(self.folder / str(self.config_file(name))) for name in names]

    @property
    def monai_options(self) -> dict[str, Any]:
        """What MONAI's commands ask for: the metadata, the config with the network, and the folder."""
        config = self.paths("inference" if self.config_file("inference") else "train")
        return {"meta_file": str(self.folder / METADATA), "config_file": config, "bundle_root": str(self.folder)}

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every file with its text: a text file's own, of weights their names; other binary files have none."""
        for file in self.files:
            if file.endswith(WEIGHT_SUFFIXES):
                with suppress(UserError):  # of damaged weights a check of its own speaks
                    yield file, "\n".join(load_state_dict(self.folder / file))
            elif b"\0" not in (data := (self.folder / file).read_bytes()):
                yield file, data.decode("utf-8", errors="replace")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MONAI from logging, warning and printing: what is wrong is for the checks to say."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


@contextmanager
def own_scripts(folder: Path) -> Iterator[None]:
    """Let `scripts` be this bundle's and no other's for a while, as in a process of its own."""

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
