"""Imports pydicom whole, whatever lies in the working directory: to be imported before anything that imports pydicom.

``python -m`` looks for modules in the working directory first. Beside a folder called ``dl`` or ``pylibjpeg`` pydicom
takes that for the module which one of its decoders would like to have, and ends in an `AttributeError`. (Where MONAI
comes first, which imports pydicom if it can, it hides the error and leaves half of pydicom behind.)
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType


def import_from_elsewhere(name: str) -> None:
    """Import a package, if that is not done, as if there were no modules in the working directory.

    Args:
        name: of the package.
    """
    if name in sys.modules:
        return
    here, path = Path.cwd(), sys.path[:]
    aside = {other: module for other, module in sys.modules.items() if other != "__main__" and _lies_in(here, module)}
    for other in [*aside, *(other for other in sys.modules if other.startswith(f"{name}."))]:
        del sys.modules[other]
    sys.path[:] = [entry for entry in path if Path(entry).absolute() != here]
    try:
        import_module(name)
    finally:
        sys.path[:] = path
        sys.modules.update(aside)


def _lies_in(folder: Path, module: ModuleType) -> bool:
    """Whether it is a file of the folder, or a folder of it."""
    facts = getattr(module, "__dict__", {})  # some modules answer with something to whatever they are asked for
    file = facts.get("__file__")
    places = facts.get("__path__", [file] if file else [])
    return any(Path(place).parent == folder for place in places)


import_from_elsewhere("pydicom")
