"""Running bundles in this process, and the command line that does the same.

A command of `python -m monai.bundle` spends six seconds on imports; a study runs many bundles, so it runs them here.
"""

import gc
import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from monai.bundle import ConfigParser, ConfigWorkflow
from rich.console import Console

from medssl.errors import user_error
from medssl.progress import is_quiet
from medssl.runs import Run
from medssl.training.config import check_ids
from medssl.training.options import check_values

EVALUATED = ("data", "output_dir", "seed", "batch_size", "workers", "device", "quiet")
"""Options of a fine-tuning that its evaluation has, too."""


def bundle_folder(name: str) -> Path:
    """The folder of one of our bundles, such as `pretrain`."""
    return Path(str(files("medssl.bundles"))) / name


def config_file(name: str) -> Path:
    """One of our files of `configs`, such as `linear_probe` or `studies/mt_assl_cxr`."""
    return Path(str(files("medssl.configs"))) / f"{name}.yaml"


@dataclass(frozen=True)
class BundleRun:
    """One run of a bundle.

    Args:
        bundle: its name: `pretrain` or `finetune`.
        options: ids and their values, such as `{"tasks": {"rotation": {}}, "epochs": 10}`.
        config: the name of one of its configs: `train`, `evaluate` or `inference`.
        mix_ins: what goes over it: names of files of `configs`, such as `linear_probe`, or paths of others.
        processes: with more than one, `torchrun` starts them, each on a GPU of its own where there are GPUs.
    """

    bundle: str
    options: Mapping[str, Any] = field(default_factory=dict)
    config: str = "train"
    mix_ins: Sequence[str | Path] = ()
    processes: int = 1

    @property
    def config_files(self) -> list[Path]:
        """The config, what goes over it for several processes, and the mix-ins."""
        names = [self.config, *(["multi_gpu_train"] if self.processes > 1 else [])]
        return [
            *(bundle_folder(self.bundle) / "configs" / f"{name}.yaml" for name in names),
            *(each if isinstance(each, Path) else config_file(each) for each in self.mix_ins),
        ]

    @property
    def folder(self) -> Path:
        """Where it writes to."""
        return Path(self.options["output_dir"])

    def with_options(self, **options: Any) -> Self:
        """The same run with further options."""
        return replace(self, options={**self.options, **options})

    def evaluation(self, **options: Any) -> Self:
        """The evaluation of what this fine-tuning leaves; what is about training alone is left out."""
        kept = {name: value for name, value in self.options.items() if name in EVALUATED}
        return replace(self, config="evaluate", mix_ins=(), processes=1, options={**kept, **options})

    def figures(self, split: str) -> dict[str, Any]:
        """What it came to on a split, as its metrics say."""
        return dict(Run.read(self.folder).metrics["splits"][split])

    def command(self) -> str:
        """What a user would type to do the same, in bash or zsh."""
        command = " ".join(["python", "-m", *map(_quoted, self.words(_short))])
        return command.replace("python -m torch.distributed.run", "torchrun")

    def words(self, show: Callable[[Path], str] = str) -> list[str]:
        """The words of the command after `python -m`.

        Args:
            show: how a path is written.
        """
        launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(self.processes), "-m"]
        config_files = [show(path) for path in self.config_files]
        words = [*(launcher if self.processes > 1 else []), "monai.bundle", "run"]
        words += ["--config_file", config_files[0] if len(config_files) == 1 else str(config_files)]
        for name, value in self.options.items():
            words += [f"--{name}", show(value) if isinstance(value, Path) else _typed(value)]
        return words

    def run(self) -> None:
        """Run it in this process, which only a run of one process can."""
        with _our_configs():
            workflow = ConfigWorkflow([str(path) for path in self.config_files], **self._values())
            workflow.initialize()
            workflow.run()
            workflow.finalize()
        # Engine and handlers refer to each other in circles, which hold 200 MB after a small run until Python looks.
        del workflow
        gc.collect()

    def check(self, *parts: str) -> None:
        """Find mistakes before a study begins that runs this late: in options, and parts that cannot be built.

        Args:
            parts: ids to build, such as `network_def`.

        Raises:
            UserError: for an option that nothing uses or that cannot be, or what a part says.
            MissingFileError: likewise.
        """
        with _our_configs():
            parser = ConfigParser()
            parser.read_config([str(path) for path in self.config_files])
            parser.update(self._values())
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
    """As `python -m monai.bundle`: a user's classes are found in the working directory.

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


def _typed(value: Any) -> str:
    """A value as python-fire reads it; names without values, such as those of tasks, with commas between them."""
    if isinstance(value, Mapping) and value and not any(value.values()):
        return ",".join(value)
    return str(value)


def _quoted(word: str) -> str:
    """A word for bash and zsh: in double quotes where they do, for many words hold single ones."""
    if "'" in word and not re.search(r'["$`\\!]', word):
        return f'"{word}"'
    return shlex.quote(word)


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def say(console: Console, what: str, run: BundleRun) -> None:
    """Print what comes next and the command that does it, unless that is to be quiet."""
    if is_quiet():
        return
    console.print(f"\n{what}", style="bold")
    console.print(f"  {run.command()}", style="dim", soft_wrap=True)
