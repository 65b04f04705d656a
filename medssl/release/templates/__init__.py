"""The texts of an exported bundle, filled from the run."""

import json
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined


def render(name: str, **values: Any) -> str:
    """Fill the template ``name`` (``name.j2`` beside this file)."""
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters |= {"as_yaml": _as_yaml, "as_json": json.dumps}
    text = (files(__name__) / f"{name}.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)


def _as_yaml(value: Any, indent: int) -> str:
    """A block of YAML, indented but for its first line."""
    lines = yaml.safe_dump(value, sort_keys=False, default_flow_style=False).rstrip().splitlines()
    return f"\n{' ' * indent}".join(lines)
