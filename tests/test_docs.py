"""What the pages tell a user to type can be typed, their code runs or fits ours, and what they lead to is there."""

import ast
import inspect
import json
import re
from importlib import import_module
from typing import Any

import pytest
import yaml
from fire.parser import DefaultParseValue
from pages import ROOT, blocks, commands

from medssl.commands import command_parser
from medssl.pretext import TASKS, named_tasks
from medssl.pretext.task import check_values

BUNDLES = [path for path in ROOT.glob("bundles/*") if not path.is_symlink()]  # and not by their old names
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *(bundle / "docs" / "README.md" for bundle in BUNDLES)]
NAMES = sorted(path.relative_to(ROOT).as_posix() for path in PAGES if path.is_file())
PROGRAMS = ("medssl", "python", "torchrun", "make", "pip", "tensorboard", "python3", ".")
"""What a command may begin with, after settings of the environment."""


def check_command(page: str, words: list[str]) -> None:
    """Whether a command can be typed: its options are known, its files and packages are there."""
    if words[0].startswith("--"):  # options of a pre-training by themselves
        check_bundle_run(page, ["--config_file", "bundles/pretrain/configs/train.yaml", *words])
        return
    assert words[0] in PROGRAMS, f"{page}: what is {words[0]}?"
    if words[0] == "medssl":
        command_parser().parse_args(words[1:])  # ends with SystemExit where it cannot
    elif words[:3] == ["python", "-m", "medssl"]:
        command_parser().parse_args(words[3:])
    elif {"monai.bundle", "run"} <= set(words):
        check_bundle_run(page, words[words.index("run") + 1 :])
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"\[([\w,]+)\]", " ".join(words))
        declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert [name for name in ",".join(extras).split(",") if name and f"\n{name} = [" not in declared] == []
    elif words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        assert [name for name in targets if f"\n{name}:" not in (ROOT / "Makefile").read_text(encoding="utf-8")] == []


def check_bundle_run(page: str, words: list[str]) -> None:
    options = dict(zip(words[::2], words[1::2], strict=True))
    files = re.findall(r"[^\[\]',]+", options.pop("--config_file"))
    if all(file.startswith("bundles_out/") for file in files):
        return  # an exported bundle, whose commands tests/end_to_end types
    if not all(file.endswith(".yaml") and (ROOT / file).exists() for file in files):
        pytest.fail(f"{page}: {files} are not there")
    ids = set().union(*(yaml.safe_load((ROOT / file).read_text(encoding="utf-8")) for file in files))
    assert {name.removeprefix("--") for name in options} <= ids, f"{page}: {words}"
    for name, values in named_tasks(DefaultParseValue(options.get("--tasks", "simclr"))).items():
        if name in TASKS:
            check_values(name, TASKS[name], values)


def check_yaml(page: str, text: str) -> None:
    """Whether every class that a config names is there, and takes the values that stand beside it."""

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "_target_" in value:
                room, _, name = value["_target_"].rpartition(".")
                target = getattr(import_module(room), name)
                inspect.signature(target).bind_partial(**{key: 0 for key in value if not key.startswith("_")})
            for part in value.values():
                look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)

    look(yaml.safe_load(text))


def check_python(page: str, text: str) -> None:
    """Whether what a block imports is there, and what it calls of it takes the arguments by these names.

    A block that asks for no file on the disk is run, too.
    """
    if page == "CONTRIBUTING.md":  # pieces to be put into files; tests/test_registries.py puts such ones there
        ast.parse(f"{{{text}}}" if text.startswith('"') else text)
        return
    tree = ast.parse(text)
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            known |= {each.asname or each.name: getattr(import_module(node.module), each.name) for each in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and callable(known.get(node.func.id)):
            values = {each.arg: 0 for each in node.keywords if each.arg}
            inspect.signature(known[node.func.id]).bind(*node.args, **values)
    files = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    if not any(re.search(r"/|\.(pt|csv|parquet|npz)$", name) for name in files):
        exec(compile(tree, page, "exec"), {"__name__": page})


@pytest.mark.parametrize("page", NAMES)
def test_every_block_of_code_is_good(page: str) -> None:
    for language, text in blocks(page):
        if language in ("", "bash", "sh"):
            for words in commands(text):
                check_command(page, words)
        elif language in ("yaml", "python"):
            (check_yaml if language == "yaml" else check_python)(page, text)
        else:
            assert language in ("text", "csv"), f"{page}: nobody checks {language}"


@pytest.mark.parametrize("page", NAMES)
def test_what_a_page_leads_to_is_there(page: str) -> None:
    text = re.sub(r"^([ ]*)```.*?^\1```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    missing = [link for link in links if not is_there(page, link)]
    named = re.findall(r"`((?:bundles|configs|benchmarks|tests|medssl|transforms|docs)/[\w/.]+)`", text)
    if page != "CHANGELOG.md":  # which names what there was
        missing += [name for name in named if not (ROOT / name).exists() and "NAME" not in name]
    assert not missing


def is_there(page: str, link: str) -> bool:
    """Whether a link leads to a file, or to a page that the site writes itself."""
    place = (ROOT / page).parent / link
    if place.exists() or not link:
        return True
    name = place.resolve().relative_to(ROOT).as_posix()
    written = ("docs/reference/", "docs/notebooks/", "docs/benchmarks/results/index.md")
    return name.startswith(written) or (ROOT / name.removeprefix("docs/")).exists()


def test_the_first_page_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_task_has_its_line() -> None:
    for page in ("README.md", "docs/tasks.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [name for name in TASKS if f"`{name}`" not in text] == []


def test_figures_of_the_demo_are_those_that_were_measured() -> None:
    measured = (ROOT / "benchmarks" / "results" / "demo_chest.md").read_text(encoding="utf-8").splitlines()
    for page in ("README.md", "docs/demo.md"):
        rows = [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if " ± " in line]
        assert rows
        assert set(rows) <= set(measured)


def test_figures_of_what_pretraining_buys_are_those_of_the_ledger() -> None:
    told = (ROOT / "docs/concepts/what-pretraining-buys.md").read_text(encoding="utf-8")
    results = ("ledger.md", "recipes_h100.md", "tasks_real.md")
    measured = " ".join((ROOT / "benchmarks/results" / name).read_text(encoding="utf-8") for name in results)
    figures = re.findall(r"[+−]?\d\.\d{3}(?: \([+−]\d\.\d{3} to [+−]\d\.\d{3}\))?", told)
    assert len(figures) > 10
    assert [figure for figure in figures if figure not in measured] == []


def test_notebooks_are_written_without_what_came_of_them() -> None:
    for path in ROOT.glob("docs/notebooks/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
