"""The backbone of whatever a run left: a pre-training's own, or what a classifier or a segmenter is built on."""

from pathlib import Path
from typing import Any

from medssl import runs
from medssl.errors import MissingFileError, UserError

from .backbone import Backbone, build_backbone
from .state_dicts import load_state_dict, read_description
from .weights import load_backbone, model_description, segmentation_description


def trained_backbone(path: str | Path) -> tuple[Backbone, dict[str, Any]]:
    """The feature extractor of a run, and the description beside its weights, which says what it sees.

    Args:
        path: the folder of a run, whose ``model.pt`` goes before its ``backbone.pt``, or the file of weights.

    Raises:
        MissingFileError: there are no weights, or no description beside them.
        UserError: the description names no network of ours, or the weights are of another.
    """
    path = Path(path)
    if path.is_dir():
        found = next((path / name for name in (runs.MODEL, runs.BACKBONE) if (path / name).is_file()), None)
        if found is None:
            raise MissingFileError(f"{path} has neither {runs.MODEL} nor {runs.BACKBONE}: name a run that has ended.")
        path = found
    elif not path.is_file():
        raise MissingFileError(f"There is no run and no weights file {path}: check its path.")
    description = read_description(path)
    if "architecture" not in description:
        return load_backbone(path), description
    segments = "classes" in description
    described = (segmentation_description if segments else model_description)(path)
    backbone = build_backbone(described["architecture"], described["spatial_dims"], described["in_channels"])
    state, before = load_state_dict(path), "backbone." if segments else ""
    own = backbone.network.state_dict()
    wrong = [name for name in own if f"{before}{name}" not in state or state[before + name].shape != own[name].shape]
    if wrong:
        raise UserError(
            f"{path} lacks {len(wrong)} weights of the {described['architecture']} that "
            f"{path.with_suffix('.json').name} beside it describes, the first is {wrong[0]}: keep both together."
        )
    backbone.network.load_state_dict({name: state[before + name] for name in own})
    return backbone, description
