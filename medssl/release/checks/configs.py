"""The configs, read and not run: that they hold together, and name what MONAI's tools look for."""

import ast
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from typing import Any

import yaml
from monai.bundle import ConfigExpression, ConfigParser, ConfigWorkflow, ReferenceResolver
from monai.bundle.properties import BundlePropertyConfig

from medssl.errors import UserError

from .bundle import METADATA, Bundle, quiet

NEEDED: dict[str, tuple[str, ...]] = {
    "inference": ("output_dir", "run"),
    "train": ("output_dir", "train::dataset::data", "train::handlers", "run"),
    "validate": ("validate::evaluator", "validate::handlers", "validate::dataset", "validate::dataset::data"),
    "multi_gpu_train": ("device", "network", "initialize", "finalize"),
}
"""Ids that the zoo asks for beside those of MONAI's own list, which :func:`properties` looks for."""
PROVIDED = {"monai", "torch", "numpy"}
"""Packages whose versions have entries of their own in the metadata."""


def readable(bundle: Bundle) -> Iterator[str]:
    """Say which configs are damaged, or name something twice."""
    for file in bundle.configs:
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                content = ConfigParser.load_config_file(str(bundle.folder / file))
        except (ValueError, yaml.YAMLError) as error:
            yield f"{file} is no valid {'JSON' if file.endswith('json') else 'YAML'}: {_first_words(error)}."
            continue
        if not isinstance(content, dict):
            yield f"{file} must hold names and values."
        yield from (f"{file}: {warning.message}; the earlier value is lost." for warning in caught)


def _first_words(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark else ""
    return place + str(getattr(error, "problem", None) or error).splitlines()[0]


class _Unbuilt(ConfigWorkflow):
    """MONAI's own check of the ids, with none of the parts built."""

    def _get_property(self, name: str, property: dict) -> Any:
        if property[BundlePropertyConfig.ID] not in self.parser:
            raise AttributeError(name)


def properties(bundle: Bundle) -> Iterator[str]:
    """Name the ids of MONAI's list that are missing, or defined where its tools do not look for them."""
    for names in bundle.workflows:
        with quiet():
            kind = "train" if names[0] == "train" else "infer"
            workflow = _Unbuilt(bundle.paths(*names), logging_file=False, workflow_type=kind)
            wrong = workflow.check_properties() or []
        ids = [workflow.properties[name][BundlePropertyConfig.ID].replace("::", "#") for name in wrong]
        ids = [one for one in ids if not one.startswith("_meta_")]  # of which the schema's check speaks
        if ids:
            yield (
                f"{_files(bundle, names)} lacks {', '.join(ids)}, or does not refer to it by exactly this id: MONAI's "
                "tools look for it."
            )


def needed_ids(bundle: Bundle) -> Iterator[str]:
    """Name the ids that the zoo asks for and that are missing."""
    for name in ("train", "inference"):
        if file := bundle.config_file(name):
            parser = bundle.parser(name)
            wanted = NEEDED[name] + (NEEDED["validate"] if name == "train" and "validate" in parser else ())
            yield from _missing(file, [one for one in wanted if one not in parser])
            if parser.get("bundle_root", ".") != ".":
                yield f"{file} has another bundle_root than '.': the bundle must run where it lies."
    if file := bundle.config_file("multi_gpu_train"):
        own = ConfigParser.load_config_file(str(bundle.folder / file))  # alone, for it is no config without train
        yield from _missing(file, [one for one in NEEDED["multi_gpu_train"] if one not in own])


def _missing(file: str, ids: list[str]) -> Iterator[str]:
    if ids:
        yield f"{file} lacks {', '.join(ids).replace('::', '#')}, which the zoo asks for."


def references(bundle: Bundle) -> Iterator[str]:
    """Name what is referred to and not there."""
    for names in bundle.workflows:
        parser = bundle.parser(*names)
        try:
            parser.resolve_macro_and_relative_ids()
        except KeyError as error:
            yield f"{_files(bundle, names)}: a macro (%) names something that is not there ({error.args[0]})."
            continue
        for place, text in _texts(parser.get()):
            for reference in ReferenceResolver.match_refs_pattern(text):
                if reference not in parser and not reference.startswith("_meta_"):
                    yield f"{_files(bundle, names)}, {place}, refers to @{reference}, which is not there."


def expressions(bundle: Bundle) -> Iterator[str]:
    """Name expressions that are no Python, lambdas that workers cannot get, and numbers that YAML reads as text."""
    for file in bundle.configs:
        for place, text in _texts(ConfigParser.load_config_file(str(bundle.folder / file))):
            if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text):
                yield f"{file}, {place}: YAML reads {text} as text; write it without exponent."
            tree = _expression(text)
            if tree is None:
                yield f"{file}, {place}: {text} is no Python expression."
            elif re.search(r"transform|processing", place) and any(isinstance(n, ast.Lambda) for n in ast.walk(tree)):
                yield f"{file}, {place}: a lambda cannot be sent to worker processes; name a function instead."


def _expression(text: str) -> ast.AST | None:
    """The tree of a ``$`` expression (an empty one for any other text); None when it is no Python."""
    if not ConfigExpression.is_expression(text):
        return ast.Module([], [])
    # A reference stands for a value: any name will do.
    code = re.sub(r"[@%]\w+((::|#)\w+)*", "reference", text[1:].strip())
    try:
        return ast.parse(code, mode="exec" if ConfigExpression.is_import_statement(text) else "eval")
    except SyntaxError:
        return None


def imports(bundle: Bundle) -> Iterator[str]:
    """Name what is imported and not among the required packages; medssl in a bundle for others above all."""
    listed = bundle.metadata.get("required_packages_version", {})
    known = {name.lower().replace("_", "-") for name in (listed if isinstance(listed, dict) else ())}
    files: dict[str, list[str]] = {}
    for file, module in sorted(set(_imports(bundle))):
        files.setdefault(module, []).append(file)
    for module, where in files.items():
        names = {name.lower().replace("_", "-") for name in (*_distributions().get(module, ()), module)}
        if module in PROVIDED or module in sys.stdlib_module_names or module == "scripts" or names & known:
            continue
        if module == "medssl" and not bundle.is_training:
            yield f"{_and(where)} medssl, which those who use the bundle do not have: it must run with MONAI alone."
        else:
            yield f"{_and(where)} {module}, which required_packages_version in {METADATA} does not name."
    if "medssl" in known and not bundle.is_training:
        yield f"{METADATA} requires medssl, which those who use the bundle do not have: it must run with MONAI alone."


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _and(files: list[str]) -> str:
    return f"{', '.join(files)} import{'s' if len(files) == 1 else ''}"


def _imports(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Each file and the packages that it imports."""
    for file in bundle.configs:
        for place, text in _texts(ConfigParser.load_config_file(str(bundle.folder / file))):
            if place.endswith("_target_") and "." in text and not text.startswith(("$", "@", "%")):
                yield file, text.partition(".")[0]
            yield from ((file, module) for module in _imported(_expression(text)))
    for file in bundle.files:
        if file.endswith(".py"):
            try:
                tree = ast.parse((bundle.folder / file).read_bytes())
            except (SyntaxError, ValueError) as error:
                raise UserError(f"{file} is no valid Python: {error}.") from error
            yield from ((file, module) for module in _imported(tree))


def _imported(tree: ast.AST | None) -> Iterator[str]:
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(one.value).partition(".")[0] for one in node.args if isinstance(one, ast.Constant))


def _texts(config: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a config with its id, but not those of the metadata."""
    if isinstance(config, str):
        yield place, config
    items = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in items:
        if key != ConfigParser.meta_key:
            yield from _texts(value, f"{place}#{key}" if place else str(key).replace("::", "#"))


def _files(bundle: Bundle, names: tuple[str, ...]) -> str:
    return " with ".join(str(bundle.config_file(name)) for name in names)
