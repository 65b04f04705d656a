"""`python -m medssl demo`: the main job in small, on phantoms."""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to the commands."""
    demo = commands.add_parser("demo", help="the main job in small, on phantoms: is pre-training worth it?")
    demo.add_argument(
        "--kind", choices=("chest", "head"), default="chest", help="chest radiographs (2D) or head CT (3D)"
    )
    demo.add_argument(
        "--output", type=Path, default=None, help="folder for data, runs and results (default: demo/KIND)"
    )
    demo.add_argument("--seeds", type=int, default=3, help="repetitions (default: 3)")
    demo.add_argument(
        "--task", help="pretext task or tasks, such as rotation or rotation,mim (default: the demo's own choice)"
    )
    demo.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    from medssl.studies.demo import RECIPES, run_demo

    run_demo(RECIPES[options.kind], options.output or Path("demo") / options.kind, options.seeds, options.task)
