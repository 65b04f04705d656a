"""``metadata.json``: what the zoo's schema asks for, and that it agrees with itself."""

import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from .bundle import METADATA, Bundle, Note

VERSION = r"\d+(\.\d+)*((a|b|rc)\d+)?"
TYPES = {
    "string": "text",
    "object": "names and values",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def schema_file() -> Path:
    """Our JSON schema of ``metadata.json``.

    ``python -m monai.bundle verify_metadata --meta_file … --filepath`` with this path stays offline.
    """
    return Path(str(files(__package__) / "metadata_schema.json"))


def readable(bundle: Bundle) -> Iterator[str]:
    """Say why ``metadata.json`` cannot be read."""
    if METADATA not in bundle.files:
        yield f"{METADATA} is missing: it says what the bundle is and needs."
        return
    text = (bundle.folder / METADATA).read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text)
    except ValueError as error:
        yield f"{METADATA} is no valid JSON: {error}."
        return
    if not isinstance(content, dict):
        yield f"{METADATA} must hold names and values."
    elif not text.startswith('{\n    "'):
        yield Note(f"{METADATA} is not indented by 4, as the zoo's formatter wants it (it will put that right).")


def fits_schema(bundle: Bundle) -> Iterator[str]:
    """Say where the metadata depart from the schema."""
    if bundle.metadata:
        schema = json.loads(schema_file().read_text(encoding="utf-8"))
        yield from (_sentence(error) for error in Draft202012Validator(schema).iter_errors(bundle.metadata))


def _sentence(error: ValidationError) -> str:
    place = " → ".join(map(str, error.absolute_path))
    where = f"{METADATA}, {place}," if place else METADATA
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{where} lacks {', '.join(missing)}."
    if error.validator == "type":
        wanted = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        return f"{where} is {error.instance!r}, and must be {' or '.join(TYPES[one] for one in wanted)}."
    return f"{where} is wrong: {error.message}."


def versions(bundle: Bundle) -> Iterator[str]:
    """Say where version, changelog and the versions of packages do not fit."""
    version, changelog = bundle.metadata.get("version"), bundle.metadata.get("changelog")
    if isinstance(version, str):
        if not re.fullmatch(r"\d+\.\d+\.\d+", version):
            yield f"{METADATA} has the version {version}: the zoo wants three numbers, such as 0.1.0."
        elif not isinstance(changelog, dict) or version not in changelog:
            yield f"{METADATA} has the version {version}, which its changelog does not name: say there what is new."
        elif newer := [other for other in changelog if _numbers(other) > _numbers(version)]:
            yield f"{METADATA} has the version {version}, and its changelog a newer one, {newer[0]}."
    for name, number in _packages(bundle.metadata):
        if isinstance(number, str) and not re.fullmatch(VERSION, number):
            yield f"{METADATA} asks for {name} {number}, which no index has: give a plain version, such as 1.2.3."


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _packages(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    own = {"monai_version": "monai", "pytorch_version": "torch", "numpy_version": "numpy"}
    yield from ((name, metadata[key]) for key, name in own.items() if key in metadata)
    others = metadata.get("required_packages_version")
    yield from others.items() if isinstance(others, dict) else ()


def consistent(bundle: Bundle) -> Iterator[str]:
    """Say where the metadata contradict themselves, or do not say what the zoo shows."""
    for key in ("name", "intended_use"):
        if bundle.metadata and not bundle.metadata.get(key):
            yield f'{METADATA} lacks "{key}", which the zoo shows.'
    for name, tensor in _tensors(bundle.metadata):
        channels, meanings = tensor.get("num_channels"), tensor.get("channel_def")
        if isinstance(channels, int) and isinstance(meanings, dict) and len(meanings) != channels:
            yield f"{METADATA} gives {name} {channels} channels, and names {len(meanings)} of them in channel_def."
    figures = bundle.metadata.get("eval_metrics")
    for name, value in figures.items() if isinstance(figures, dict) else ():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield f"{METADATA} has the figure {name} as {value!r}: give a number."


def _tensors(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    network = metadata.get("network_data_format")
    for side in ("inputs", "outputs"):
        tensors = network.get(side) if isinstance(network, dict) else None
        if isinstance(tensors, dict):
            yield from ((name, tensor) for name, tensor in tensors.items() if isinstance(tensor, dict))
