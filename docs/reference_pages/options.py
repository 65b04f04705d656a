"""The page of the bundles' options: the ids at the top of each config, with the comments that stand beside them."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .docstrings import one_line

BUNDLES = ("pretrain", "finetune", "segment")
CONFIGS = ("train", "evaluate", "inference")
HIDDEN = ("imports", "bundle_root", "rank", "numbers", "datalist", "description", "view", "network")
"""Ids that nobody types."""
SPOKEN = {
    r"\$torch\.cuda\.is_available\(\)|\$torch\.device\(@device\)\.type == 'cuda'": "on a GPU",
    r"\$torch\.device\('cuda' if .*": "a GPU where there is one",
    r"\$medssl\.training\.computes_in_half\(.*": "where it is quicker and right",
    r"\$@bundle_root \+ '/(.*)'": r"`\1`",
    r"@(\w+)": r"that of `--\1`",
    r"\$(\d+) if @view\.spatial_dims == 2 else (\d+)": r"`\1` (2D), `\2` (3D)",
    r"\$@description\.get\('(\w+)', .*\)": "as the model was validated",
    r"\$@description\['?(\w+)'?\]": "the model's",
    r"\$@output_dir \+ .*": "in the run's folder",
}
"""What an expression of a config is for a reader."""


class Option(NamedTuple):
    """An id of a config."""

    name: str
    default: str
    meaning: str


def options_page(root: Path) -> str:
    """Every option of every bundle, in Markdown.

    Args:
        root: of the repository.
    """
    recipe = yaml.safe_load((root / "configs/recipes/default.yaml").read_text(encoding="utf-8"))
    parts = [
        "# Options of the bundles",
        "Each is given as `--name value` to `python -m monai.bundle run --config_file …`. Defaults that belong to a "
        "recipe are those of `configs/recipes/default.yaml`; `--recipe` takes another.",
    ]
    for bundle in BUNDLES:
        for config in CONFIGS:
            path = root / "bundles" / bundle / "configs" / f"{config}.yaml"
            if not path.is_file():
                continue
            text = path.read_text(encoding="utf-8")
            parts += [f"## {bundle}: {config}", text.splitlines()[0].removeprefix("# "), f"`{path.relative_to(root)}`"]
            for heading, options in read_options(text, recipe.get(bundle, {})):
                rows = [f"| `--{one.name}` | {one_line(one.default)} | {one_line(one.meaning)} |" for one in options]
                parts += [heading, "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])]
    return "\n\n".join(part for part in parts if part) + "\n"


def read_options(text: str, recipe: dict[str, Any]) -> list[tuple[str, list[Option]]]:
    """The options of a config under the comments that head them.

    What follows after the first empty line that no comment heads is the training itself.

    Args:
        text: of the YAML file.
        recipe: the default recipe's numbers of this bundle.
    """
    groups: list[tuple[str, list[Option]]] = [("", [])]
    blank = False
    for line in text.splitlines()[1:]:
        if match := re.fullmatch(r"# (.*)", line):
            groups.append((match[1], []))
        elif match := re.fullmatch(r"(\w+): (.+?)(?:  # (.*))?", line):
            name, default, meaning = match[1], match[2], match[3] or ""
            if blank and groups[-1][1]:
                break
            if name not in HIDDEN:
                groups[-1][1].append(Option(name, _default(name, default, recipe), meaning))
        elif line and blank:
            break
        blank = not line
    return [(heading, options) for heading, options in groups if options]


def _default(name: str, written: str, recipe: dict[str, Any]) -> str:
    if "numbers" in written:
        return _of_recipe(name, recipe)
    value = str(yaml.safe_load(written))
    for pattern, words in SPOKEN.items():
        if re.fullmatch(pattern, value):
            return re.sub(pattern, words, value)
    shown = written if isinstance(yaml.safe_load(written), bool) else value
    return f"`{shown}`" if shown else "none"


def _of_recipe(name: str, recipe: dict[str, Any]) -> str:
    by_dims = {dims: recipe.get(dims, {}).get(name) for dims in ("2D", "3D")}
    two, three = (recipe.get(name) if value is None else value for value in by_dims.values())
    said = f"`{_yaml(two)}`" if two == three else f"`{_yaml(two)}` (2D), `{_yaml(three)}` (3D)"
    begun = recipe.get("pretrained", {}).get(name)
    return said if begun is None else f"{said}; from weights `{_yaml(begun)}`"


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
