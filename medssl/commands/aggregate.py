"""`python -m medssl aggregate`: which pretext tasks go together, and how alike networks are."""

import argparse
from pathlib import Path

from medssl.errors import UserError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to the commands."""
    aggregate = commands.add_parser(
        "aggregate",
        help="search for the pretext tasks that go together (MT-ASSL), or compare backbones (linear CKA)",
        description="With --config: pre-train and fine-tune on each candidate, then add greedily the task least like "
        "the pool while the score on validation rises (Zhu et al. 2020, Algorithm 1). It takes long, may be stopped at "
        "any moment, and goes on when the same command is given again. With --similarity: the linear CKA of the "
        "features of backbones, in pairs.",
    )
    which = aggregate.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=Path, metavar="FILE", help="a study, such as configs/studies/mt_assl_cxr.yaml")
    which.add_argument(
        "--similarity", type=Path, nargs="+", metavar="RUN", help="output_dir of a pre-training, or a backbone's file"
    )
    aggregate.add_argument(
        "--data", "--datalist", type=Path, help="prepared images; instead of those that the study names"
    )
    aggregate.add_argument("--output", type=Path, help="folder to write to; instead of the one that the study names")
    aggregate.add_argument(
        "--split", default="pretrain", help="with --similarity: the images to compare on (default: pretrain)"
    )
    aggregate.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    if options.config:
        from medssl.studies import read_study, run_mt_assl

        run_mt_assl(read_study(options.config, options.data, options.output))
        return
    from medssl.evaluation import compare_backbones

    for name in ("data", "output"):
        if getattr(options, name) is None:
            raise UserError(f"--similarity needs --{name}.")
    compare_backbones(options.similarity, options.data, options.output, options.split)
