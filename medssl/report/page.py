"""A page of sections with texts, tables and pictures: as HTML in one file, and as Markdown."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader


@dataclass(frozen=True)
class Text:
    """A paragraph, which may be a warning, or end with a command to type."""

    text: str
    command: str = ""
    is_warning: bool = False


@dataclass(frozen=True)
class Table:
    """A table of texts; a line break within a cell separates what belongs together.

    Attributes:
        title: above it.
        header: a text for each column.
        rows: of as many texts.
        words: how many columns, from the first on, hold words, which may wrap; the others hold numbers.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


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

    @property
    def data_url(self) -> str:
        """The picture as a link that holds it."""
        return "data:image/png;base64," + b64encode(self.png).decode("ascii")


Part = Text | Table | Picture
Parts = Iterator[Part]


@dataclass(frozen=True)
class Section:
    """A title and what stands under it; ``level`` is 2 or 3."""

    title: str
    parts: Sequence[Part]
    level: int = 2


def html(title: str, sections: Sequence[Section]) -> str:
    """The page as one HTML file that needs no other and no network; its script only sorts tables."""
    environment = Environment(
        loader=PackageLoader("medssl.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(title=title, sections=sections) + "\n"


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The page as GitHub's Markdown; its pictures are looked for beside it."""
    blocks = [f"# {_escape(title)}"]
    for section in sections:
        blocks += [f"{'#' * section.level} {_escape(section.title)}", markdown_parts(section.parts)]
    return "\n\n".join(blocks) + "\n"


def markdown_parts(parts: Iterable[Part]) -> str:
    """Parts as GitHub's Markdown, for a page of another make."""
    return "\n\n".join(map(_markdown_part, parts))


def _markdown_part(part: Part) -> str:
    if isinstance(part, Table):
        sides = ["---" if column < part.words else "---:" for column in range(len(part.header))]
        rows = [f"| {' | '.join(map(_escape, line))} |" for line in (part.header, *part.rows)]
        return "\n".join([f"**{_escape(part.title)}**\n", rows[0], f"| {' | '.join(sides)} |", *rows[1:]])
    if isinstance(part, Picture):
        return f"![{_escape(part.caption)}]({part.file})\n\n{_escape(part.caption)}"
    text = f"> **{_escape(part.text)}**" if part.is_warning else _escape(part.text)
    return f"{text}\n\n```\n{part.command}\n```" if part.command else text


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*|<\[\]])", r"\\\1", text).replace("\n", " ")
