"""The blocks of code on the pages of the docs, and the commands in them."""

import inspect
import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Block(NamedTuple):
    """A block of code on a page."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """The blocks of a page, those in lists too, each without its indentation."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^([ ]*)```(\w*)\n(.*?)^\1```[ ]*$", text, flags=re.MULTILINE | re.DOTALL)
    return [Block(language, inspect.cleandoc("\n" + body) + "\n") for _, language, body in found]


def commands(text: str) -> list[list[str]]:
    """The words of each command of a block, without comments and settings of the environment."""
    lines = text.replace("\\\n", " ").split("\n")
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[next(n for n, word in enumerate(line) if not re.match(r"\w+=", word)) :] for line in words if line]
