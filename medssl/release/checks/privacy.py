"""What leads back to a machine or a person: absolute paths, and the names of the run's patients and images."""

import re
from collections.abc import Iterator

from .bundle import Bundle
from .identifiers import Identifiers

OPENING = r"(?:^|(?<=[\s'\"`(\[{<=,;]))"
ABSOLUTE = re.compile(
    rf"""{OPENING}/(?!dev/|usr/bin/env)[\w.@+-]+/[\w.@+-][\w./@+-]*   # /two/parts or more
    | (?<=[:=-][ ]) ['"]? /[A-Za-z][\w.-]* (?=['"]?\s*$)               # a value of one part: dataset_dir: /data
    | \bfile:/+[\w.]+
    | {OPENING}~/[\w.]+
    | (?<![A-Za-z0-9])[A-Za-z]:(?:\\{{1,2}}|/)[A-Za-z0-9_][^\s'"]*      # C:\\Users
    | {OPENING}\\{{2,4}}[A-Za-z][\w.-]{{2,}}\\{{1,2}}[A-Za-z][\w$.-]*   # \\\\server\\share
    """,
    re.VERBOSE | re.MULTILINE,
)
ABSOLUTE_IN_BINARY = re.compile(r"(?:/home|/Users|/root|/[\w./-]*/site-packages|[A-Z]:\\Users)[/\\][\w./\\-]*")
"""Only what chance does not write."""


def absolute_paths(bundle: Bundle) -> Iterator[str]:
    """Name the files that hold paths of somebody's machine."""
    places: dict[str, list[str]] = {}
    for content in bundle.contents():
        text, pattern = content.text, ABSOLUTE_IN_BINARY if content.is_binary else ABSOLUTE
        for match in pattern.finditer(text):
            if not _is_added(text, match.start()):
                path = match.group().strip(" '\"")
                places.setdefault(content.file, []).append(
                    f"{content.place(match.start())} holds the absolute path {path}"
                )
    yield from (f"{_first(found)}: make it relative to the bundle, or drop it." for found in places.values())


def _is_added(text: str, start: int) -> bool:
    """Whether a text such as ``@bundle_root + '/models/model.pt'`` only begins with a slash."""
    return bool(re.search(r"\+\s*f?['\"]$", text[max(0, start - 8) : start]))


def identifiers(bundle: Bundle) -> Iterator[str]:
    """Name the files that hold a name of the run's patients, or of its images, but of the name the beginning only."""
    if bundle.names is None:
        return
    names = Identifiers(bundle.names)
    places: dict[str, list[str]] = {}
    for content in bundle.contents():
        found = [f"the name {content.file!r} is" for _ in names.find(content.name)]
        for start, name in names.find(content.text, content.is_binary):
            found.append(f"{content.place(start)} holds {name[:2]}…,")
        if found:
            places.setdefault(content.file, []).extend(found)
    for found in places.values():
        yield f"{_first(found)} the name of a patient or an image of the run: take it out."


def _first(places: list[str]) -> str:
    more = f" (and {len(places) - 1} more in this file)" if len(places) > 1 else ""
    return places[0] + more
