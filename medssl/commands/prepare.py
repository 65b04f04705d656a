"""``python -m medssl prepare``: from folders and tables to a checked datalist and its store."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.errors import UserError

if TYPE_CHECKING:
    from medssl.data import Source


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to the commands."""
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
        help="in the same order: the table of ChestX-ray14, CheXpert, MIMIC-CXR, PadChest, VinDr-CXR or RSNA as it "
        "comes, or a CSV with the columns image, patient and one for each label (1, 0, empty for unknown)",
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
        "--blank",
        choices=("unknown", "negative"),
        default="unknown",
        help="what an empty cell of a label means in a CSV (default: unknown)",
    )
    prepare.add_argument(
        "--views",
        nargs="+",
        default=["frontal"],
        metavar="VIEW",
        help="frontal (default: PA, AP, or no more than that), PA, AP, lateral, all: where a table knows the view, "
        "rows of others are set aside",
    )
    prepare.add_argument(
        "--modality",
        default="",
        help="what the images are, as DICOM calls it, such as DX, CT, MR (default: what most files state)",
    )
    prepare.add_argument(
        "--fractions",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="shares of the patients whom no table puts into a split (default: 0.7 0.1 0.2); if given, a validation "
        "split that tables leave empty is taken out of training",
    )
    prepare.add_argument("--folds", type=int, default=0, help="also write a datalist for each of N folds")
    prepare.add_argument(
        "--labelled-per-class", type=int, help="forget labels: N images labelled for each class, one class each"
    )
    prepare.add_argument("--full-test", action="store_true", help="with --labelled-per-class: forget no label of test")
    prepare.add_argument("--seed", type=int, default=0, help="of the splits (default: 0)")
    prepare.add_argument("--workers", type=int, help="images prepared at a time (default: one a core)")
    prepare.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    from rich import print as show

    from medssl.data.prepare import prepare

    summary = prepare(
        _sources(options),
        options.output,
        spatial_dims=options.dims,
        size=options.size * 2 if len(options.size) == 1 else options.size,
        spacing=options.spacing,
        labels=options.labels,
        views=options.views,
        modality=options.modality,
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
        raise UserError("--sources names every source: leave out --images, --csv and --npz.")
    reading = {"classes": options.classes, "uncertain": options.uncertain, "blank": options.blank}
    if options.sources and reading != {"classes": "", "uncertain": "unknown", "blank": "unknown"}:
        raise UserError("--classes, --uncertain and --blank are for --csv: write them into the file of --sources.")
    if options.csv and len(options.csv) != len(options.images):
        raise UserError(
            f"There are {len(options.images)} --images and {len(options.csv)} --csv: give each CSV its folder, in the "
            "same order; folders without labels go to --unlabeled."
        )
    pairs = zip(options.images, options.csv or [None] * len(options.images), strict=True)
    sources = read_sources(options.sources) if options.sources else []
    sources += [Source(images=images, csv=csv, **reading if csv else {}) for images, csv in pairs]
    sources += [Source(npz=npz) for npz in options.npz]
    return sources + [Source(images=images) for images in options.unlabeled]
