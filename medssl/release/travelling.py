"""The modules of ours that travel in a bundle: copied as they are, flat, with their imports of each other relative.

So an exported bundle reads files exactly as the run did, without medssl, and there is one source of truth.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.util import resolve_name
from pathlib import Path

from medssl.errors import UserError

_distributions = cache(packages_distributions)
"""Importable name → distributions that have it. Looked up once: it takes 0.8 s."""


@dataclass(frozen=True)
class Travelling:
    """Modules of a ``scripts/`` folder.

    Attributes:
        sources: name of each module there → its text.
        packages: the distributions that they import, such as ``pydicom``.
    """

    sources: dict[str, str]
    packages: tuple[str, ...]

    def write(self, folder: Path, head: str) -> None:
        """Write them as a package, whose docstring says ``head``."""
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f'"""{head}"""\n\nfrom . import pydicom_first\n', encoding="utf-8")
        for name, source in self.sources.items():
            (folder / f"{name}.py").write_text(source, encoding="utf-8")


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
        sources[short] = source = inspect.getsource(import_module(name))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (ours := list(_owners(name, node))):
                left += [owner for owner, _ in ours]
                if node.level != 1 or "." in (node.module or "."):
                    relative = "; ".join(f"from .{owner.rpartition('.')[2]} import {names}" for owner, names in ours)
                    sources[short] = sources[short].replace(str(ast.get_source_segment(source, node)), relative)
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    distributions = _distributions()
    packages = {distributions[top][0] for top in imported - set(sys.stdlib_module_names) if top in distributions}
    return Travelling(dict(sorted(sources.items())), tuple(sorted(packages)))


def _owners(module: str, node: ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """Modules of ours that an import takes from, each with the names; those that a room re-exports by their owner."""
    target = resolve_name("." * node.level + (node.module or ""), module.rpartition(".")[0])
    if target.partition(".")[0] != "medssl":
        return
    source, names = import_module(target), [alias.name for alias in node.names]
    owners = {name: getattr(source, name).__module__ if hasattr(source, "__path__") else target for name in names}
    for owner in dict.fromkeys(owners.values()):
        yield owner, ", ".join(name for name in names if owners[name] == owner)
