"""Who imports whom: no arrow runs back up, and what must answer at once imports nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND = {"errors", "files", "progress", "runs"}  # which everyone above may use
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "progress": set(),
    "runs": {"errors", "files"},
    "scaffold": {"errors", "files"},
    "readers": set(),
    "transforms": {"readers"},
    "data": {"readers", "transforms"},
    "phantoms": {"data"},
    "networks": set(),
    "losses": set(),
    "pretext": {"networks", "losses", "transforms"},
    "training": {"transforms", "data", "networks", "losses", "pretext", "evaluation"},  # of its validations
    "evaluation": {"readers", "transforms", "data", "networks", "losses"},
    "report": {"data", "evaluation", "readers"},
    "release": {"report", "networks", "data", "evaluation", "readers", "transforms"},
}
BELOW_STUDIES = set(ALLOWED)
ALLOWED |= {
    "studies": BELOW_STUDIES,
    "commands": {*BELOW_STUDIES, "studies"},
    "__main__": {"commands"},
    "__init__": set(),
}


def room_of(module: str) -> str | None:
    """The room of ``medssl.room.file``; None for a module that is not ours."""
    parts = module.split(".")
    return (parts[1] if len(parts) > 1 else "__init__") if parts[0] == "medssl" else None


def imported_modules(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Absolute names of all that a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".") + ["here"] * is_package
            base = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            name = ".".join(filter(None, (base, node.module)))
            # ``from medssl import pretext`` and ``from .. import pretext`` name the room only here.
            yield from (f"{name}.{alias.name}" for alias in node.names) if name == "medssl" else (name,)


def our_files() -> Iterator[tuple[str, Path]]:
    """Every module of the package, with the name under which it is installed."""
    for top, prefix in ((ROOT / "medssl", "medssl"), (ROOT / "transforms", "medssl.transforms")):
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            yield ".".join((prefix, *parts)), path


@cache
def arrows() -> dict[str, dict[str, list[str]]]:
    """Room → room that it imports → the files that do."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, path in our_files():
        is_package = path.name == "__init__.py"
        module = name.removesuffix(".__init__")
        room = room_of(name) or ""
        for target in imported_modules(path.read_text(encoding="utf-8"), module, is_package):
            other = room_of(target)
            if other not in (None, room, "__version__", *(GROUND if room not in GROUND else ())):
                found.setdefault(room, {}).setdefault(str(other), []).append(str(path.relative_to(ROOT)))
        found.setdefault(room, {})
    return found


def test_the_parser_sees_every_way_to_import() -> None:
    source = (
        "import medssl.data\nfrom medssl import losses\nfrom medssl.training.steps import x\nimport torch\n"
        "def late():\n    from ..pretext import y\n    from .near import z\n    from .. import studies\n"
    )
    seen = [room_of(name) for name in imported_modules(source, "medssl.networks.weights", is_package=False)]
    assert sorted(filter(None, seen)) == ["data", "losses", "networks", "pretext", "studies", "training"]
    assert list(imported_modules("from .vgg import VGG", "medssl.networks", is_package=True)) == ["medssl.networks.vgg"]


@pytest.mark.parametrize("room", sorted(arrows()))
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    forbidden = {other: files for other, files in arrows()[room].items() if other not in ALLOWED[room]}
    assert not forbidden, f"{room} must not import {forbidden}"


def test_the_allowed_arrows_form_no_circle() -> None:
    order = list(TopologicalSorter(ALLOWED).static_order())  # raises CycleError when there is one
    assert order.index("transforms") < order.index("pretext") < order.index("training") < order.index("__main__")


@pytest.mark.parametrize(
    "arguments", [["-c", "import medssl; medssl.__version__"], ["-m", "medssl", "--help"]], ids=["import", "help"]
)
def test_nothing_heavy_is_imported_before_it_is_needed(arguments: list[str]) -> None:
    # -X importtime names on stderr every module that gets imported.
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "medssl" in imported
    assert not imported & {"torch", "monai", "numpy", "pandas", "matplotlib", "ignite"}


def test_a_room_is_imported_when_it_is_first_named() -> None:
    check = (
        "import sys, medssl; assert 'medssl.losses' not in sys.modules; "
        "medssl.losses.info_nce; assert 'torch' in sys.modules; medssl.attic"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert "AttributeError: module 'medssl' has no attribute 'attic'" in done.stderr


@pytest.mark.parametrize(
    "room",
    [
        "data",
        "evaluation",
        "losses",
        "networks",
        "phantoms",
        "pretext",
        "readers",
        "release",
        "report",
        "training",
        "transforms",
    ],
)
def test_what_a_room_promises_it_has(room: str) -> None:
    import medssl

    module = getattr(medssl, room)
    assert not [name for name in getattr(module, "__all__", []) if not hasattr(module, name)]
