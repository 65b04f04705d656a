"""``python -m medssl puzzles``: one picture of every pretext task."""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to the commands."""
    puzzles = commands.add_parser("puzzles", help="one picture of every pretext task, in 2D and 3D, on phantoms")
    puzzles.add_argument("output", type=Path, help="the picture to write (.png, .pdf, .svg)")
    puzzles.add_argument("--seed", type=int, default=0, help="of the phantoms and the puzzles (default: 0)")
    puzzles.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    from medssl.studies.gallery import draw_gallery

    draw_gallery(options.output, options.seed)
    print(f"Every pretext task, what goes in and what must be answered: {options.output}")
