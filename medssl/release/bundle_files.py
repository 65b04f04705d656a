"""The files of an exported bundle, written into an empty folder; most fill a template with what the run knows."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from medssl import __version__
from medssl.files import write_json, write_text
from medssl.report.masks import mask_results, outlined_counts
from medssl.report.page import markdown_parts
from medssl.report.split_figures import SplitFigures, triple_text
from medssl.report.story import known_labels, pretraining_results, results
from medssl.report.subgroups import subgroup_tables

from .checks.bundle import METADATA, MODEL, Bundle
from .checks.contents import LARGEST_FILE
from .metadata import OWN_ENTRIES
from .model import Model
from .target import EXPORT
from .travelling import Travelling

PLACEHOLDER_URL = "https://fill-in.invalid/"
"""Begins an address that only the user knows."""
_TEMPLATES = Environment(
    loader=PackageLoader("medssl.release"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


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
    travelling.write(folder / "scripts", f"Reading as in the training, and writing; from medssl {__version__}.")
    _write_metadata(folder, metadata)
    network = yaml.safe_dump(model.config, sort_keys=False).rstrip()
    evaluates = model.classes and not model.segments  # masks need medssl to be judged
    for config in (
        "inference.yaml",
        *(["evaluate.yaml"] if evaluates else []),
        "logging.conf",
    ):
        write_text(folder / "configs" / config, filled(config, model=model, view=model.view, network=network))
    (folder / "models").mkdir()
    torch.save(dict(model.state), folder / MODEL)
    write_json((folder / MODEL).with_suffix(".json"), model.description)
    write_text(folder / "docs" / "README.md", _card(model, metadata))
    terms = Path(data_license).read_text(encoding="utf-8") if data_license else filled("data_license.txt")
    write_text(folder / "docs" / "data_license.txt", terms)
    shutil.copyfile(str(files("medssl.bundles") / "finetune" / "LICENSE"), folder / "LICENSE")


def write_large_files(folder: Path) -> None:
    """Name the files that are too large for the zoo's repository, with their hash and a placeholder as address."""
    entries = []
    for file in Bundle(folder).files:
        if (folder / file).stat().st_size > LARGEST_FILE:
            with (folder / file).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            entries.append({"path": file, "url": f"{PLACEHOLDER_URL}{file}", "hash_val": found, "hash_type": "sha256"})
    if entries:
        text = filled("large_files.yml", entries=yaml.safe_dump(entries, sort_keys=False))
        write_text(folder / "large_files.yml", text)


def write_hub_card(folder: Path, model: Model) -> None:
    """Write the model card where Hugging Face looks for it, with what its search goes by.

    ``push_to_hf_hub`` puts the same text there, with tags of its own.
    """
    kind = "segmentation" if model.segments else "classification" if model.classes else "feature-extraction"
    entries = {
        "library_name": "monai",
        "license": "apache-2.0",
        "pipeline_tag": f"image-{kind}",
        "tags": ["monai", "medical", "medssl", *filter(None, [model.view.modality])],
    }
    card = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    write_text(folder / "README.md", f"---\n{yaml.safe_dump(entries, sort_keys=False)}---\n{card}")


def write_manifest(folder: Path, hub: bool = False) -> None:
    """Say in the metadata what was written, so that the next export knows what is its own, and whether for the hub."""
    content = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    own = {"medssl": __version__, "files": Bundle(folder).files, **({"hub": True} if hub else {})}
    _write_metadata(folder, {**content, EXPORT: own})


def _write_metadata(folder: Path, content: Mapping[str, Any]) -> None:
    # Indented by four, as the zoo wants it.
    write_text(folder / METADATA, json.dumps(content, indent=4, ensure_ascii=False) + "\n")


def filled(name: str, **values: Any) -> str:
    """The text of ``templates/`` for a file."""
    return _TEMPLATES.get_template(f"{name}.j2").render(**values)


def _card(model: Model, metadata: Mapping[str, Any]) -> str:
    """``docs/README.md``, after the model zoo's template: what the run knows, and no name of anybody.

    What it came to is told by `medssl.report.story`, as on the page of a report.
    """
    figures, validation = (SplitFigures.read(model.run, split) for split in ("test", "validation"))
    if model.segments:
        told, counts = (tell(figures) if figures else () for tell in (mask_results, outlined_counts))
    else:
        told = pretraining_results(model.run) if not model.classes else results(figures) if figures else ()
        counts = known_labels(model.run) if model.classes else ()
    groups = subgroup_tables(figures, leaves=True) if figures else ()
    versions = {name: metadata[key] for name, key in OWN_ENTRIES.items()} | metadata["required_packages_version"]
    return filled(
        "README.md",
        model=model,
        view=model.view,
        metadata=metadata,
        image=model.image_word,
        spacing=_spacing(model.view.spacing or ()),
        counts=markdown_parts(counts),
        results=markdown_parts([*told, *groups]),
        validation=triple_text(validation.mean, undefined="").replace("\n", " ") if validation else "",
        requirements=" ".join(f"{name}=={version}" for name, version in versions.items()),
        example_datalist=_example_datalist(model),
    )


def _spacing(sides: Sequence[float]) -> str:
    own = all(side == -1 for side in sides)
    return "" if own else " × ".join("its own" if side == -1 else f"{side:g}" for side in sides) + " mm"


def _example_datalist(model: Model) -> str:
    label = [1, *[0 if model.exclusive else None] * (len(model.classes) - 1)]
    image = "image_1.png" if model.view.spatial_dims == 2 else "volume_1.nii.gz"
    labels, item = json.dumps(model.classes, ensure_ascii=False), {"image": image, "label": label, "patient": "a"}
    return f'{{"labels": {labels},\n "test": [{json.dumps(item)}]}}'
