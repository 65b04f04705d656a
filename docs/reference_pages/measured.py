"""What was measured of a task: its rows in the tables of `benchmarks/results`, and those that they are held against."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

RIVALS = ("random", "rand", "pixels", "probe, random weights")
"""Rows that a task's are read beside."""
ALIASES = {"barlow_twins": ("barlow",), "rvrm": ("printed", "siamese"), "mae": ("mae (vit_tiny)",)}
"""Other names of a task in these tables."""
MOST_ROWS = 14


class Table(NamedTuple):
    """Some rows of a table in a file of results."""

    file: Path
    title: str
    header: list[str]
    rows: list[list[str]]


def measured_rows(results: Path, task: str) -> list[Table]:
    """The rows of every table that names the task, a table at most `MOST_ROWS` of them, its rivals' included.

    Args:
        results: the folder of `benchmarks/results`.
        task: its short name.
    """
    names = {task, *ALIASES.get(task, ())}
    found = []
    for file in sorted(results.glob("*.md")):
        for title, header, rows in read_tables(file.read_text(encoding="utf-8")):
            if not any(names & set(row) for row in rows):
                continue
            kept = [row for row in rows if names & set(row)][:MOST_ROWS]
            rivals = [row for row in rows if set(RIVALS) & set(row[:2])]
            found.append(Table(file, title, header, rivals[: MOST_ROWS - len(kept)] + kept))
    return found


def read_tables(text: str) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """The title (the heading above), header and rows of each table of a Markdown text."""
    title, lines = "", []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif lines:
            if len(lines) > 2:
                yield title, lines[0], lines[2:]
            lines = []
        if line.startswith("#"):
            title = line.lstrip("# ")


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
