"""Procedures that train many times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .options import Commands, command, number_or_word


def add_aggregate(commands: Commands) -> None:
    """The command `aggregate`."""
    parser = command(
        commands,
        _aggregate,
        "search for the pretext tasks that go together (MT-ASSL), or compare backbones (linear CKA)",
        "With --config: pre-train and fine-tune on each candidate, then add greedily the task least like the pool "
        "while the score on validation rises (Zhu et al. 2020, Algorithm 1). It takes long, may be stopped at any "
        "moment, and goes on when the same command is given again. With --similarity: the linear CKA of the features "
        "of backbones, in pairs.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=Path, metavar="FILE", help="a study, such as configs/studies/mt_assl_cxr.yaml")
    which.add_argument(
        "--similarity", type=Path, nargs="+", metavar="RUN", help="output_dir of a pre-training, or a backbone's file"
    )
    parser.add_argument("--data", "--datalist", type=Path, help="prepared images, instead of the study's")
    parser.add_argument("--output", type=Path, help="folder to write to, instead of the study's")
    parser.add_argument("--split", help="with --similarity: whose images (default: pretrain)")


def _aggregate(config: Path | None = None, similarity: Sequence[Path] = (), **given: Any) -> None:
    if config:
        from ..studies import read_study, run_mt_assl

        run_mt_assl(read_study(config, given.get("data"), given.get("output")))
        return
    for name in ("data", "output"):
        if name not in given:
            raise UserError(f"--similarity needs --{name}.")

    from ..evaluation import compare_backbones

    compare_backbones(similarity, **given)


def add_affinity(commands: Commands) -> None:
    """The command `affinity`."""
    option = command(
        commands,
        _affinity,
        "hold proxy and gradient task affinity beside what fine-tuning came to",
        "Measures both guides at every backbone that pre-trainings kept (--keep_every), on validation, and compares "
        "them with evaluated fine-tunings that began with these backbones (Dong et al. 2024, Sec. 5.1). Prints the "
        "commands for fine-tunings that are missing. The runs' configs are executed: give your own runs only.",
    ).add_argument
    option(
        "runs", type=Path, nargs="+", metavar="RUN", help="output_dir of a pre-training or of an evaluated fine-tuning"
    )
    option("--data", "--datalist", type=Path, required=True, help="labelled, prepared images")
    option("--output", type=Path, required=True, help="folder for affinity.csv and affinity.png")
    option("--split", help="to judge the guides by (default: validation)")
    option("--batches", type=int, help="mini-batches that the gradient affinity is averaged over (default: 8)")
    option("--workers", type=int, help="processes that load images (default: 0)")


def _affinity(**given: Any) -> None:
    from ..studies.affinity import run_affinity

    run_affinity(**given)


def add_curve(commands: Commands) -> None:
    """The command `curve`."""
    option = command(
        commands,
        _curve,
        "how good with how many labelled images, with and without pre-training, and how many more would it take?",
        "Fine-tunes on growing subsets of the labelled patients, from random weights and from each pre-training, fits "
        "probes on the frozen backbones beside it, and tests within the sources that were trained on and at another "
        "one. It may be stopped at any moment, and goes on when the same command is given again.",
    ).add_argument
    option("--data", "--datalist", type=Path, required=True, help="labelled, prepared images")
    option("--output", type=Path, required=True, help="folder for the runs, curve.md, curve.csv and curve.png")
    option("--pretrained", type=Path, nargs="+", metavar="RUN", help="output_dir of pre-trainings, or their weights")
    option("--sizes", type=int, nargs="+", metavar="N", help="labelled training images (default: 20 40 100 200)")
    option("--draws", type=int, help="random subsets of each size (default: 5)")
    option(
        "--test-source",
        nargs="+",
        metavar="NAME",
        help="the source to test on, while the others are trained on; none: train and test on all of them (default: "
        "every source in turn, where there are several)",
    )
    option("--target", type=float, nargs="+", metavar="AUROC", help="how many images would be needed for it?")
    option("--recipe", help="of the fine-tunings: a name of configs/recipes, or a file")
    option("--epochs", type=int, help="of each fine-tuning (default: the recipe's)")
    option("--options", nargs="+", metavar="NAME=VALUE", help="others of the fine-tuning, such as learning_rate=0.001")
    option("--parallel", type=int, help="trainings at a time (default: 1)")


def _curve(options: Sequence[str] = (), **given: Any) -> None:
    import yaml

    pairs = [option.partition("=") for option in options]
    if wrong := [name for name, sign, _ in pairs if not (name and sign)]:
        raise UserError(f"--options takes NAME=VALUE, such as learning_rate=0.001, not {wrong[0]!r}.")

    from ..studies.curve import run_curve

    values = {name: yaml.safe_load(value) for name, _, value in pairs}  # for which 1e-3 is text
    run_curve(
        options={name: number_or_word(value) if isinstance(value, str) else value for name, value in values.items()},
        **given,
    )
