"""``python -m medssl export``: from a run to a bundle that needs MONAI alone."""

import argparse
from pathlib import Path

from medssl.errors import UserError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to the commands."""
    export = commands.add_parser(
        "export",
        help="turn a run into a bundle for others, which needs MONAI alone",
        description="Writes a bundle in the form of MONAI's model zoo: a classifier from a fine-tuning, a backbone "
        "from a pre-training. It gives what the run gives, and names no patient. Exported again into the same folder, "
        "it is replaced. Verify it afterwards: python -m medssl verify DIR --run RUN.",
    )
    export.add_argument("run", type=Path, metavar="RUN", help="output_dir of a fine-tuning or a pre-training")
    export.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder of the bundle")
    export.add_argument("--name", help="to show, such as 'Findings on chest radiographs'")
    export.add_argument("--authors", help="of the model")
    export.add_argument("--version", default="0.1.0", help="of the bundle (default: 0.1.0)")
    export.add_argument("--changes", default="first version", help="what is new in this version, for the changelog")
    export.add_argument("--data-license", type=Path, metavar="FILE", help="a text on the terms of the training data")
    export.add_argument("--torchscript", action="store_true", help="write models/model.ts, too")
    export.add_argument("--onnx", action="store_true", help="write models/model.onnx, too")
    export.add_argument("--no-zip", action="store_true", help="leave out the archive beside the folder")
    export.add_argument(
        "--require",
        nargs="+",
        default=[],
        metavar="PACKAGE=VERSION",
        help="versions that the bundle requires instead of the installed ones, such as torch=2.9.0",
    )
    export.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    pairs = [required.partition("=") for required in options.require]
    for package, _, version in pairs:
        if not (package and version):
            raise UserError(f"--require takes PACKAGE=VERSION, such as torch=2.9.0, not {package!r}.")

    from medssl.release import export_run

    exported = export_run(
        options.run,
        options.to,
        name=options.name,
        authors=options.authors,
        version=options.version,
        changes=options.changes,
        torchscript=options.torchscript,
        onnx=options.onnx,
        archive=not options.no_zip,
        versions={package: version for package, _, version in pairs},
        data_license=options.data_license,
    )
    print(exported)
