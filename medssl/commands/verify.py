"""``python -m medssl verify``: is a bundle fit to be passed on?"""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to the commands."""
    verify = commands.add_parser(
        "verify",
        help="check a bundle before it is passed on",
        description="Every check of MONAI's model zoo, offline, and some of our own: no absolute path, no patient, no "
        "medssl where MONAI must suffice. Exit code 0: nothing is wrong. The configs of a bundle are code, which "
        "is run when nothing was found without running it: verify only bundles that you trust.",
    )
    verify.add_argument("bundle", type=Path, metavar="DIR", help="folder of the bundle")
    verify.add_argument(
        "--run", type=Path, help="the run that it came from: its patients and images are looked for in every file"
    )
    verify.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from medssl.release.verify import verify_bundle

    result = verify_bundle(options.bundle, options.run)
    print(result)
    return 0 if result.ok else 1
