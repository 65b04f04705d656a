"""A page for each room of the package: what can be imported from it, with signatures and docstrings."""

import inspect
import types
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .docstrings import Docstring, link_names, one_line, read_docstring

ROOMS = (
    "data", "data.prepare", "data.tables", "readers", "transforms", "networks", "losses", "pretext", "pretext.puzzles",
    "training", "evaluation", "report", "release", "studies", "phantoms", "errors", "files", "runs", "progress",
)  # fmt: skip
"""In the order of the house, from the data to what is passed on."""
FOLDER = "reference/api"


def public_names(room: str) -> list[str]:
    """What `medssl.ROOM` offers: its `__all__`, or what it defines itself without an underscore."""
    module = import_module(f"medssl.{room}")
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.casefold)
    own = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    return sorted((name for name in own if not name.startswith("_")), key=str.casefold)


def places() -> dict[str, str]:
    """Public name → its address from the folder of these pages. Rooms above are looked at first."""
    found: dict[str, str] = {}
    for room in sorted(ROOMS, key=lambda room: room.count(".")):
        for name in public_names(room):
            found.setdefault(name, f"{room}.md#{anchor(name)}")
    return found


def anchor(name: str) -> str:
    """Of a name on its page; with capitals, which tell `DINO` from `dino`."""
    return f"api-{name}"


def api_pages() -> dict[str, str]:
    """Address of each page → its Markdown."""
    known = places()
    listed = [f"| [`medssl.{room}`]({room}.md) | {one_line(_first_line(room))} |" for room in ROOMS]
    pages = {
        f"{FOLDER}/index.md": "\n".join(["# The package", "", "| room | what is there |", "|---|---|", *listed]) + "\n"
    }
    return pages | {f"{FOLDER}/{room}.md": _room_page(room, known) for room in ROOMS}


def _first_line(room: str) -> str:
    return read_docstring(import_module(f"medssl.{room}")).text.split("\n\n")[0]


def _room_page(room: str, known: Mapping[str, str]) -> str:
    module = import_module(f"medssl.{room}")
    parts = [f"# medssl.{room}", link_names(read_docstring(module).text, known)]
    for name in public_names(room):
        parts += [f"## {name} {{ #{anchor(name)} }}", *describe(name, getattr(module, name), known)]
    return "\n\n".join(part for part in parts if part) + "\n"


def describe(name: str, thing: Any, known: Mapping[str, str]) -> list[str]:
    """A public thing in Markdown: its signature, its docstring, of a class its methods."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return _value(thing)
    parts = [_signature(name, thing), *_told(read_docstring(thing), known)]
    if inspect.isclass(thing) and not issubclass(thing, BaseException):
        methods = [
            (one, value)
            for one, value in vars(thing).items()
            if not one.startswith("_") and isinstance(value, property | classmethod | staticmethod | types.FunctionType)
        ]
        for one, value in methods:
            plain = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            spelled = f"{one}" if isinstance(value, property) else _signature(one, plain, fenced=False)
            words = read_docstring(plain)
            if words.text:
                parts.append(f"`{spelled}`\n\n:   {_indented(_told(words, known))}")
    return parts


def _value(thing: Any) -> list[str]:
    text = ", ".join(map(str, thing)) if isinstance(thing, dict | tuple | list | set | frozenset) else repr(thing)
    return [f"`{text}`"] if len(text) < 2000 else []


def _signature(name: str, thing: Any, fenced: bool = True) -> str:
    try:
        parameters = list(inspect.signature(thing).parameters.values())
    except (TypeError, ValueError):
        return f"```python\n{name}\n```" if fenced else name
    if parameters and parameters[0].name in ("self", "cls") and not fenced:
        parameters = parameters[1:]
    words = [_parameter(one) for one in parameters]
    keyword_only = [number for number, one in enumerate(parameters) if one.kind is one.KEYWORD_ONLY]
    if keyword_only and not any(one.kind is one.VAR_POSITIONAL for one in parameters):
        words.insert(keyword_only[0], "*")
    whole = f"{name}({', '.join(words)})"
    if not fenced:
        return whole
    if len(whole) > 88:
        whole = f"{name}(\n" + "".join(f"    {word},\n" for word in words) + ")"
    return f"```python\n{whole}\n```"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    kind = parameter.annotation
    name = stars + parameter.name
    typed = name if kind is parameter.empty else f"{name}: {_type(kind)}"
    if parameter.default is parameter.empty:
        return typed
    default = getattr(parameter.default, "__name__", None) or repr(parameter.default)
    return f"{typed} = {default}" if kind is not parameter.empty else f"{typed}={default}"


def _type(kind: Any) -> str:
    text = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    for prefix in ("collections.abc.", "typing.", "pathlib.", "torch.nn.modules.module.", "torch."):
        text = text.replace(prefix, "")
    return ".".join(text.split(".")[-1:]) if text.startswith("medssl.") and "[" not in text else text


def _told(words: Docstring, known: Mapping[str, str]) -> list[str]:
    parts = [link_names(words.text, known)]
    for section, entries in words.sections.items():
        if section in ("Returns", "Yields"):
            parts.append(f"**{section}** {link_names(entries[0][1], known) if entries else ''}")
            continue
        heading = {"Args": "argument", "Attributes": "attribute", "Raises": "raised"}[section]
        rows = [f"| `{name}` | {one_line(link_names(meaning, known))} |" for name, meaning in entries]
        parts.append("\n".join([f"| {heading} | meaning |", "|---|---|", *rows]))
    return [part for part in parts if part]


def _indented(parts: list[str]) -> str:
    return "\n\n".join(parts).replace("\n", "\n    ")
