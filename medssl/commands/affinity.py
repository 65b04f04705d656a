"""`python -m medssl affinity`: which guide tells beforehand what a pretext task will be worth?"""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to the commands."""
    affinity = commands.add_parser(
        "affinity",
        help="hold proxy and gradient task affinity beside what fine-tuning came to",
        description="Measures both guides at every backbone that pre-trainings kept (--keep_every), on "
        "validation, and compares them with evaluated fine-tunings that began with these backbones "
        "(Dong et al. 2024, Sec. 5.1). Prints the commands for fine-tunings that are missing. The runs' configs are "
        "executed: give your own runs only.",
    )
    affinity.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="output_dir of a pre-training or of an evaluated fine-tuning"
    )
    affinity.add_argument("--data", "--datalist", type=Path, required=True, help="labelled, prepared images")
    affinity.add_argument("--output", type=Path, required=True, help="folder for affinity.csv and affinity.png")
    affinity.add_argument("--split", default="validation", help="to judge the guides by (default: validation)")
    affinity.add_argument(
        "--batches", type=int, default=8, help="mini-batches that the gradient affinity is averaged over (default: 8)"
    )
    affinity.add_argument("--workers", type=int, default=0, help="processes that load images (default: 0)")
    affinity.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    from medssl.studies.affinity import run_affinity

    run_affinity(options.runs, options.data, options.output, options.split, options.batches, options.workers)
