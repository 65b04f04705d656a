"""A page of sections with texts, tables and pictures: as HTML in one file, and as Markdown."""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jinja2 import Environment, PackageLoader


@dataclass(frozen=True)
class Text:
    """A paragraph; ``kind`` is ``text``, ``warning`` or ``command`` (something to type)."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Table:
    """A table of texts; a line break within a cell separates what belongs together.

    Attributes:
        title: above it.
        header: a text for each column.
        rows: of as many texts.
        numeric: whether all columns but the first hold numbers.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: bool = True
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Picture:
    """A picture; it stands in the HTML page itself, and beside the Markdown page as a file.

    Attributes:
        file: name of the PNG file.
        png: its bytes.
        caption: beneath it.
    """

    file: str
    png: bytes
    caption: str
    kind: ClassVar[str] = "picture"

    @property
    def data_url(self) -> str:
        """The picture as a link that holds it."""
        return "data:image/png;base64," + b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Section:
    """A title and what stands under it; ``level`` is 2 or 3."""

    title: str
    parts: Sequence[Text | Table | Picture]
    level: int = 2


def html(title: str, sections: Sequence[Section]) -> str:
    """The page as one HTML file that needs no other, no network and no script."""
    environment = Environment(
        loader=PackageLoader("medssl.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(title=title, sections=sections) + "\n"


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The page as GitHub's Markdown; its pictures are looked for beside it."""
    blocks = [f"# {_escape(title)}"]
    for section in sections:
        blocks.append(f"{'#' * section.level} {_escape(section.title)}")
        blocks += [_markdown_part(part) for part in section.parts]
    return "\n\n".join(blocks) + "\n"


def _markdown_part(part: Text | Table | Picture) -> str:
    if isinstance(part, Table):
        right = "---:" if part.numeric else "---"
        lines = [part.header, ["---", *[right] * (len(part.header) - 1)], *part.rows]
        rows = [f"| {' | '.join(map(_escape, line))} |" for line in lines]
        return f"**{_escape(part.title)}**\n\n" + "\n".join(rows)
    if isinstance(part, Picture):
        return f"![{_escape(part.caption)}]({part.file})\n\n{_escape(part.caption)}"
    if part.kind == "command":
        return f"```\n{part.text}\n```"
    return f"> **{_escape(part.text)}**" if part.kind == "warning" else _escape(part.text)


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*|<\[\]])", r"\\\1", text).replace("\n", " ")
