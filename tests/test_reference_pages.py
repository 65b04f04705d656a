"""The pages of the reference that are written from the code: nothing is left out, and nothing is empty."""

import argparse
import inspect
import re
import sys
from pathlib import Path

import pytest
import yaml

from medssl.commands import command_parser
from medssl.pretext import TASKS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
from reference_pages import api, commands, docstrings, measured, options, tasks  # noqa: E402

PAGES = tasks.task_pages(ROOT / "benchmarks" / "results")


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_its_page(name: str) -> None:
    page = PAGES[f"{tasks.FOLDER}/{name}.md"]
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    assert all(section.partition("\n")[2].strip() for section in sections)
    told = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", page, flags=re.MULTILINE))
    parameters = inspect.signature(TASKS[name]).parameters.values()
    values = {one.name for one in parameters if one.default is not one.empty}
    assert {value for value in values if not told.get(value)} == set()  # else see Args of the class


def test_papers_and_advice_are_of_tasks_that_are_there() -> None:
    assert set(tasks.advice()) <= set(TASKS)
    assert all(set(said) == {"use", "not"} for said in tasks.advice().values())
    cited = {match for page in PAGES.values() for match in re.findall(r"[A-Z][\w’é-]+ et al\. \d{4}\w?", page)}
    assert cited - set(tasks.papers()) == set()  # else see papers.yaml


def test_measured_rows_stand_beside_their_rivals(tmp_path: Path) -> None:
    text = "# Title\n\n## AUROC\n\n| arm | n |\n|---|---|\n| pixels | 1 |\n| other | 2 |\n| rotation | 3 |\n"
    (tmp_path / "some.md").write_text(text)
    (table,) = measured.measured_rows(tmp_path, "rotation")
    assert (table.title, table.rows) == ("AUROC", [["pixels", "1"], ["rotation", "3"]])
    assert measured.measured_rows(tmp_path, "mim") == []


def test_every_command_and_each_of_its_options_is_listed() -> None:
    page = commands.commands_page()
    (all_commands,) = (one for one in command_parser()._actions if isinstance(one, argparse._SubParsersAction))
    for name, command in all_commands.choices.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        spelled = [action.option_strings[0] for action in command._actions if action.option_strings]
        assert [option for option in spelled if option != "-h" and f"`{option}" not in section] == []


@pytest.mark.parametrize("bundle", options.BUNDLES)
def test_every_option_of_a_training_is_listed_with_its_default(bundle: str) -> None:
    text = (ROOT / "bundles" / bundle / "configs" / "train.yaml").read_text(encoding="utf-8")
    recipe = yaml.safe_load((ROOT / "configs/recipes/default.yaml").read_text(encoding="utf-8"))[bundle]
    listed = {one.name: one for _, group in options.read_options(text, recipe) for one in group}
    ids = list(yaml.safe_load(text))
    typed = [name for name in ids[: ids.index("prepared")] if name not in options.HIDDEN]
    assert list(listed) == typed
    assert "$" not in "".join(one.default for one in listed.values())
    assert listed["batch_size"].default == f"`{recipe['2D']['batch_size']}` (2D), `{recipe['3D']['batch_size']}` (3D)"


def test_every_public_name_is_described() -> None:
    pages = api.api_pages()
    for room in api.ROOMS:
        page = pages[f"{api.FOLDER}/{room}.md"]
        assert [name for name in api.public_names(room) if f"## {name} {{ #{api.anchor(name)} }}" not in page] == []


def test_a_docstring_becomes_markdown() -> None:
    def documented() -> None:
        """Do what :meth:`that` does with ``code``.

        Args:
            first: of two,
                on two lines.
            second, third: see `View`.

        Returns:
            A number | or two.
        """

    words = docstrings.read_docstring(documented)
    assert words.text == "Do what `that` does with `code`."
    assert words.sections["Args"] == [("first", "of two, on two lines."), ("second, third", "see `View`.")]
    assert docstrings.one_line(words.sections["Returns"][0][1]) == "A number \\| or two."
    assert docstrings.link_names("see `View`, not `view`", {"View": "v.md"}) == "see [`View`](v.md), not `view`"
