"""The modules of ours that travel in a bundle: copied as they are, flat, with their imports of each other relative.

So an exported bundle reads files exactly as the run did, without medssl, and there is one source of truth.
"""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from medssl.errors import UserError

PACKAGE = "medssl"


@dataclass(frozen=True)
class Travelling:
    """Modules of a ``scripts/`` folder.

    Attributes:
        sources: name of each module there → its text.
        packages: the distributions that they import, such as ``pydicom``.
    """

    sources: dict[str, str]
    packages: tuple[str, ...]


def travelling_modules(names: Sequence[str]) -> Travelling:
    """Modules of ours and all of ours that they import, as they read in a flat package.

    Args:
        names: dotted, such as ``medssl.transforms.load_volume``.

    Raises:
        UserError: two of them have the same last name.
    """
    left, found, sources, imported = list(names), dict[str, str](), dict[str, str](), set[str]()
    while left:
        name = left.pop()
        short = name.rpartition(".")[2]
        if found.setdefault(short, name) != name:
            raise UserError(f"{name} and {found[short]} would be one file in scripts/: rename one of them.")
        if short in sources:
            continue
        source = _source(name)
        sources[short] = source
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (ours := list(_owners(name, node))):
                left += [owner for owner, _ in ours]
                if not node.level:
                    sources[short] = sources[short].replace(_segment(source, node), _relative(ours))
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    distributions = _distributions()
    packages = {distributions[top][0] for top in imported - set(sys.stdlib_module_names) if top in distributions}
    return Travelling(dict(sorted(sources.items())), tuple(sorted(packages)))


def write_modules(travelling: Travelling, folder: Path, head: str) -> None:
    """Write them as a package.

    Args:
        travelling: the modules.
        folder: ``scripts/`` of the bundle.
        head: what the package's docstring says.
    """
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f'"""{head}"""\n\nfrom . import pydicom_first\n', encoding="utf-8")
    for name, source in travelling.sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Importable name → distributions that have it. Looked up once: it takes 0.8 s."""
    return packages_distributions()


def _source(name: str) -> str:
    spec = find_spec(name)
    assert spec is not None, name
    return Path(str(spec.origin)).read_text(encoding="utf-8")


def _owners(module: str, node: ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """Modules of ours that an import takes from, each with the names; those that a room re-exports by their owner."""
    base = ".".join(module.split(".")[: -node.level]) if node.level else ""
    target = ".".join(filter(None, (base, node.module)))
    if target.partition(".")[0] != PACKAGE:
        return
    source, names = import_module(target), [alias.name for alias in node.names]
    owners = {name: getattr(source, name).__module__ if hasattr(source, "__path__") else target for name in names}
    for owner in dict.fromkeys(owners.values()):
        yield owner, ", ".join(name for name in names if owners[name] == owner)


def _segment(source: str, node: ast.ImportFrom) -> str:
    segment = ast.get_source_segment(source, node)
    assert segment is not None
    return segment


def _relative(owners: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"from .{owner.rpartition('.')[2]} import {names}" for owner, names in owners)
