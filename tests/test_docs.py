"""What the pages tell a user to type can be typed; the files that they lead to are there."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from medssl.cli import command_parser

ROOT = Path(__file__).parents[1]
BUNDLES = [path for path in ROOT.glob("bundles/*") if not path.is_symlink()]  # and not by their old names
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *(bundle / "docs" / "README.md" for bundle in BUNDLES)]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES if path.is_file()]


def commands(page: str) -> list[list[str]]:
    """The words of every command in a page's blocks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.split(r"^```.*\n", text, flags=re.MULTILINE)[1::2]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").split("\n")]
    known = ("medssl ", "python -m monai.bundle run", "torchrun ")
    return [shlex.split(line, comments=True) for line in lines if line.startswith(known)]


@pytest.mark.parametrize("page", NAMES)
def test_every_command_can_be_typed(page: str) -> None:
    for words in commands(page):
        if words[0] == "medssl":
            command_parser().parse_args(words[1:])  # ends with SystemExit where it cannot
            continue
        words = words[words.index("run") + 1 :]
        options = dict(zip(words[::2], words[1::2], strict=True))
        files = re.findall(r"[^\[\]',]+", options.pop("--config_file"))
        if not all(file.endswith(".yaml") and (ROOT / file).exists() for file in files):
            pytest.fail(f"{page}: {files} are not there")
        ids = set().union(*(yaml.safe_load((ROOT / file).read_text(encoding="utf-8")) for file in files))
        assert {name.removeprefix("--") for name in options} <= ids, f"{page}: {words}"


@pytest.mark.parametrize("page", NAMES)
def test_what_a_page_leads_to_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    named = re.findall(r"`((?:bundles|configs|benchmarks|tests|medssl|transforms|docs)/[\w/.]+)`", text)
    if page != "CHANGELOG.md":  # which names what there was
        missing += [name for name in named if not (ROOT / name).exists() and "NAME" not in name]
    assert not missing


def test_the_first_page_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_task_has_its_line() -> None:
    from medssl.pretext import TASKS

    for page in ("README.md", "docs/tasks.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [name for name in TASKS if f"`{name}`" not in text] == []


def test_figures_of_the_demo_are_those_that_were_measured() -> None:
    measured = (ROOT / "benchmarks" / "results" / "demo_chest.md").read_text(encoding="utf-8").splitlines()
    for page in ("README.md", "docs/demo.md"):
        rows = [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if " ± " in line]
        assert rows
        assert set(rows) <= set(measured)
