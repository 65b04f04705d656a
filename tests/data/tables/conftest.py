"""What the tests of tables share."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from medssl.data.tables import Table

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of lines (a text or bytes) below a temporary folder."""

    def write_file(content: str | bytes, name: str = "site.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


@pytest.fixture
def known() -> Callable[[Table], list[Mapping[str, int]]]:
    """Of each row of a table its known labels."""

    def of(table: Table) -> list[Mapping[str, int]]:
        rows = [dict(zip(table.labels, row, strict=True)) for row in table.values.tolist()]
        return [{label: int(value) for label, value in row.items() if not np.isnan(value)} for row in rows]

    return of
