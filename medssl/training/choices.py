"""What a run takes where its command says nothing: the numbers of a recipe, and what the network sees of an image."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from monai.transforms import Compose

from medssl.data import Datalist
from medssl.errors import MissingFileError, UserError
from medssl.files import read_yaml
from medssl.networks import read_description, weights_file
from medssl.transforms import StoredImage, View, box_starts

from .config import running_config
from .largest_box import LARGEST, TrialStep, choose_largest
from .options import CODE, CROPS, check_values

logger = logging.getLogger(__name__)

AUTO = "auto"
"""Stands for what is chosen here."""
DEFAULT = "default"
AXES = {2: "2D", 3: "3D"}


def read_recipe(recipe: str | Path, stage: str, spatial_dims: int, pretrained: bool = False) -> dict[str, Any]:
    """The numbers of a training: those of a recipe, and the default's where it has none.

    A recipe is a YAML file with a part for each stage; what stands in its `2D` or `3D` rules there over the rest, and
    over both what stands in `pretrained` where a training begins with weights::

        pretrain: {tasks: "rotation,mim", epochs: 200, 2D: {learning_rate: 0.001}, 3D: {learning_rate: 0.0001}}
        finetune: {steps: 1600, rate_schedule: cosine, pretrained: {steps: 400, frozen: norm}}

    A length in `steps` rules over `epochs`, but not the default's over epochs of another recipe.

    Args:
        recipe: the name of a file of `configs/recipes`, or a path.
        stage: `pretrain` or `finetune`.
        spatial_dims: 2 or 3.
        pretrained: whether the training begins with weights that are not random.

    Raises:
        MissingFileError: there is no such recipe.
        UserError: it is no recipe, names what no training has, or has an impossible value.
    """
    numbers = _numbers(_path(DEFAULT), stage, spatial_dims, pretrained)
    path = _path(recipe)
    chosen = _numbers(path, stage, spatial_dims, pretrained)
    for name in chosen:
        if name not in numbers:
            raise UserError(f"{path}: {stage} has no number {name!r}; there are {', '.join(numbers)}.")
    try:
        check_values(chosen)
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix('--')}") from error
    if "epochs" in chosen:
        chosen = {"steps": 0, **chosen}
    return {**numbers, **chosen}


def choose_steps(numbers: Mapping[str, Any]) -> int:
    """The steps of a recipe, or 0 where the command gives epochs: what is typed rules over the recipe.

    Call it from an expression of a MONAI bundle config.

    Args:
        numbers: of the recipe.
    """
    return int(numbers["steps"]) if str(running_config().get("epochs", CODE[0])).startswith(CODE) else 0


def _path(recipe: str | Path) -> Path:
    ours = Path(str(files("medssl.configs"))) / "recipes"
    path = ours / f"{recipe}.yaml"
    if Path(recipe).name != str(recipe) or not path.is_file():
        path = Path(recipe)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in ours.glob("*.yaml")))
        raise MissingFileError(f"There is no recipe {recipe}: take one of {names}, or name a file.")
    return path


def _numbers(path: Path, stage: str, spatial_dims: int, pretrained: bool) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict) or not all(isinstance(part, dict) for part in content.values()):
        raise UserError(f"{path} is no recipe: it must have parts such as pretrain and finetune, each with numbers.")
    part: Mapping[str, Any] = content.get(stage, {})
    begun = part.get("pretrained") or {}
    numbers: dict[str, Any] = {}
    for rules in (part, begun) if pretrained else (part,):
        numbers |= {name: value for name, value in rules.items() if name not in (*AXES.values(), "pretrained")}
        numbers |= rules.get(AXES[spatial_dims]) or {}
    return numbers


def choose_view(
    prepared: Datalist,
    image_size: Any = AUTO,
    window: Any = AUTO,
    pretrained: str | Path = "",
    trial: TrialStep | None = None,
) -> View:
    """What a network is to see: what is given, else what the weights saw that it begins with, else as proposed.

    Args:
        prepared: the images; a radiograph always has the size that it was prepared in.
        image_size: voxels of a box of a volume, `auto`, or `largest` for as many as fit into the memory of the GPU.
        window: two numbers or a name of `medssl.transforms.WINDOWS`, `none` for none, or `auto`.
        pretrained: weights to begin with, or the folder of their run; "" for none.
        trial: a step with boxes of a size, for `largest`.

    Raises:
        UserError: for a value that means nothing, or damaged weights; see also `choose_largest`.
        MissingFileError: there are no such weights, or no store.
    """
    view = prepared.view()
    theirs = _view_of(pretrained)
    if theirs is not None and view.spatial_dims == theirs.spatial_dims == 3:
        proposed, view = view, replace(view, image_size=theirs.image_size, window=theirs.window)
        if differing := view.differences(proposed):
            logger.info("As %s was trained: %s.", pretrained, ", ".join(differing))
    if image_size == LARGEST:
        if trial is None or view.spatial_dims == 2:
            raise UserError(
                f"--image_size {LARGEST} is for boxes of volumes in a training: radiographs are seen as large as they "
                "were prepared (--size)."
            )
        view = replace(view, image_size=choose_largest(trial, prepared.items("pretrain"), view.image_size))
    elif image_size != AUTO:
        view = replace(view, image_size=image_size)
    if window != AUTO:
        view = replace(view, window=None if window in (None, "none") else window)
    return view


def training_view(view: View, items: Sequence[Mapping[str, Any]], crops: str = "random") -> Compose:
    """What a classifier sees of an image in training; validation and evaluation see `view.stored(boxes)`.

    Args:
        view: of the network.
        items: to train on, whose `image` is a prepared file.
        crops: of a volume that is larger than the network's box: `random`, a box anywhere in it, or `middle`. Where no
            volume is larger, both are the same, and can be kept in memory.

    Raises:
        UserError: for another word.
    """
    if crops not in CROPS:
        raise UserError(f"crops is {crops!r}, and must be one of {', '.join(CROPS)}.")
    if view.spatial_dims == 2 or crops == "middle":
        return view.stored()
    return view.random_crops() if most_boxes(view, items) > 1 else view.stored()


def most_boxes(view: View, items: Sequence[Mapping[str, Any]], boxes: str = "several") -> int:
    """The most boxes that a network sees of an image, see `medssl.transforms.box_starts`; 1 of a radiograph.

    Args:
        view: of the network.
        items: whose `image` is a prepared file.
        boxes: what it sees of a volume that is larger than its box, `several` or the `middle` one.
    """
    if view.spatial_dims == 2 or boxes == "middle":
        return 1
    return max((len(box_starts(StoredImage(item["image"]).shape, view.image_size)) for item in items), default=1)


def _view_of(pretrained: str | Path) -> View | None:
    """What the network saw whose weights a run begins with, where they have a description."""
    if not pretrained:
        return None
    path = weights_file(pretrained)
    described = read_description(path) if path.with_suffix(".json").is_file() else {}
    return View.from_dict(described, str(path)) if described.get("image_size") else None
