"""The command line: ``python -m medssl demo | phantoms | …``. Each command calls one function elsewhere.

Nothing heavy is imported before a command is known, so that ``--help`` answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        return _report(error)
    except KeyboardInterrupt:
        print("\nmedssl: stopped.", file=sys.stderr)
        return 130
    return 0


def _report(error: Exception) -> int:
    from medssl.training.config import print_plain_error

    print_plain_error(type(error), error, error.__traceback__)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m medssl",
        description="Self-supervised pre-training and partially labelled fine-tuning of chest X-rays and CT. "
        "The trainings themselves are MONAI bundles: python -m monai.bundle run (see README).",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_phantoms(commands)
    _add_puzzles(commands)
    _add_prepare(commands)
    return parser


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser("demo", help="the main job in small, on phantoms: is pre-training worth it?")
    demo.add_argument(
        "--kind", choices=("chest", "head"), default="chest", help="chest radiographs (2D) or head CT (3D)"
    )
    demo.add_argument(
        "--output", type=Path, default=None, help="folder for data, runs and results (default: demo/KIND)"
    )
    demo.add_argument("--seeds", type=int, default=3, help="repetitions (default: 3)")
    demo.add_argument("--task", help="a mix-in of configs/pretext, such as rotation (default: the demo's own choice)")
    demo.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> None:
    from medssl.studies.demo import RECIPES, run_demo

    run_demo(RECIPES[options.kind], options.output or Path("demo") / options.kind, options.seeds, options.task)


def _add_phantoms(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    phantoms = commands.add_parser(
        "phantoms", help="write drawn chest radiographs or head CT volumes with their labels"
    )
    phantoms.add_argument("output", type=Path, help="folder to write to: images/ and labels.csv")
    phantoms.add_argument("--kind", choices=("chest", "head"), default="chest")
    phantoms.add_argument("--count", type=int, default=1000, help="number of images (default: 1000)")
    phantoms.add_argument("--size", type=int, nargs="+", help="pixels: one number (chest) or X Y Z (head)")
    phantoms.add_argument("--format", choices=("png", "dicom", "nifti"), help="default: png (chest), nifti (head)")
    phantoms.add_argument("--seed", type=int, default=0)
    phantoms.set_defaults(command=_phantoms)


def _phantoms(options: argparse.Namespace) -> None:
    from medssl.data import write_phantoms

    size = options.size[0] if options.size and len(options.size) == 1 else options.size and tuple(options.size)
    table = write_phantoms(options.output, options.kind, options.count, options.seed, size, options.format)
    print(f"{options.count} {options.kind} phantoms: {options.output / 'images'}, labels: {table}")


def _add_puzzles(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    puzzles = commands.add_parser("puzzles", help="one picture of every pretext task, in 2D and 3D, on phantoms")
    puzzles.add_argument("output", type=Path, help="the picture to write (.png, .pdf, .svg)")
    puzzles.add_argument("--seed", type=int, default=0, help="of the phantoms and the puzzles (default: 0)")
    puzzles.set_defaults(command=_puzzles)


def _puzzles(options: argparse.Namespace) -> None:
    from medssl.studies.gallery import draw_gallery

    draw_gallery(options.output, options.seed)
    print(f"Every pretext task, what goes in and what must be answered: {options.output}")


def _add_prepare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    prepare = commands.add_parser(
        "prepare", help="turn images and a CSV into a checked datalist with patient-wise splits"
    )
    prepare.add_argument("output", type=Path, help="folder for datalist.json and report.csv")
    prepare.add_argument("--images", type=Path, help="folder of the images that the CSV names")
    prepare.add_argument(
        "--csv", type=Path, help="ChestX-ray14's Data_Entry_2017.csv, or: image, patient, a column a label"
    )
    prepare.add_argument(
        "--npz", type=Path, help="instead of images and CSV: one file with images, labels, label_names, …"
    )
    prepare.add_argument(
        "--unlabeled", type=Path, nargs="+", default=[], help="folders of further images without labels"
    )
    prepare.add_argument("--dims", type=int, choices=(2, 3), default=2, help="2: radiographs (default), 3: CT volumes")
    prepare.add_argument("--labels", nargs="+", help="the labels to take (default: all)")
    prepare.add_argument(
        "--fractions", type=float, nargs=3, default=(0.7, 0.1, 0.2), metavar=("TRAIN", "VALIDATION", "TEST")
    )
    prepare.add_argument(
        "--labelled-per-class", type=int, help="forget labels: N images labelled for each class, one class each"
    )
    prepare.add_argument("--full-test", action="store_true", help="with --labelled-per-class: forget no label of test")
    prepare.add_argument("--seed", type=int, default=0, help="of the splits (default: 0)")
    prepare.add_argument("--no-check", action="store_true", help="do not open every image")
    prepare.set_defaults(command=_prepare)


def _prepare(options: argparse.Namespace) -> None:
    from rich import print as show

    from medssl.data import unpack_npz
    from medssl.data.prepare import prepare

    images, csv = options.images, options.csv
    if options.npz:
        csv = unpack_npz(options.npz, options.output / "unpacked")
        images = csv.parent / "images"
    summary = prepare(
        images,
        csv,
        options.output,
        unlabeled=options.unlabeled,
        spatial_dims=options.dims,
        labels=options.labels,
        fractions=options.fractions,
        labelled_per_class=options.labelled_per_class,
        partial_test=not options.full_test,
        seed=options.seed,
        check=not options.no_check,
    )
    show(summary)


if __name__ == "__main__":
    sys.exit(main())
