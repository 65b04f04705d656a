"""What is installed is what stands in the tree: the editable install of the tests would not notice a missing folder."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREES = ("medssl", "transforms", "bundles", "configs")


def installed_files() -> Iterator[str]:
    """Every file of the package under the name that it has when installed."""
    for tree in TREES:
        for path in (ROOT / tree).rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            if path.is_file() and "/__pycache__/" not in name and "/." not in name:
                yield name if tree == "medssl" else f"medssl/{name}"


def test_every_folder_of_modules_is_named_in_pyproject() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {name.removesuffix("/__init__.py") for name in installed_files() if name.endswith("/__init__.py")}
    assert sorted(settings["packages"]) == sorted(folder.replace("/", ".") for folder in folders)


def test_a_wheel_holds_every_file_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"  # building writes beside what it reads
    for tree in TREES:
        shutil.copytree(ROOT / tree, source / tree, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), "."]
    done = subprocess.run([sys.executable, *words], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = set(installed_files())
    assert sorted(expected - found) == []  # else see packages and package-data in pyproject.toml
    assert sorted(found - expected) == []
