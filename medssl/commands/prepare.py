"""From the files of hospitals to a datalist."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .options import Commands, command, number_or_word, read_pairs

if TYPE_CHECKING:
    from ..data import Source


def add_prepare(commands: Commands) -> None:
    """The command `prepare`."""
    option = command(
        commands,
        _prepare,
        "turn the images and tables of any number of hospitals into a checked datalist and its store",
        "Every file and every row of a CSV ends in OUTPUT/datalist.json or, with its reason, in OUTPUT/report.csv. Run "
        "again, only what is new or changed is done. Exit code 0: the datalist was written; 1: it was not, and a "
        "sentence says why; 2: the command was mistyped.",
    ).add_argument
    option("output", type=Path, help="folder for datalist.json, report.csv, the store and the pictures")
    option("--images", type=Path, nargs="+", help="folders of images, one for each --csv")
    option(
        "--csv",
        type=Path,
        nargs="+",
        help="in the same order: the table of ChestX-ray14, CheXpert, MIMIC-CXR, PadChest, VinDr-CXR or RSNA as it "
        "comes, or a CSV with the columns image, patient and one for each label (1, 0, empty for unknown)",
    )
    option("--masks", type=Path, nargs="+", help="folders of masks, one for each --images, in the same order")
    option(
        "--mask-labels",
        nargs="+",
        metavar="NUMBER=CLASS",
        help="what the numbers in masks mean, such as 1=liver 2=spleen; 3= leaves one out, others= all without a name "
        "(default: a folder for each image, with one file a class, called like the class)",
    )
    option(
        "--contains",
        nargs="+",
        metavar="CLASS=PART,PART",
        help="classes of masks that others make up, such as lungs=lung_left,lung_right",
    )
    option("--npz", type=Path, nargs="+", help="MedMNIST's npz, or one with images, labels, …")
    option("--sources", type=Path, help="a YAML file of the sources instead, with names of columns and labels")
    option("--unlabeled", type=Path, nargs="+", help="folders of images without labels")
    option("--classes", help="the column whose text is the one class of each image")
    option("--uncertain", choices=("unknown", "positive", "negative"), help="what -1 means in a CSV (default: unknown)")
    option(
        "--blank",
        choices=("unknown", "negative"),
        help="what an empty cell of a label means in a CSV (default: unknown)",
    )
    option(
        "--dims", dest="spatial_dims", type=int, choices=(2, 3), help="2: radiographs (default), 3: CT, MR, … volumes"
    )
    option(
        "--size", type=int, nargs="+", help="pixels of a stored radiograph: one side, or rows columns (default: 224)"
    )
    option(
        "--spacing",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="mm of a stored volume's voxels; -1 keeps each file's own (default: the store's, or the volumes' median)",
    )
    option(
        "--crop",
        type=int,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="voxels of a volume that a network sees at a time (default: as many as fit, by the volumes' sizes)",
    )
    option(
        "--window",
        type=number_or_word,
        nargs="+",
        metavar="HU",
        help="grey values that a network sees: two numbers, or lung, soft_tissue, brain, bone, or none for each "
        "volume's own mean and deviation (default: of CT that of its tissue, of others none)",
    )
    option("--labels", nargs="+", help="the labels to take (default: all)")
    option(
        "--views",
        nargs="+",
        metavar="VIEW",
        help="frontal (default: PA, AP, or no more than that), PA, AP, lateral, all: where a table knows the view, "
        "rows of others are set aside",
    )
    option("--modality", help="what the images are, as DICOM calls it: DX, CT, MR, … (default: what most files state)")
    option(
        "--fractions",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="shares of the patients whom no table puts into a split (default: 0.7 0.1 0.2); if given, a validation "
        "split that tables leave empty is taken out of training",
    )
    option("--folds", type=int, help="also write a datalist for each of N folds")
    option("--labelled-per-class", type=int, help="forget labels: N images labelled for each class, one class each")
    option(
        "--full-test",
        dest="partial_test",
        action="store_false",
        help="with --labelled-per-class: forget no label of test",
    )
    option("--seed", type=int, help="of the splits (default: 0)")
    option("--workers", type=int, help="images prepared at a time (default: one a core)")


def _prepare(**given: Any) -> None:
    from rich import print as show

    from ..data.prepare import prepare

    given["contains"] = _contains(given)
    sources = _sources(given)
    for name in ("size", "window"):  # one side for both, one word for two numbers
        if len(given.get(name, ())) == 1:
            given[name] = given[name] * 2 if name == "size" else given[name][0]
    show(prepare(sources, **given))


def _contains(given: dict[str, Any]) -> dict[str, list[str]]:
    """Which classes others make up, as the options or the file of the sources say."""
    from ..data.sources import read_contains

    contains = read_contains(given["sources"]) if "sources" in given else {}
    for whole, parts in read_pairs("--contains", given.pop("contains", ()), "lungs=lung_left,lung_right"):
        contains[whole] = [part for part in parts.split(",") if part]
    return contains


def _sources(given: dict[str, Any]) -> "list[Source]":
    """The sources that the options name, which are taken out of those given."""
    from ..data import Source, read_sources

    images, tables, npz, unlabeled = (given.pop(name, []) for name in ("images", "csv", "npz", "unlabeled"))
    reading = {name: given.pop(name) for name in ("classes", "uncertain", "blank") if name in given}
    masks, named = given.pop("masks", []), read_pairs("--mask-labels", given.pop("mask_labels", ()), "1=liver")
    mask_labels = {int(key) if key.isdecimal() else key: name for key, name in named}
    file = given.pop("sources", None)
    if file and (images or tables or npz or masks or mask_labels):
        raise UserError("--sources names every source: leave out --images, --csv, --masks and --npz.")
    if file and any(value not in ("", "unknown") for value in reading.values()):
        raise UserError("--classes, --uncertain and --blank are for --csv: write them into the file of --sources.")
    if tables and len(tables) != len(images):
        raise UserError(
            f"There are {len(images)} --images and {len(tables)} --csv: give each CSV its folder, in the same order; "
            "folders without labels go to --unlabeled."
        )
    if masks and len(masks) != len(images):
        raise UserError(
            f"There are {len(images)} --images and {len(masks)} --masks: give each folder of masks that of its images, "
            "in the same order; images without masks go to --unlabeled."
        )
    if mask_labels and not masks:
        raise UserError("--mask-labels names what is in masks, and there are none: give their folder by --masks.")
    drawn = [{"masks": folder, "mask_labels": mask_labels} for folder in masks]
    pairs = zip(images, tables or [None] * len(images), drawn or [{}] * len(images), strict=True)
    sources = read_sources(file) if file else []
    sources += [Source(images=folder, csv=csv, **reading if csv else {}, **more) for folder, csv, more in pairs]
    return [*sources, *(Source(npz=path) for path in npz), *(Source(images=folder) for folder in unlabeled)]
