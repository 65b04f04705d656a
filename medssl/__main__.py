"""The command line: ``python -m medssl demo | prepare | …``; each command is a file of ``commands/``."""

import argparse
import sys
from collections.abc import Callable, Sequence

from medssl.commands import affinity, aggregate, demo, export, phantoms, prepare, puzzles, report, verify

COMMANDS = (demo, prepare, report, export, verify, aggregate, affinity, phantoms, puzzles)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int | None] = options.command
    try:
        return command(options) or 0
    except (ValueError, OSError) as error:
        return _explain(error)
    except KeyboardInterrupt:
        print("\nmedssl: stopped.", file=sys.stderr)
        return 130


def _explain(error: Exception) -> int:
    from medssl.training import print_plain_error

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
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
