"""The command line, `medssl COMMAND` or `python -m medssl COMMAND`.

A command is two functions: one adds its options, and one hands those that were given on to a function elsewhere. An
option is called like the parameter that it becomes, whose default rules where it is not given. Nothing heavy is
imported before a command runs, so that `--help` answers at once.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from .. import __version__
from ..errors import INTERRUPTED, print_plain_error
from ..progress import SHORT, be_quiet, duration, say
from .prepare import add_prepare
from .release import add_export, add_verify
from .results import add_embed, add_overlap, add_report
from .start import add_bundles, add_demo, add_phantoms, add_puzzles
from .studies import add_affinity, add_aggregate, add_curve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = vars(command_parser().parse_args(arguments))
    run: Callable[..., int | None] = options.pop("run_command")
    name = run.__name__.removeprefix("_")
    if options.pop("quiet", False):
        be_quiet()
    started = time.perf_counter()
    try:
        code = run(**options) or 0
        if (took := time.perf_counter() - started) >= SHORT:
            say(f"medssl {name} took {duration(took)}")
        return code
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


ADD_COMMANDS = (
    add_demo,
    add_bundles,
    add_prepare,
    add_report,
    add_export,
    add_verify,
    add_overlap,
    add_aggregate,
    add_affinity,
    add_curve,
    add_embed,
    add_phantoms,
    add_puzzles,
)
"""In the order in which `--help` names them."""
