"""The command line: ``python -m medssl demo | prepare | …``; each command is a file of ``commands/``."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks for modules in the working directory first: a folder called dl or pyarrow, or a file random.py,
    # would be taken for the module that some library would like to have. A bundle finds a user's classes there still.
    del sys.path[0]

import argparse
from collections.abc import Callable, Sequence

from medssl.commands import affinity, aggregate, demo, export, phantoms, prepare, puzzles, report, verify
from medssl.errors import INTERRUPTED, print_plain_error

COMMANDS = (demo, prepare, report, export, verify, aggregate, affinity, phantoms, puzzles)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int | None] = options.command
    try:
        return command(options) or 0
    except Exception as error:
        print_plain_error(type(error), error, error.__traceback__)
        return 1
    except KeyboardInterrupt:
        print("\nmedssl: Stopped.", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m medssl",
        description="Self-supervised pre-training and partially labelled fine-tuning of chest X-rays and CT. "
        "The trainings themselves are MONAI bundles: python -m monai.bundle run (see README).",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
