"""Writing files whole or not at all, so that a kill at any moment leaves the old file or the new one.

The ground floor of the house: every room may use it, and it uses none.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to, which takes its place when the block ends without an error.

    The temporary name ends like ``path``'s, for writers that look at the suffix. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes or threads may write the same file at once; each has its own temporary one.
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file whole."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file whole, indented by two."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
