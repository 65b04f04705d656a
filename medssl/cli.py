"""The command line, `medssl COMMAND` or `python -m medssl COMMAND`.

A command is two functions: one adds its options, and one hands those that were given on to a function elsewhere. An
option is called like the parameter that it becomes, whose default rules where it is not given. Nothing heavy is
imported before a command runs, so that `--help` answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import INTERRUPTED, UserError, print_plain_error

if TYPE_CHECKING:
    from .data import Source

Commands = Any  # argparse._SubParsersAction, which argparse keeps to itself


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = vars(command_parser().parse_args(arguments))
    run: Callable[..., int | None] = options.pop("run_command")
    try:
        return run(**options) or 0
    except Exception as error:
        print_plain_error(type(error), error, error.__traceback__)
        return 1
    except KeyboardInterrupt:
        print("\nmedssl: Stopped.", file=sys.stderr)
        return INTERRUPTED


def command_parser() -> argparse.ArgumentParser:
    """What reads the command line."""
    parser = argparse.ArgumentParser(
        prog="medssl",
        description="Self-supervised pre-training and partially labelled fine-tuning of chest X-rays and CT. "
        "The trainings themselves are MONAI bundles: python -m monai.bundle run (see README).",
    )
    parser.add_argument("--version", action="version", version=f"medssl {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in ADD_COMMANDS:
        add(commands)
    return parser


def _command(
    commands: Commands, run: Callable[..., int | None], title: str, description: str = ""
) -> argparse.ArgumentParser:
    """A command that is called like the function that runs it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        run.__name__.removeprefix("_"),
        help=title,
        description=description or title,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run_command=run)
    return parser


def _add_demo(commands: Commands) -> None:
    option = _command(commands, _demo, "the main job in small, on phantoms: is pre-training worth it?").add_argument
    option("--kind", choices=("chest", "head"), default="chest", help="chest radiographs (2D, default) or head CT (3D)")
    option("--output", type=Path, help="folder for data, runs and results (default: demo/KIND)")
    option("--seeds", type=int, help="repetitions (default: 3)")
    option("--task", help="pretext task or tasks, such as rotation or rotation,mim (default: the demo's own choice)")


def _demo(kind: str, output: Path | None = None, **given: Any) -> None:
    from .studies.demo import RECIPES, run_demo

    run_demo(RECIPES[kind], output or Path("demo", kind), **given)


def _add_bundles(commands: Commands) -> None:
    option = _command(
        commands,
        _bundles,
        "lay the bundles, recipes and studies down where you work",
        "Writes bundles/ and configs/, whose files are given to python -m monai.bundle run. In a checkout they stand "
        "at the top already. A file that you changed is not touched, unless you say so.",
    ).add_argument
    option("--to", type=Path, required=True, metavar="DIR", help="folder that gets bundles/ and configs/, such as .")
    option("--overwrite", action="store_true", help="replace files with another content, such as an older version's")


def _bundles(to: Path, **given: bool) -> None:
    from .scaffold import lay_down

    print(lay_down(to, **given))


def _add_prepare(commands: Commands) -> None:
    option = _command(
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
        type=_number_or_word,
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


def _number_or_word(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _prepare(**given: Any) -> None:
    from rich import print as show

    from .data.prepare import prepare

    given["contains"] = _contains(given)
    sources = _sources(given)
    for name in ("size", "window"):  # one side for both, one word for two numbers
        if len(given.get(name, ())) == 1:
            given[name] = given[name] * 2 if name == "size" else given[name][0]
    show(prepare(sources, **given))


def _contains(given: dict[str, Any]) -> dict[str, list[str]]:
    """Which classes others make up, as the options or the file of the sources say."""
    from .data.sources import read_contains

    contains = read_contains(given["sources"]) if "sources" in given else {}
    for whole, parts in _pairs("--contains", given.pop("contains", ()), "lungs=lung_left,lung_right"):
        contains[whole] = [part for part in parts.split(",") if part]
    return contains


def _pairs(option: str, given: Sequence[str], example: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given]
    for (name, sign, _), text in zip(pairs, given, strict=True):
        if not (name and sign):
            raise UserError(f"{option} takes pairs such as {example}, not {text!r}.")
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _sources(given: dict[str, Any]) -> "list[Source]":
    """The sources that the options name, which are taken out of those given."""
    from .data import Source, read_sources

    images, tables, npz, unlabeled = (given.pop(name, []) for name in ("images", "csv", "npz", "unlabeled"))
    reading = {name: given.pop(name) for name in ("classes", "uncertain", "blank") if name in given}
    masks, named = given.pop("masks", []), _pairs("--mask-labels", given.pop("mask_labels", ()), "1=liver")
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


def _add_report(commands: Commands) -> None:
    option = _command(commands, _report, "one page on what came of a run, or of several beside each other").add_argument
    option("runs", type=Path, nargs="+", metavar="RUN", help="output_dir of a fine-tuning or pre-training")
    option("--output", type=Path, help="folder for report.html, report.md and the pictures (default: RUN/report)")


def _report(runs: list[Path], output: Path | None = None) -> None:
    from .report import write_report

    print(f"The report: {write_report(runs, output or runs[0] / 'report')}")


def _add_export(commands: Commands) -> None:
    option = _command(
        commands,
        _export,
        "turn a run into a bundle for others, which needs MONAI alone",
        "Writes a bundle in the form of MONAI's model zoo: a classifier from a fine-tuning, a backbone from a "
        "pre-training. It gives what the run gives, and names no patient. Exported again into the same folder, it is "
        "replaced. Verify it afterwards: medssl verify DIR --run RUN.",
    ).add_argument
    option("run", type=Path, metavar="RUN", help="output_dir of a fine-tuning or a pre-training")
    option("--to", type=Path, required=True, metavar="DIR", help="folder of the bundle")
    option("--name", help="to show, such as 'Findings on chest radiographs'")
    option("--authors", help="of the model")
    option("--version", help="of the bundle (default: 0.1.0)")
    option("--changes", help="what is new in this version, for the changelog (default: first version)")
    option("--data-license", type=Path, metavar="FILE", help="a text on the terms of the training data")
    option("--torchscript", action="store_true", help="write models/model.ts, too")
    option("--onnx", action="store_true", help="write models/model.onnx, too")
    option(
        "--nnunet",
        action="store_true",
        help="write no bundle, but a checkpoint of a resenc_l that nnUNetv2_train_pretrained begins with",
    )
    option(
        "--hub",
        action="store_true",
        help="write what Hugging Face shows and takes (uploads nothing; python -m monai.bundle push_to_hf_hub does)",
    )
    option(
        "--no-image-list",
        dest="image_list",
        action="store_false",
        help="leave out the hashes of the images that it learned from, by which others find theirs (medssl overlap)",
    )
    option("--no-zip", dest="archive", action="store_false", help="leave out the archive beside the folder")
    option(
        "--require",
        nargs="+",
        metavar="PACKAGE=VERSION",
        help="versions that the bundle requires instead of the installed ones, such as torch=2.9.0",
    )


def _export(run: Path, to: Path, require: Sequence[str] = (), nnunet: bool = False, **given: Any) -> None:
    pairs = [required.partition("=") for required in require]
    for package, _, version in pairs:
        if not (package and version):
            raise UserError(f"--require takes PACKAGE=VERSION, such as torch=2.9.0, not {package!r}.")

    if nnunet and (given.keys() - {"archive"} or pairs):
        raise UserError("--nnunet writes a checkpoint, which has no more options: leave the others out.")

    from .release import export_for_nnunet, export_run

    if nnunet:
        print(export_for_nnunet(run, to))
    else:
        print(export_run(run, to, versions={package: version for package, _, version in pairs}, **given))


def _add_verify(commands: Commands) -> None:
    option = _command(
        commands,
        _verify,
        "check a bundle before it is passed on",
        "Every check of MONAI's model zoo, offline, and some of our own: no absolute path, no patient, no medssl where "
        "MONAI must suffice. Exit code 0: nothing is wrong. The configs of a bundle are code, which runs when nothing "
        "was found without running it: verify only bundles that you trust.",
    ).add_argument
    option("folder", type=Path, metavar="DIR", help="folder of the bundle")
    option("--run", type=Path, help="the run that it came from: its patients and images are looked for in every file")


def _verify(folder: Path, **given: Path) -> int:
    from .release.verify import verify_bundle

    result = verify_bundle(folder, **given)
    print(result)
    return 0 if result.ok else 1


def _add_overlap(commands: Commands) -> None:
    option = _command(
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
    from .evaluation import find_overlap

    overlap = find_overlap(**given)
    print(overlap)
    return 1 if len(overlap.found) else 0


def _add_aggregate(commands: Commands) -> None:
    parser = _command(
        commands,
        _aggregate,
        "search for the pretext tasks that go together (MT-ASSL), or compare backbones (linear CKA)",
        "With --config: pre-train and fine-tune on each candidate, then add greedily the task least like the pool "
        "while the score on validation rises (Zhu et al. 2020, Algorithm 1). It takes long, may be stopped at any "
        "moment, and goes on when the same command is given again. With --similarity: the linear CKA of the features "
        "of backbones, in pairs.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=Path, metavar="FILE", help="a study, such as configs/studies/mt_assl_cxr.yaml")
    which.add_argument(
        "--similarity", type=Path, nargs="+", metavar="RUN", help="output_dir of a pre-training, or a backbone's file"
    )
    parser.add_argument("--data", "--datalist", type=Path, help="prepared images, instead of the study's")
    parser.add_argument("--output", type=Path, help="folder to write to, instead of the study's")
    parser.add_argument("--split", help="with --similarity: whose images (default: pretrain)")


def _aggregate(config: Path | None = None, similarity: Sequence[Path] = (), **given: Any) -> None:
    if config:
        from .studies import read_study, run_mt_assl

        run_mt_assl(read_study(config, given.get("data"), given.get("output")))
        return
    for name in ("data", "output"):
        if name not in given:
            raise UserError(f"--similarity needs --{name}.")

    from .evaluation import compare_backbones

    compare_backbones(similarity, **given)


def _add_affinity(commands: Commands) -> None:
    option = _command(
        commands,
        _affinity,
        "hold proxy and gradient task affinity beside what fine-tuning came to",
        "Measures both guides at every backbone that pre-trainings kept (--keep_every), on validation, and compares "
        "them with evaluated fine-tunings that began with these backbones (Dong et al. 2024, Sec. 5.1). Prints the "
        "commands for fine-tunings that are missing. The runs' configs are executed: give your own runs only.",
    ).add_argument
    option(
        "runs", type=Path, nargs="+", metavar="RUN", help="output_dir of a pre-training or of an evaluated fine-tuning"
    )
    option("--data", "--datalist", type=Path, required=True, help="labelled, prepared images")
    option("--output", type=Path, required=True, help="folder for affinity.csv and affinity.png")
    option("--split", help="to judge the guides by (default: validation)")
    option("--batches", type=int, help="mini-batches that the gradient affinity is averaged over (default: 8)")
    option("--workers", type=int, help="processes that load images (default: 0)")


def _affinity(**given: Any) -> None:
    from .studies.affinity import run_affinity

    run_affinity(**given)


def _add_curve(commands: Commands) -> None:
    option = _command(
        commands,
        _curve,
        "how good with how many labelled images, with and without pre-training, and how many more would it take?",
        "Fine-tunes on growing subsets of the labelled patients, from random weights and from each pre-training, fits "
        "probes on the frozen backbones beside it, and tests within the sources that were trained on and at another "
        "one. It may be stopped at any moment, and goes on when the same command is given again.",
    ).add_argument
    option("--data", "--datalist", type=Path, required=True, help="labelled, prepared images")
    option("--output", type=Path, required=True, help="folder for the runs, curve.md, curve.csv and curve.png")
    option("--pretrained", type=Path, nargs="+", metavar="RUN", help="output_dir of pre-trainings, or their weights")
    option("--sizes", type=int, nargs="+", metavar="N", help="labelled training images (default: 20 40 100 200)")
    option("--draws", type=int, help="random subsets of each size (default: 5)")
    option(
        "--test-source",
        nargs="+",
        metavar="NAME",
        help="the source to test on, while the others are trained on; none: train and test on all of them (default: "
        "every source in turn, where there are several)",
    )
    option("--target", type=float, nargs="+", metavar="AUROC", help="how many images would be needed for it?")
    option("--recipe", help="of the fine-tunings: a name of configs/recipes, or a file")
    option("--epochs", type=int, help="of each fine-tuning (default: the recipe's)")
    option("--options", nargs="+", metavar="NAME=VALUE", help="others of the fine-tuning, such as learning_rate=0.001")
    option("--parallel", type=int, help="trainings at a time (default: 1)")


def _curve(options: Sequence[str] = (), **given: Any) -> None:
    import yaml

    pairs = [option.partition("=") for option in options]
    if wrong := [name for name, sign, _ in pairs if not (name and sign)]:
        raise UserError(f"--options takes NAME=VALUE, such as learning_rate=0.001, not {wrong[0]!r}.")

    from .studies.curve import run_curve

    values = {name: yaml.safe_load(value) for name, _, value in pairs}  # for which 1e-3 is text
    run_curve(
        options={name: _number_or_word(value) if isinstance(value, str) else value for name, value in values.items()},
        **given,
    )


def _add_embed(commands: Commands) -> None:
    option = _command(
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
    option("--workers", type=int, help="processes that load images (default: 2)")


def _embed(**given: Any) -> None:
    from .studies.embedding import embed

    print(embed(**given))


def _add_phantoms(commands: Commands) -> None:
    option = _command(commands, _phantoms, "write drawn chest radiographs or head CT with their labels").add_argument
    option("directory", metavar="output", type=Path, help="folder to write to: images/ and labels.csv")
    option("--kind", choices=("chest", "head"), default="chest", help="default: chest")
    option("--count", type=int, default=1000, help="number of images (default: 1000)")
    option("--size", type=int, nargs="+", help="pixels: one number (chest) or X Y Z (head)")
    option("--format", dest="image_format", choices=("png", "dicom", "nifti"), help="default: png or nifti, by kind")
    option("--seed", type=int, help="of the drawing (default: 0)")
    option("--scanner", choices=("north", "west", "south"), help="of a hospital of the demo (chest; default: any)")
    option("--first-patient", type=int, help="number of the first one, so that hospitals share none (default: 0)")
    option(
        "--masks",
        action="store_true",
        help="heads of three hospitals with masks of other classes each, and sources.yaml in place of labels.csv",
    )


def _phantoms(directory: Path, count: int, kind: Any, size: Sequence[int] = (), **given: Any) -> None:
    from .phantoms import SCANNERS, write_phantoms, write_segmented_heads

    shape = size[0] if len(size) == 1 else tuple(size) or None
    if given.pop("masks", False):
        if kind != "head" or given.keys() - {"seed"}:
            raise UserError("--masks is for --kind head, with --count, --size and --seed alone.")
        given |= {"size": shape} if shape else {}
        print(f"{count} heads of three hospitals: {write_segmented_heads(directory, count, **given)}")
        return
    if scanner := given.pop("scanner", ""):
        given["scanner"] = SCANNERS[scanner]
    table = write_phantoms(directory, kind=kind, count=count, size=shape, **given)
    print(f"{count} {kind} phantoms: {directory / 'images'}, labels: {table}")


def _add_puzzles(commands: Commands) -> None:
    option = _command(commands, _puzzles, "one picture of every pretext task, in 2D and 3D, on phantoms").add_argument
    option("path", metavar="output", type=Path, help="the picture to write (.png, .pdf, .svg)")
    option("--tasks", nargs="+", metavar="TASK", help="some of them, such as rotation mim (default: all)")
    option("--seed", type=int, help="of the phantoms and the puzzles (default: 0)")


def _puzzles(path: Path, **given: Any) -> None:
    from .studies.gallery import draw_gallery

    draw_gallery(path, **given)
    print(f"What goes in, and what must be answered: {path}")


ADD_COMMANDS = (
    _add_demo,
    _add_bundles,
    _add_prepare,
    _add_report,
    _add_export,
    _add_verify,
    _add_overlap,
    _add_aggregate,
    _add_affinity,
    _add_curve,
    _add_embed,
    _add_phantoms,
    _add_puzzles,
)
"""In the order in which `--help` names them."""
