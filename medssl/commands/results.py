"""What came of runs: the page, the features, whether test images were learned from."""

from pathlib import Path
from typing import Any

from .options import Commands, command


def add_report(commands: Commands) -> None:
    """The command `report`."""
    option = command(commands, _report, "one page on what came of a run, or of several beside each other").add_argument
    what = "output_dir of a fine-tuning or pre-training, or the folder of `medssl curve`"
    option("runs", type=Path, nargs="+", metavar="RUN", help=what)
    option("--output", type=Path, help="folder for report.html, report.md and the pictures (default: RUN/report)")


def _report(runs: list[Path], output: Path | None = None) -> None:
    from ..report import write_report

    print(f"The report: {write_report(runs, output or runs[0] / 'report')}")


def add_embed(commands: Commands) -> None:
    """The command `embed`."""
    option = command(
        commands,
        _embed,
        "the features of images by a run's weights, as a table and a picture: do they tell the hospital?",
        "Writes the pooled features of every image, or of every lesion of a table, a picture of them coloured by "
        "source and label, and the AUROC with which a probe reads the source from them, on other patients.",
    ).add_argument
    option("run", type=Path, metavar="RUN", help="output_dir of a pre-training or a fine-tuning, or a file of weights")
    option(
        "images", type=Path, metavar="IMAGES", help="a folder that medssl prepare wrote, or one of images as they come"
    )
    option("--output", type=Path, help="folder to write to (default: RUN/features)")
    option(
        "--csv",
        type=Path,
        metavar="FILE",
        help="lesions in these images, a row each: image, and x, y (z) or x_min, x_max, … in voxels of the file; with "
        "_ras or _lps behind in mm. Each is seen in a crop about it",
    )
    option(
        "--side",
        type=float,
        metavar="PIXELS",
        help="of the crop about a lesion of a radiograph (default: twice its box; about a point as many as the network "
        "takes)",
    )
    option("--maps", action="store_true", help="write the last feature map of each image, too: maps.npy")
    option(
        "--boxes",
        choices=("middle", "several"),
        help="of a volume larger than the network's box: the middle one, or the mean over those that cover it "
        "(default: as the model was validated, or the middle)",
    )
    option("--projection", choices=("pca", "umap"), help="of the picture (default: pca; umap needs medssl[umap])")
    option("--batch-size", type=int, help="images at once (default: 64 radiographs, 8 volumes)")
    option("--workers", type=int, help="processes that load images (default: 2; 0 for prepared images on two cores)")


def _embed(**given: Any) -> None:
    from ..studies.embedding import embed

    print(embed(**given))


def add_overlap(commands: Commands) -> None:
    """The command `overlap`."""
    option = command(
        commands,
        _overlap,
        "were images of a test set among those that a network learned from?",
        "Looks for the prepared images in the list of hashes that a training leaves and an export hands on, and writes "
        "a row for each that is in it. Only the very same picture is found. Exit code 0: none is in it; 1: some are.",
    ).add_argument
    option("data", type=Path, metavar="DATA", help="what medssl prepare wrote, or a datalist in it")
    option("run", type=Path, metavar="RUN", help="output_dir of a training, or a bundle that medssl export wrote")
    option("--split", help="whose images: training, validation, test, unlabeled, pretrain or all (default: test)")
    option("--output", type=Path, metavar="FILE", help="the table (default: overlap.csv beside the datalist)")


def _overlap(**given: Any) -> int:
    from ..evaluation import find_overlap

    overlap = find_overlap(**given)
    print(overlap)
    return 1 if len(overlap.found) else 0
