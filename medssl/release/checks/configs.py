"""The metadata and the configs, read and not run: that they hold together, and name what the zoo and MONAI look for."""

import json
import re
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import BundleProperty, BundlePropertyConfig

from medssl.errors import UserError

from .bundle import METADATA, Bundle, quiet

SCHEMA_FILE = Path(__file__).with_name("metadata_schema.json")
"""Of `metadata.json`: `python -m monai.bundle verify_metadata --meta_file … --filepath` with it stays offline."""

NEEDED = {
    "inference": ("output_dir", "run"),
    "train": ("output_dir", "train::dataset::data", "train::handlers", "run"),
    "validate": ("validate::evaluator", "validate::handlers", "validate::dataset", "validate::dataset::data"),
}
"""Ids that the zoo asks for beside those of MONAI's own list; the last of them where a training validates."""
IMPORT = re.compile(r"(?:^|\$)\s*(?:import\s+|from\s+(?=[\w.]+\s+import))(\w+)|_target_['\"]?:\s*['\"]?(\w+)\.", re.M)
"""A package that Python, an expression or a `_target_` imports."""
PROVIDED = {"monai", "torch", "numpy", "scripts", *sys.stdlib_module_names}
"""What is there, or has an entry of its own in the metadata."""


def readable(bundle: Bundle) -> Iterator[str]:
    """Say which configs, the metadata among them, are damaged or name something twice."""
    if METADATA not in bundle.files:
        yield f"{METADATA} is missing: it says what the bundle is and needs."
    for file in bundle.configs:
        try:
            with warnings.catch_warnings(record=True, action="always") as caught:
                content = ConfigParser.load_config_file(str(bundle.folder / file))
        except (json.JSONDecodeError, UnicodeDecodeError, yaml.YAMLError) as error:
            yield f"{file} is no valid {'JSON' if file.endswith('json') else 'YAML'}: {' '.join(str(error).split())}."
            continue
        if not isinstance(content, dict):
            yield f"{file} must hold names and values."
        yield from (f"{file}: {warning.message}; the earlier value is lost." for warning in caught)


def fits_schema(bundle: Bundle) -> Iterator[str]:
    """Say where the metadata depart from the schema or, where they do not, contradict themselves."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError as missing:
        raise UserError("jsonschema is needed to check metadata.json: pip install 'medssl[release]'.") from missing
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    errors = list(Draft202012Validator(schema).iter_errors(bundle.metadata))
    for error in errors:
        place = " → ".join(map(str, error.absolute_path)) or "at the top"
        # Few read patterns: their titles say what they mean.
        yield f"{METADATA}, {place}: {error.message} ({error.schema.get('title', 'so the zoo wants it')})."
    if errors:
        return
    version, changelog = bundle.metadata["version"], bundle.metadata["changelog"]
    newest = max(changelog, key=lambda text: list(map(int, re.findall(r"\d+", text))))
    if newest != version:
        yield f"{METADATA} has the version {version}, and its changelog ends with {newest}: say there what is new."
    for tensors in bundle.metadata["network_data_format"].values():
        for name, tensor in tensors.items():
            channels, meanings = tensor["num_channels"], tensor.get("channel_def", {})
            if meanings and len(meanings) != channels:
                yield f"{METADATA} gives {name} {channels} channels, and names {len(meanings)} of them in channel_def."


class _Unbuilt(ConfigWorkflow):
    """MONAI's own check of the ids, with none of the parts built."""

    def _get_property(self, name: str, property: dict) -> Any:
        if property[BundlePropertyConfig.ID] not in self.parser:
            raise AttributeError(name)


def properties(bundle: Bundle) -> Iterator[str]:
    """Name the ids of MONAI's list and the zoo's that are missing, or not where MONAI's tools look for them."""
    together = [("train",), ("inference",), ("inference", "evaluate"), ("train", "multi_gpu_train")]
    for names in (names for names in together if all(map(bundle.config_file, names))):
        kind = "train" if names[0] == "train" else "infer"
        with quiet():
            workflow = _Unbuilt(bundle.paths(*names), logging_file=False, workflow_type=kind)
            for one in (*NEEDED[names[0]], *(NEEDED["validate"] if "validate" in workflow.parser else ())):
                workflow.properties[f"id {one}"] = {BundlePropertyConfig.ID: one, BundleProperty.REQUIRED: True}
            wrong = workflow.check_properties() or []
        files = " with ".join(str(bundle.config_file(name)) for name in names)
        ids = {workflow.properties[name][BundlePropertyConfig.ID].replace("::", "#"): None for name in wrong}
        if missing := [one for one in ids if not one.startswith("_meta_")]:  # of which the schema's check speaks
            yield f"{files} lacks {', '.join(missing)}, or does not refer to it by this id: MONAI's tools look for it."
        if workflow.parser.get("bundle_root", ".") != ".":
            yield f"{files} has another bundle_root than '.': the bundle must run where it lies."


def imports(bundle: Bundle) -> Iterator[str]:
    """Name what is imported and not among the required packages; medssl in a bundle for others above all."""
    distributions = packages_distributions()
    listed = {_plain(name) for name in bundle.metadata.get("required_packages_version", ())}
    files: dict[str, list[str]] = {}
    for file, text in bundle.texts():
        if file.endswith(".py") or file in bundle.configs:
            for module in sorted({first or second for first, second in IMPORT.findall(text)} - PROVIDED):
                files.setdefault(module, []).append(file)
    for module, where in files.items():
        found = f"{', '.join(where)} import{'s' if len(where) == 1 else ''} {module}"
        if module == "medssl" and not bundle.is_training:
            yield f"{found}, which those who use the bundle do not have: it must run with MONAI alone."
        elif not listed & {_plain(name) for name in (*distributions.get(module, ()), module)}:
            yield f"{found}, which required_packages_version in {METADATA} does not name."
    if "medssl" in listed and not bundle.is_training:
        yield f"{METADATA} requires medssl, which those who use the bundle do not have: it must run with MONAI alone."


def _plain(distribution: str) -> str:
    return distribution.lower().replace("_", "-")
