"""What is installed is what stands in the tree: the editable install of the tests would not notice a missing folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import medssl

ROOT = Path(__file__).parents[1]
TREES = ("medssl", "transforms", "bundles", "configs")
REST = ("tests", "benchmarks", "docs", ".ci", ".github")
FIRST_EDITION = ("cxr_pretrain", "ct_pretrain", "cxr_finetune", "ct_finetune")


def files_of(*trees: str) -> Iterator[str]:
    """Every file of folders of the repository; links to folders are not followed."""
    for tree in trees:
        for path in (ROOT / tree).rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            # Of the hidden ones these two alone belong to the repository.
            hidden = "/." in name.removeprefix(".ci").removeprefix(".github")
            if path.is_file() and "/__pycache__/" not in name and not hidden and path.suffix != ".pyc":
                yield name


def installed_files() -> Iterator[str]:
    """Every file of the package under the name that it has when installed."""
    for name in files_of(*TREES):
        yield name if name.startswith("medssl/") else f"medssl/{name}"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, since building writes beside what it reads."""
    pytest.importorskip("setuptools", minversion="77")
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("source")
    top = [path.name for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]  # a file in a worktree
    for name in (*files_of(*TREES, *REST), *top):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    for name in FIRST_EDITION:  # whether a checkout has them or not
        (folder / "bundles" / name).symlink_to(name.partition("_")[2], target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), "."]
    done = subprocess.run([sys.executable, *words], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel in it, and what it needs from the present one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages") if os.name != "nt" else folder.glob("Lib/site-packages")
    # The environment of the tests knows the checkout as medssl by a .pth file, which is not read in a folder added so.
    (packages / "present.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))
    programs = folder / ("bin" if os.name != "nt" else "Scripts")
    words = [
        "-m",
        "pip",
        "--python",
        str(programs / "python"),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run([sys.executable, *words, "--ignore-installed"], check=True)
    return programs


def test_every_folder_of_modules_is_named_in_pyproject() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {name.removesuffix("/__init__.py") for name in installed_files() if name.endswith("/__init__.py")}
    assert sorted(settings["packages"]) == sorted(folder.replace("/", ".") for folder in folders)


def test_a_wheel_holds_every_file_once_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = sorted(name for name in archive.namelist() if ".dist-info/" not in name)
    expected = sorted(installed_files())
    assert sorted(set(expected) - set(found)) == []  # else see packages and package-data in pyproject.toml
    assert found == expected


def test_a_source_distribution_holds_the_repository(source: Path, tmp_path: Path) -> None:
    words = ["-c", "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [member.name.partition("/")[2] for member in archive.getmembers() if not member.isdir()]
    found = [name for name in names if not name.startswith("medssl.egg-info/")]
    assert len(found) == len(set(found))
    assert not [name for name in found if name.split("/")[1:2] and name.split("/")[1] in FIRST_EDITION]
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("without git nobody knows what belongs to the repository")
    known = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kept = {name for name in known.split("\0") if (ROOT / name).is_file()}  # no links, and nothing deleted
    assert sorted(kept - set(found)) == []  # else see MANIFEST.in


def test_from_an_installed_wheel_the_bundles_come_to_any_folder(installed: Path, tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(word) for word in words], cwd=tmp_path, capture_output=True, text=True, check=False)

    where = run(str(installed / "python"), "-c", "import medssl; print(medssl.__file__, medssl.__version__)").stdout
    assert Path(where.split()[0]).is_relative_to(installed.parent)
    assert where.split()[1] == medssl.__version__
    assert "usage: medssl" in run(str(installed / "medssl"), "--help").stdout
    assert medssl.__version__ in run(str(installed / "medssl"), "--version").stdout

    done = run(str(installed / "medssl"), "bundles", "--to", ".")
    assert done.returncode == 0, done.stderr
    laid_down = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert laid_down == sorted(name for name in files_of("bundles", "configs") if not name.endswith("/__init__.py"))
    assert all((tmp_path / name).read_bytes() == (ROOT / name).read_bytes() for name in laid_down)

    # A bundle that stands there finds the installed package, and tells the first thing that is missing.
    words = ["-m", "monai.bundle", "run", "--config_file", "bundles/pretrain/configs/train.yaml", "--data", "nowhere"]
    done = run(str(installed / "python"), *words)
    assert done.returncode != 0
    assert "medssl: " in done.stderr
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_is_the_same_wherever_it_stands() -> None:
    for name in ("pretrain", "finetune", "segment"):
        metadata = json.loads((ROOT / "bundles" / name / "configs" / "metadata.json").read_text(encoding="utf-8"))
        assert metadata["required_packages_version"]["medssl"] == medssl.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == medssl.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {medssl.__version__}" in changelog


def test_whoever_cites_finds_what_the_form_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]


def test_the_workflow_tests_the_versions_of_python_that_are_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = [name.rpartition(" ")[2] for name in project["classifiers"] if "Python :: 3." in name]
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python-version"] == promised
    assert project["requires-python"] == f">={promised[0]}"


def test_what_stands_around_the_code_is_sound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for path in (*ROOT.glob(".github/**/*.yml"), ROOT / ".pre-commit-config.yaml", ROOT / "mkdocs.yml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8")), path
    docker = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", docker, flags=re.MULTILINE) for word in line.split()]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', docker)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (ruff,) = (one["rev"] for one in hooks if "ruff" in one["repo"])
    assert f"ruff=={ruff.removeprefix('v')}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8")
