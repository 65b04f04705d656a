"""The journal: what became of each input, so that an interrupted or repeated `prepare` does only what is left.

One line of JSON for each input, appended when it is done; a kill tears the last line at worst, which is passed over.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from medssl.files import write_text


class Journal:
    """The journal of a store; a context manager, open for writing within.

    Args:
        path: of the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, dict[str, Any]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                entry = json.loads(line)
                self._entries[entry["input"]] = entry
            except (ValueError, TypeError, KeyError):
                continue

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")
        self._file.write("\n")  # ends a line that a kill tore
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def find(self, name: str, fingerprint: str) -> list[dict[str, Any]] | None:
        """What became of an input, if it was the same then; None otherwise."""
        entry = self._entries.get(name)
        return entry["outcomes"] if entry is not None and entry["fingerprint"] == fingerprint else None

    def add(self, name: str, fingerprint: str, outcomes: Iterable[Mapping[str, Any]]) -> None:
        """Note what became of an input, at once on disk."""
        entry = {"input": name, "fingerprint": fingerprint, "outcomes": [dict(outcome) for outcome in outcomes]}
        self._entries[name] = entry
        self._file.write(_line(entry))
        self._file.flush()

    def compact(self, names: Iterable[str]) -> None:
        """Rewrite the file with these inputs only, in order: the same content however often a run was interrupted."""
        write_text(self.path, "".join(_line(self._entries[name]) for name in sorted(set(names))))


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry) + "\n"  # ASCII, so that no kill tears a character and any file name can be written
