"""What the commands share: how one is added, and values that several of them read."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UserError

Commands = Any  # argparse._SubParsersAction, which argparse keeps to itself


def command(
    commands: Commands, run: Callable[..., int | None], title: str, description: str = ""
) -> argparse.ArgumentParser:
    """A command that is called like the function that runs it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        run.__name__.removeprefix("_"),
        help=title,
        description=description or title,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but warnings, mistakes and results")
    parser.set_defaults(run_command=run)
    return parser


def number_or_word(text: str) -> float | str:
    """A number where the text is one."""
    try:
        return float(text)
    except ValueError:
        return text


def read_pairs(option: str, given: Sequence[str], example: str) -> list[tuple[str, str]]:
    """Words such as `1=liver` as pairs.

    Raises:
        UserError: one is none; it names the option and the example.
    """
    pairs = [text.partition("=") for text in given]
    for (name, sign, _), text in zip(pairs, given, strict=True):
        if not (name and sign):
            raise UserError(f"{option} takes pairs such as {example}, not {text!r}.")
    return [(name.strip(), value.strip()) for name, _, value in pairs]
