"""The command line: ``python -m medssl demo | phantoms | …``. Each command calls one function elsewhere.

Nothing heavy is imported before a command is known, so that ``--help`` answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medssl.data import Source


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except (ValueError, OSError) as error:
        return _explain(error)
    except KeyboardInterrupt:
        print("\nmedssl: stopped.", file=sys.stderr)
        return 130
    return 0


def _explain(error: Exception) -> int:
    from medssl.training.config import print_plain_error

    if isinstance(error, OSError) and error.filename:  # a full disk, a folder that may not be written
        print(f"\nmedssl: {error.filename}: {error.strerror}.", file=sys.stderr)
    else:
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
    _add_report(commands)
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
        "prepare",
        help="turn the images and tables of any number of hospitals into a checked datalist and its store",
        description="Every file and every row of a CSV ends in OUTPUT/datalist.json or, with its reason, in "
        "OUTPUT/report.csv. Run again, only what is new or changed is done. Exit code 0: the datalist was written; 1: "
        "it was not, and a sentence says why; 2: the command was mistyped.",
    )
    prepare.add_argument("output", type=Path, help="folder for datalist.json, report.csv, the store and the plots")
    prepare.add_argument("--images", type=Path, nargs="+", default=[], help="folders of images, one for each --csv")
    prepare.add_argument(
        "--csv",
        type=Path,
        nargs="+",
        default=[],
        help="in the same order: ChestX-ray14's Data_Entry_2017.csv, CheXpert's train.csv, or a CSV with the columns "
        "image, patient and one for each label (1, 0, empty for unknown)",
    )
    prepare.add_argument(
        "--npz", type=Path, nargs="+", default=[], help="MedMNIST's npz, or one with images, labels, …"
    )
    prepare.add_argument(
        "--sources", type=Path, help="a YAML file of the sources instead, with names of columns and labels"
    )
    prepare.add_argument("--unlabeled", type=Path, nargs="+", default=[], help="folders of images without labels")
    prepare.add_argument("--dims", type=int, choices=(2, 3), default=2, help="2: radiographs (default), 3: CT volumes")
    prepare.add_argument(
        "--size", type=int, nargs="+", default=[224], help="pixels of a stored radiograph: one side, or rows columns"
    )
    prepare.add_argument(
        "--spacing",
        type=float,
        nargs=3,
        default=(1.0, 1.0, 5.0),
        metavar=("X", "Y", "Z"),
        help="mm of a stored volume's voxels (default: 1 1 5); -1 keeps each file's own",
    )
    prepare.add_argument("--labels", nargs="+", help="the labels to take (default: all)")
    prepare.add_argument("--classes", default="", help="the column whose text is the one class of each image")
    prepare.add_argument(
        "--uncertain", choices=("unknown", "positive", "negative"), default="unknown", help="what -1 means in a CSV"
    )
    prepare.add_argument(
        "--fractions", type=float, nargs=3, default=(0.7, 0.1, 0.2), metavar=("TRAIN", "VALIDATION", "TEST")
    )
    prepare.add_argument("--folds", type=int, default=0, help="also write a datalist for each of N folds")
    prepare.add_argument(
        "--labelled-per-class", type=int, help="forget labels: N images labelled for each class, one class each"
    )
    prepare.add_argument("--full-test", action="store_true", help="with --labelled-per-class: forget no label of test")
    prepare.add_argument("--seed", type=int, default=0, help="of the splits (default: 0)")
    prepare.add_argument("--workers", type=int, help="images prepared at a time (default: one a core)")
    prepare.set_defaults(command=_prepare)


def _prepare(options: argparse.Namespace) -> None:
    from rich import print as show

    from medssl.data.prepare import prepare

    summary = prepare(
        _sources(options),
        options.output,
        spatial_dims=options.dims,
        size=options.size * 2 if len(options.size) == 1 else options.size,
        spacing=options.spacing,
        labels=options.labels,
        fractions=options.fractions,
        folds=options.folds,
        labelled_per_class=options.labelled_per_class,
        partial_test=not options.full_test,
        seed=options.seed,
        workers=options.workers,
    )
    show(summary)


def _sources(options: argparse.Namespace) -> "list[Source]":
    from medssl.data import Source, read_sources

    if options.sources and (options.images or options.csv or options.npz):
        raise ValueError("--sources names every source: leave out --images, --csv and --npz.")
    if options.csv and len(options.csv) != len(options.images):
        raise ValueError(
            f"There are {len(options.images)} --images and {len(options.csv)} --csv: give each CSV its folder, in the "
            "same order; folders without labels go to --unlabeled."
        )
    reading = {"classes": options.classes, "uncertain": options.uncertain}
    pairs = zip(options.images, options.csv or [None] * len(options.images), strict=True)
    sources = read_sources(options.sources) if options.sources else []
    sources += [Source(images=images, csv=csv, **reading if csv else {}) for images, csv in pairs]
    sources += [Source(npz=npz) for npz in options.npz]
    return sources + [Source(images=images) for images in options.unlabeled]


def _add_report(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    report = commands.add_parser("report", help="one page on what came of one run, or of several beside each other")
    report.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="output_dir of a fine-tuning or pre-training")
    report.add_argument(
        "--output", type=Path, help="folder for report.html, report.md and the pictures (default: RUN/report)"
    )
    report.set_defaults(command=_report_runs)


def _report_runs(options: argparse.Namespace) -> None:
    from medssl.evaluation import write_report

    print(f"The report: {write_report(options.runs, options.output or options.runs[0] / 'report')}")


if __name__ == "__main__":
    sys.exit(main())
