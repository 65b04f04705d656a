"""Running bundles in this process, and the command line that does the same.

A command of ``python -m monai.bundle`` spends six seconds on imports; a study runs many bundles, so it runs them here.
"""

import gc
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow


def bundle_folder(name: str) -> Path:
    """The folder of one of our bundles, such as ``cxr_pretrain``."""
    return Path(str(files("medssl.bundles"))) / name


def mix_in(name: str) -> Path:
    """The file of a mix-in, such as ``pretext/rotation``."""
    return Path(str(files("medssl.configs"))) / f"{name}.yaml"


@dataclass(frozen=True)
class BundleRun:
    """One run of a bundle.

    Args:
        bundle: its name, such as ``cxr_pretrain``.
        configs: its config files in order, such as ``train`` and ``evaluate``.
        mix_ins: mix-ins after them, such as ``pretext/rotation``.
        options: ids and values that come last.
    """

    bundle: str
    configs: Sequence[str] = ("train",)
    mix_ins: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config_files(self) -> list[Path]:
        """Bundle configs, then mix-ins."""
        folder = bundle_folder(self.bundle) / "configs"
        return [*(folder / f"{name}.yaml" for name in self.configs), *map(mix_in, self.mix_ins)]

    def command(self) -> str:
        """What a user would type to do the same."""
        config_files = ",".join(repr(_short(path)) for path in self.config_files)
        words = ["python -m monai.bundle run --bundle_root", _quoted(_short(bundle_folder(self.bundle)))]
        words += ["--config_file", f'"[{config_files}]"']
        for name, value in self.options.items():
            words += [f"--{name}", _quoted(_short(value) if isinstance(value, Path) else str(value))]
        return " ".join(words)

    def run(self) -> None:
        """Run it in this process."""
        folder = bundle_folder(self.bundle)
        options = {name: str(value) if isinstance(value, Path) else value for name, value in self.options.items()}
        with warnings.catch_warnings():
            # The configs are our own; MONAI warns about those of others, and about mix-ins in another folder.
            warnings.filterwarnings("ignore", message=".*no allow list.*")
            logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)
            workflow = ConfigWorkflow(
                config_file=[str(path) for path in self.config_files],
                meta_file=str(folder / "configs" / "metadata.json"),
                logging_file=str(folder / "configs" / "logging.conf"),
                bundle_root=str(folder),
                **options,
            )
            workflow.initialize()
            workflow.run()
            workflow.finalize()
        # Engine and handlers refer to each other in circles, which hold 200 MB after a small run until Python looks.
        del workflow
        gc.collect()


def _quoted(word: str) -> str:
    return f'"{word}"' if set(word) & set(" []'") else word


def _short(path: Path | str) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
