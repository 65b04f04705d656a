"""``docs/README.md`` of an exported bundle, after the model zoo's template: what the run knows, and no name of anybody.

What it came to is told by `medssl.report.story`, as on the page of a report; the rest stands in
``templates/README.md.j2``, and here is what fills that.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from medssl.report.page import markdown_parts
from medssl.report.story import SplitFigures, known_labels, pretraining_results, results, triple_text

from .metadata import OWN_ENTRIES
from .model import Model
from .templates import render


def card(model: Model, metadata: Mapping[str, Any]) -> str:
    """The text of ``docs/README.md``.

    Args:
        model: what is exported.
        metadata: its ``metadata.json``.
    """
    figures, validation = (SplitFigures.read(model.run, split) for split in ("test", "validation"))
    told = pretraining_results(model.run) if not model.classes else results(figures) if figures else ()
    return render(
        "README.md",
        model=model,
        view=model.view,
        metadata=metadata,
        network=model.description.get("architecture") or model.description["backbone"],
        image=model.image_word,
        size=" × ".join(map(str, model.view.image_size)) + (" pixels" if model.view.spatial_dims == 2 else " voxels"),
        spacing=_spacing(model.view.spacing or ()),
        tags=_tags(model),
        counts=markdown_parts(known_labels(model.run)) if model.classes else "",
        results=markdown_parts(told),
        validation=triple_text(validation.mean, undefined="").replace("\n", " ") if validation else "",
        requirements=_requirements(metadata),
        example_datalist=_example_datalist(model),
    )


def _tags(model: Model) -> list[str]:
    images = [model.image_word, f"{model.view.spatial_dims}D"]
    if not model.classes:
        return [*images, "self-supervised pre-training", "feature extraction"]
    return [*images, f"{'multi-class' if model.exclusive else 'multi-label'} classification", "partial labels"]


def _spacing(sides: Sequence[float]) -> str:
    own = all(side == -1 for side in sides)
    return "" if own else " × ".join("its own" if side == -1 else f"{side:g}" for side in sides) + " mm"


def _requirements(metadata: Mapping[str, Any]) -> str:
    versions = {name: metadata[key] for name, key in OWN_ENTRIES.items()} | metadata["required_packages_version"]
    return " ".join(f"{name}=={version}" for name, version in versions.items())


def _example_datalist(model: Model) -> str:
    label = [1, *[0 if model.exclusive else None] * (len(model.classes) - 1)]
    image = "image_1.png" if model.view.spatial_dims == 2 else "volume_1.nii.gz"
    labels, item = json.dumps(model.classes, ensure_ascii=False), {"image": image, "label": label, "patient": "a"}
    return f'{{"labels": {labels},\n "test": [{json.dumps(item)}]}}'
