"""Running bundles in this process, and the command line that does the same.

A command of ``python -m monai.bundle`` spends six seconds on imports; a study runs many bundles, so it runs them here.
"""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from medssl.errors import user_error
from medssl.training.config import check_ids
from medssl.training.options import check_values


def bundle_folder(name: str) -> Path:
    """The folder of one of our bundles, such as ``cxr_pretrain``."""
    return Path(str(files("medssl.bundles"))) / name


def mix_in(name: str | Path) -> Path:
    """The file of one of our mix-ins, such as ``pretext/rotation``; a path stays what it is."""
    return name if isinstance(name, Path) else Path(str(files("medssl.configs"))) / f"{name}.yaml"


@dataclass(frozen=True)
class BundleRun:
    """One run of a bundle.

    Args:
        bundle: its name, such as ``cxr_pretrain``.
        configs: its config files in order, such as ``train`` and ``evaluate``.
        mix_ins: mix-ins after them, such as ``pretext/rotation``, or paths of others.
        options: ids and values that come last.
        processes: with more than one, ``torchrun`` starts them, each on a GPU of its own where there are GPUs.
    """

    bundle: str
    configs: Sequence[str] = ("train",)
    mix_ins: Sequence[str | Path] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    processes: int = 1

    @property
    def config_files(self) -> list[Path]:
        """Bundle configs, then mix-ins."""
        folder = bundle_folder(self.bundle) / "configs"
        names = [*self.configs, *(["multi_gpu_train"] if self.processes > 1 else [])]
        return [*(folder / f"{name}.yaml" for name in names), *map(mix_in, self.mix_ins)]

    def with_options(self, **options: Any) -> "BundleRun":
        """The same run with further options."""
        return replace(self, options={**self.options, **options})

    def command(self) -> str:
        """What a user would type to do the same."""
        command = " ".join(["python", "-m", *map(_quoted, self.words(_short))])
        return command.replace("python -m torch.distributed.run", "torchrun")

    def words(self, show: Callable[[Path], str] = str) -> list[str]:
        """The words of the command after ``python -m``.

        Args:
            show: how a path is written.
        """
        config_files = ",".join(repr(show(path)) for path in self.config_files)
        launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(self.processes), "-m"]
        words = [*(launcher if self.processes > 1 else []), "monai.bundle", "run"]
        words += ["--bundle_root", show(bundle_folder(self.bundle)), "--config_file", f"[{config_files}]"]
        for name, value in self.options.items():
            words += [f"--{name}", show(value) if isinstance(value, Path) else str(value)]
        return words

    def run(self) -> None:
        """Run it in this process, which only a run of one process can."""
        folder = bundle_folder(self.bundle)
        with _our_configs():
            workflow = ConfigWorkflow(
                config_file=[str(path) for path in self.config_files],
                meta_file=str(folder / "configs" / "metadata.json"),
                logging_file=str(folder / "configs" / "logging.conf"),
                bundle_root=str(folder),
                **self._values(),
            )
            workflow.initialize()
            workflow.run()
            workflow.finalize()
        # Engine and handlers refer to each other in circles, which hold 200 MB after a small run until Python looks.
        del workflow
        gc.collect()

    def check(self, *parts: str) -> None:
        """Find mistakes before a study begins that runs this late: in options, and parts that cannot be built.

        Args:
            parts: ids to build, such as ``network_def``.

        Raises:
            UserError: for an option that nothing uses or that cannot be, or what a part says.
            MissingFileError: likewise.
        """
        with _our_configs():
            parser = ConfigParser()
            parser.read_config([str(path) for path in self.config_files])
            parser.update({"bundle_root": str(bundle_folder(self.bundle)), **self._values()})
            check_ids(parser.get())
            check_values(parser.get())
            for part in parts:
                try:
                    parser.get_parsed_content(part)
                except Exception as error:
                    if (mistake := user_error(error)) is None:
                        raise
                    raise mistake from None

    def _values(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Path) else value for name, value in self.options.items()}


@contextmanager
def _our_configs() -> Iterator[None]:
    """As ``python -m monai.bundle``: a user's classes are found in the working directory.

    The configs are our own; MONAI warns about those of others, and about mix-ins in another folder.
    """
    path = sys.path[:]
    sys.path.append(os.getcwd())
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*no allow list.*")
            logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)
            yield
    finally:
        sys.path[:] = path


def _quoted(word: str) -> str:
    return f'"{word}"' if set(word) & set(" []'") else word


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
