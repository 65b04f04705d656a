"""`metadata.json`: what the zoo asks for, and that it agrees with itself."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from medssl.errors import UserError

from .bundle import METADATA, Bundle


def schema_file() -> Path:
    """Our JSON schema of `metadata.json`.

    `python -m monai.bundle verify_metadata --meta_file … --filepath` with this path stays offline.
    """
    return Path(str(files(__package__) / "metadata_schema.json"))


def fits_schema(bundle: Bundle) -> Iterator[str]:
    """Say where the metadata depart from the schema or, where they do not, contradict themselves."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError as missing:
        raise UserError("jsonschema is needed to check metadata.json: pip install 'medssl[release]'.") from missing
    schema = json.loads(schema_file().read_text(encoding="utf-8"))
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
