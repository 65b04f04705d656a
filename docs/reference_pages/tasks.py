"""A page for each pretext task: its picture, the idea, when to take it and when not, values, what was measured."""

import inspect
import re
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from medssl.pretext import TASKS, PretextTask
from medssl.studies.gallery import DRAWN, draw_gallery

from .api import FOLDER as API
from .api import ROOMS, places
from .docstrings import link_names, one_line, read_docstring
from .measured import as_markdown, measured_rows

FOLDER = "reference/tasks"
HERE = Path(__file__).parent
INSTEAD = {"__init__": ("self", "backbone", "image_size")}
"""What a task is given by whoever builds it, and no value of a config."""


def task_pages(results: Path) -> dict[str, str]:
    """Address of each page → its Markdown.

    Args:
        results: the folder of `benchmarks/results`.
    """
    listed = [f"| [`{name}`]({name}.md) | {task.question} | {_after(task)} |" for name, task in TASKS.items()]
    index = [
        "# The tasks, one by one",
        "\n".join(["| task | what the network is asked | after |", "|---|---|---|", *listed]),
        "How they are named on the command line, and which go together: [the pretext tasks](../../tasks.md).",
    ]
    pages = {f"{FOLDER}/index.md": "\n\n".join(index) + "\n"}
    return pages | {f"{FOLDER}/{name}.md": _task_page(name, task, results) for name, task in TASKS.items()}


def task_pictures() -> dict[str, bytes]:
    """Address of each picture → the PNG, drawn now."""
    drawn = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in DRAWN:
            path = Path(folder, f"{name}.png")
            draw_gallery(path, tasks=[name])
            drawn[f"{FOLDER}/{name}.png"] = path.read_bytes()
    return drawn


def advice() -> dict[str, dict[str, str]]:
    """Task → `use` and `not`: when to take it, and when not."""
    return dict(yaml.safe_load((HERE / "advice.yaml").read_text(encoding="utf-8")))


def papers() -> dict[str, str]:
    """Short name of a paper, as docstrings have it → the reference."""
    return dict(yaml.safe_load((HERE / "papers.yaml").read_text(encoding="utf-8")))


def _task_page(name: str, task: type[PretextTask], results: Path) -> str:
    known = {public: f"../api/{place}" for public, place in places().items()}
    words = read_docstring(task)
    said = advice().get(name, {})
    parts = [
        f"# {name}",
        f"*{task.question}* `--tasks {name}`",
        f"![A puzzle of {name} in 2D and in 3D: what goes in, and what must be answered]({name}.png)"
        if name in DRAWN
        else "",
        "## The idea",
        link_names(words.text, known),
    ]
    if said:
        parts += ["## When to take it", said["use"], "## When not", said["not"]]
    parts += ["## Values", _values(name, task), "## What it asks for", _asks(task), "## What was measured"]
    parts += _measured(name, results)
    parts += ["## Papers", _papers(task), f"Code: [`medssl.pretext.{task.__name__}`](../../{API}/pretext.md)."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _after(task: type[PretextTask]) -> str:
    """The citation in the first line of a task's file."""
    first = (sys.modules[task.__module__].__doc__ or "").strip().splitlines()[0]
    found = re.search(r"\(([^()]*\d{4}[^()]*)\)", first)
    return found[1] if found else ""


def _values(name: str, task: type[PretextTask]) -> str:
    meanings: dict[str, str] = {}
    for parent in reversed(task.__mro__):
        if issubclass(parent, PretextTask):
            meanings |= _meanings(parent)
    parameters = inspect.signature(task.__init__).parameters.values()
    given = [one for one in parameters if one.name not in INSTEAD["__init__"] and one.default is not one.empty]
    if not given:
        return "It has none."
    rows = [f"| `{one.name}` | {_spelled(one.default)} | {one_line(meanings.get(one.name, ''))} |" for one in given]
    shown = next((one for one in given if isinstance(one.default, int | float)), given[0])
    told = f'`--tasks "{{{name}: {{{shown.name}: {_yaml(shown.default)}}}}}"` gives a value.'
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows]) + f"\n\n{told}"


def _meanings(thing: type) -> dict[str, str]:
    """Argument of a class → what it means; where the docstring says only whose it is, what that one says."""
    found: dict[str, str] = {}
    for names, meaning in read_docstring(thing).sections.get("Args", []):
        other = re.search(r"see `([\w.]+)`", meaning)
        other_thing = _named(other[1], thing) if other else None
        elsewhere = _meanings(other_thing) if inspect.isclass(other_thing) and other_thing is not thing else {}
        for one in (name.strip() for name in names.split(",")):
            found[one] = elsewhere.get(one) or meaning
    return found


def _named(name: str, thing: type) -> Any:
    """What a docstring calls by name: in the file of its class, or in one of the rooms."""
    last = name.rpartition(".")[2]
    rooms = (sys.modules[thing.__module__], *(import_module(f"medssl.{room}") for room in ROOMS))
    return next((getattr(room, last) for room in rooms if hasattr(room, last)), None)


def _spelled(value: Any) -> str:
    return "" if value is None else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _asks(task: type[PretextTask]) -> str:
    points = [f"- `{value}`, which has no default" for value in task.needs]
    points += [f"- mini-batches of at least {task.smallest_batch} image{'s' if task.smallest_batch > 1 else ''}"]
    if task.copies > 1:
        points.append(f"- a backbone that sees {task.copies} images on its channel axis, folded to one afterwards")
    if task.compares_images:
        points.append("- batch statistics of all processes of a distributed run, for it compares images")
    if task.asks_groups:
        points.append("- of which volume, study and patient an image is, where `positives` says so")
    return "\n".join(points)


def _measured(name: str, results: Path) -> list[str]:
    tables = measured_rows(results, name)
    if not tables:
        return ["Nothing yet: no file of `benchmarks/results` has a row of it."]
    parts = []
    for file in dict.fromkeys(table.file for table in tables):
        parts.append(f"### [{file.stem}](../../benchmarks/results/{file.name})")
        for table in (table for table in tables if table.file == file):
            parts += [table.title, as_markdown(table.header, table.rows)]
    return parts


def _papers(task: type[PretextTask]) -> str:
    text = " ".join(f"{sys.modules[parent.__module__].__doc__} {parent.__doc__}" for parent in task.__mro__[:2])
    lines = [f"- {reference}" for short, reference in papers().items() if re.search(rf"{re.escape(short)}(?!\w)", text)]
    return "\n".join(lines) or "None: it is ours."
