"""``metadata.json`` of an exported bundle: what goes in and comes out, versions, figures, intended use."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed_version
from typing import Any

from medssl.errors import UserError
from medssl.report.split_figures import SplitFigures
from medssl.report.story import begun_with, pseudo_labels
from medssl.runs import Run

from .model import Model

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
ALWAYS_NEEDED = ("pytorch-ignite", "tqdm", "pyyaml", "fire", "python-gdcm")
"""Beside what ``scripts/`` imports: engines, progress, YAML configs, ``python -m monai.bundle``, compressed DICOM."""
OWN_ENTRIES = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
INTENDED_USE = "Research only. Not for diagnostic use."
REFERENCES = (
    "Dong, N., et al. Applied Soft Computing 163 (2024) 111855.",
    "Zhu, J., Li, Y., Zhou, S. K. Aggregative Self-Supervised Feature Learning. 2020.",
)


def needed_versions(packages: Sequence[str], given: Mapping[str, str] | None) -> dict[str, str]:
    """The version of every distribution that the bundle needs: as given, or else as installed.

    Args:
        packages: what ``scripts/`` imports.
        given: distribution → version.

    Raises:
        UserError: a version is given of something that the bundle does not need.
    """
    needed = dict.fromkeys((*OWN_ENTRIES, *ALWAYS_NEEDED, *packages))
    unknown = set(given or {}) - set(needed)
    if unknown:
        raise UserError(f"The bundle does not need {sorted(unknown)[0]!r}; it needs {', '.join(sorted(needed))}.")
    # A local part, such as that of 2.13.0+cpu, names a build that no index has.
    return {name: (given or {}).get(name) or installed_version(name).partition("+")[0] for name in needed}


def metadata(
    model: Model, versions: Mapping[str, str], name: str | None, authors: str | None, changelog: Mapping[str, str]
) -> dict[str, Any]:
    """The metadata by the model zoo's schema of 2024-07-25.

    Args:
        model: what is exported.
        versions: of every distribution that the bundle needs.
        name: to show; None for one after the kind of images.
        authors: of the model; None where nobody is named yet.
        changelog: version → what is new in it, the newest first.
    """
    kind, authors = f"{model.image_word}s", authors or "not named"
    if model.segments:
        task, trained_on = "Segmentation", "partially outlined images"
    elif model.classes:
        task = f"{'Multi-class' if model.exclusive else 'Multi-label'} classification"
        trained_on = "partially labelled images"
    else:
        task = "Feature extraction"
        trained_on = f"unlabelled images (pretext tasks: {', '.join(model.run.tasks) or 'unknown'})"
    data = "PNG, JPEG, TIFF, BMP or DICOM" if model.view.spatial_dims == 2 else "NIfTI, or folders of DICOM slices"
    return {
        "schema": SCHEMA,
        "version": next(iter(changelog)),
        "changelog": dict(changelog),
        **{entry: versions[package] for package, entry in OWN_ENTRIES.items()},
        "required_packages_version": {key: value for key, value in versions.items() if key not in OWN_ENTRIES},
        "supported_apps": {},
        "name": name or f"{_purpose(model)} {kind}",
        "task": task,
        "description": f"{task} of {kind}, by a network trained on {trained_on}."
        + (f" It began with the weights {begun}." if (begun := begun_with(model.run)) else "")
        + (f" {filled}" if (filled := pseudo_labels(model.run)) else ""),
        "authors": authors,
        "copyright": f"Copyright (c) {authors}",
        "data_source": "see docs/README.md and docs/data_license.txt",
        "data_type": data,
        "image_classes": _channel(model),
        "label_classes": _labels(model),
        "pred_classes": ", ".join(model.classes) or "pooled features",
        "eval_metrics": evaluation_figures(model.run),
        **({"decision_thresholds": model.thresholds} if model.thresholds else {}),
        "intended_use": INTENDED_USE,
        "references": list(REFERENCES),
        "network_data_format": {"inputs": {"image": _input(model)}, "outputs": {"pred": _output(model)}},
    }


def evaluation_figures(run: Run) -> dict[str, float]:
    """The figures of the test split by name, with the ends of their intervals; empty where it was not evaluated."""
    figures = SplitFigures.read(run, "test")
    return {
        name + end: round(value, 4)
        for name, triple in (figures.triples() if figures else {}).items()
        for end, value in zip(("", " low", " high"), triple or (), strict=False)
        if value is not None
    }


def _purpose(model: Model) -> str:
    if model.segments:
        return "Segmentation of"
    return "Classification of" if model.classes else "Backbone for"


def _labels(model: Model) -> str:
    if model.segments:
        return "a mask of each class, or unknown where it was not outlined"
    return "1, 0 or unknown for each class" if model.classes else "none"


def _channel(model: Model) -> str:
    window = model.view.window
    values = f"{window[0]:g} to {window[1]:g} HU mapped to -1 to 1" if window else model.view.intensity
    return f"{model.image_word}, {values}"


def _input(model: Model) -> dict[str, Any]:
    view = model.view
    return {
        "type": "image",
        "format": "magnitude",
        **({"modality": view.modality} if view.modality else {}),
        "num_channels": 1,
        "spatial_shape": list(view.image_size),
        "dtype": "float32",
        "value_range": [-1, 1] if view.window else [-10, 10],
        "is_patch_data": model.segments and view.spatial_dims == 3,
        "channel_def": {"0": _channel(model)},
    }


def _output(model: Model) -> dict[str, Any]:
    if model.segments:
        return {
            "type": "image",
            "format": "segmentation",
            "num_channels": model.outputs,
            "spatial_shape": list(model.view.image_size),
            "dtype": "float32",
            "value_range": [0, 1],
            "is_patch_data": model.view.spatial_dims == 3,
            "channel_def": {str(number): name for number, name in enumerate(model.classes)},
        }
    names = model.classes or [f"feature_{number}" for number in range(model.outputs)]
    return {
        "type": "probabilities" if model.classes else "features",
        "format": "classes" if model.classes else "vector",
        "num_channels": model.outputs,
        "spatial_shape": [1, model.outputs],
        "dtype": "float32",
        "value_range": [0, 1] if model.classes else [],
        "is_patch_data": False,
        "channel_def": {str(number): name for number, name in enumerate(names)},
    }
