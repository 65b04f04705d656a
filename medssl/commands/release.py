"""Passing a run on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .options import Commands, command


def add_export(commands: Commands) -> None:
    """The command `export`."""
    option = command(
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

    from ..release import export_for_nnunet, export_run

    if nnunet:
        print(export_for_nnunet(run, to))
    else:
        print(export_run(run, to, versions={package: version for package, _, version in pairs}, **given))


def add_verify(commands: Commands) -> None:
    """The command `verify`."""
    option = command(
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
    from ..release.verify import verify_bundle

    result = verify_bundle(folder, **given)
    print(result)
    return 0 if result.ok else 1
