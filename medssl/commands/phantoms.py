"""``python -m medssl phantoms``: drawn images with their labels, as files."""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to the commands."""
    phantoms = commands.add_parser(
        "phantoms", help="write drawn chest radiographs or head CT volumes with their labels"
    )
    phantoms.add_argument("output", type=Path, help="folder to write to: images/ and labels.csv")
    phantoms.add_argument("--kind", choices=("chest", "head"), default="chest")
    phantoms.add_argument("--count", type=int, default=1000, help="number of images (default: 1000)")
    phantoms.add_argument("--size", type=int, nargs="+", help="pixels: one number (chest) or X Y Z (head)")
    phantoms.add_argument("--format", choices=("png", "dicom", "nifti"), help="default: png (chest), nifti (head)")
    phantoms.add_argument("--seed", type=int, default=0)
    phantoms.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    from medssl.phantoms import write_phantoms

    size = options.size[0] if options.size and len(options.size) == 1 else options.size and tuple(options.size)
    table = write_phantoms(options.output, options.kind, options.count, options.seed, size, options.format)
    print(f"{options.count} {options.kind} phantoms: {options.output / 'images'}, labels: {table}")
