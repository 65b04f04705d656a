"""The files of an exported bundle, written into an empty folder."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import yaml

from medssl import __version__
from medssl.files import write_text

from .card import card
from .checks.contents import LARGEST_FILE
from .model import Model
from .target import EXPORT, METADATA, list_files
from .templates import render
from .travelling import Travelling, write_modules

PLACEHOLDER_URL = "https://fill-in.invalid/"
"""Begins an address that only the user knows."""


def write_bundle(
    folder: Path,
    model: Model,
    metadata: Mapping[str, Any],
    travelling: Travelling,
    data_license: str | Path | None = None,
) -> None:
    """Write everything but what is made of these files.

    Args:
        folder: empty.
        model: what is exported.
        metadata: its ``metadata.json``.
        travelling: the modules for ``scripts/``.
        data_license: a text file on the terms of the training data; without it a text says that they are not stated.
    """
    write_modules(
        travelling, folder / "scripts", f"Reading as in the training, and writing; from medssl {__version__}."
    )
    _write_metadata(folder, metadata)
    for config in ("inference.yaml", *(["evaluate.yaml"] if model.classes else []), "logging.conf"):
        write_text(folder / "configs" / config, render(config, model=model, view=model.view))
    (folder / "models").mkdir()
    torch.save(dict(model.state), folder / "models" / "model.pt")
    write_text(folder / "docs" / "README.md", card(model, metadata))
    terms = Path(data_license).read_text(encoding="utf-8") if data_license else render("data_license.txt")
    write_text(folder / "docs" / "data_license.txt", terms)
    shutil.copyfile(str(files("medssl.bundles") / "finetune" / "LICENSE"), folder / "LICENSE")


def write_large_files(folder: Path) -> None:
    """Name the files that are too large for the zoo's repository, with their hash and a placeholder as address."""
    large = [file for file in list_files(folder) if (folder / file).stat().st_size > LARGEST_FILE]
    entries = [
        {
            "path": file,
            "url": f"{PLACEHOLDER_URL}{file}",
            "hash_val": _sha256(folder / file),
            "hash_type": "sha256",
        }
        for file in large
    ]
    if entries:
        text = render("large_files.yml", entries=yaml.safe_dump(entries, sort_keys=False))
        write_text(folder / "large_files.yml", text)


def write_manifest(folder: Path) -> None:
    """Say in the metadata what was written, so that the next export knows what is its own."""
    content = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    _write_metadata(folder, {**content, EXPORT: {"medssl": __version__, "files": list_files(folder)}})


def _write_metadata(folder: Path, content: Mapping[str, Any]) -> None:
    # Indented by four, as the zoo wants it.
    write_text(folder / METADATA, json.dumps(content, indent=4, ensure_ascii=False) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
