"""From a docstring to Markdown: sections become headings and tables, names of public things become links."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")


@dataclass
class Docstring:
    """What a docstring says.

    Attributes:
        text: before the first section.
        sections: name of a section → its lines as (name, meaning); the name is empty where a section is plain text.
    """

    text: str
    sections: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def read_docstring(thing: Any) -> Docstring:
    """The docstring of a module, class or function, its own or an inherited one."""
    whole = inspect.getdoc(thing) or ""
    pieces = re.split(rf"^({'|'.join(SECTIONS)}):[ ]*$", whole, flags=re.MULTILINE)
    sections = {name: _entries(name, body) for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    return Docstring(plain_markup(pieces[0].strip()), sections)


def plain_markup(text: str) -> str:
    """Roles and double backticks of reStructuredText as Markdown's code; `::` before a block as a colon."""
    text = re.sub(r":(?:meth|class|func|attr|mod|data):`~?\.?([^`]+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)


def link_names(text: str, places: Mapping[str, str]) -> str:
    """Links on names in backticks that have a place, outside blocks of code.

    Args:
        text: Markdown.
        places: name → address, relative to the page.
    """

    def linked(match: re.Match[str]) -> str:
        name = match[1].rpartition(".")[2] if match[1].startswith("medssl.") else match[1]
        return f"[`{match[1]}`]({places[name]})" if name in places else match[0]

    pieces = re.split(r"(^```.*?^```|^ {4}.*$)", text, flags=re.MULTILINE | re.DOTALL)
    pieces[::2] = [re.sub(r"(?<![`\[])`([A-Za-z_][\w.]*)`(?!`)", linked, piece) for piece in pieces[::2]]
    return "".join(pieces)


def one_line(text: str) -> str:
    """Text as it may stand in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _entries(section: str, body: str) -> list[tuple[str, str]]:
    """The lines of a section; one that is indented further goes on with the line before."""
    lines = [line for line in inspect.cleandoc("\n" + body).splitlines() if line.strip()]
    joined: list[str] = []
    for line in lines:
        if line.startswith(" ") and joined:
            joined[-1] += " " + line.strip()
        else:
            joined.append(line.strip())
    if section in ("Returns", "Yields"):
        return [("", plain_markup(" ".join(joined)))]
    pairs = [line.partition(": ") if ": " in line else (line.rstrip(":"), "", "") for line in joined]
    return [(name.strip("`"), plain_markup(meaning)) for name, _, meaning in pairs]
