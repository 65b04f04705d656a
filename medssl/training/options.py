"""The options of a run, looked at before anything is built of them: as they were typed, and as the config holds them.

MONAI reads its command line by python-fire, which takes every value for Python: ``run#1`` is ``run`` with a comment,
``2024`` and ``1e3`` are numbers, ``a,b`` is a tuple, ``None`` is left out (google/python-fire#338). In a config ``#``
separates ids, also in the middle of a path.
"""

import ast
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import torch

from medssl.data.partial_labels import HEADS as SOURCE_HEADS
from medssl.errors import UserError
from medssl.evaluation.image_inferer import POOLINGS
from medssl.losses import LABEL_LOSSES
from medssl.losses.segmentation import SEGMENTATION_LOSSES
from medssl.networks import ARCHITECTURES, is_architecture
from medssl.transforms.covering import BOXES

MONAI_ARGUMENTS = {
    "run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file",
}  # fmt: skip
"""What ``monai.bundle run`` takes itself; every other option is an id of the config."""
PART_NAMES = ("run_id", "init_id", "final_id")
"""Those of them that name a part of the config; a word that belongs to no option is taken for one, too."""
PATHS = (
    "bundle_root", "data", "dataset_dir", "datalist", "output_dir", "pretrained", "model", "predictions", "first",
    "recipe", "init", "pseudo",
)  # fmt: skip
"""Ids that name a file or folder."""
MAY_BE_EMPTY = ("pretrained", "first", "init", "pseudo")
CODE = ("$", "@", "%")
"""What a value begins with that MONAI evaluates: an expression, a reference, a piece of another file."""


class Rule(NamedTuple):
    """What a plain value must be."""

    words: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _whole(least: int) -> Rule:
    return Rule(
        f"a whole number from {least}", lambda value: _is_number(value) and isinstance(value, int) and value >= least
    )


def _is_device(value: Any) -> bool:
    try:
        device = torch.device(value)
    except (RuntimeError, TypeError):
        return False
    return device.type == "cpu" or (device.type == "cuda" and (device.index or 0) < torch.cuda.device_count())


def _one_of(words: Sequence[Any]) -> Rule:
    return Rule(f"one of {', '.join(map(str, words))}", lambda value: value in list(words))


CROPS = ("random", "middle")
FROZEN = ("nothing", "norm", "backbone")
HEADS = ("random", "probe")
KEPT = ("best", "last")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "poly")
NOT_NEGATIVE = Rule("a number from 0", lambda value: _is_number(value) and value >= 0)
POSITIVE = Rule("a number above 0, such as 0.001", lambda value: _is_number(value) and value > 0)
TRUTH = Rule("True or False", lambda value: isinstance(value, bool))
TEXT = Rule("text", lambda value: isinstance(value, str))
RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "epochs",
            "batch_size",
            "accumulate",
            "val_interval",
            "checkpoint_interval",
            "pictures_every",
            "crops_per_volume",
        ),
        _whole(1),
    ),
    **dict.fromkeys(
        (
            "seed",
            "workers",
            "patience",
            "cache_images",
            "keep_every",
            "probe_every",
            "resamples",
            "steps",
            "deep_supervision",
            "pictures",
        ),
        _whole(0),
    ),
    **dict.fromkeys(("learning_rate", "backbone_rate"), POSITIVE),
    **dict.fromkeys(
        (
            "amp",
            "checkpoint_activations",
            "compile",
            "resume",
            "exclusive",
            "class_balance",
            "mirror",
            "pseudo_unlabeled",
            "batch_dice",
            "pretrained_decoder",
            "trivial",
            "quiet",
        ),
        TRUTH,
    ),
    **dict.fromkeys(("split", "schedule", "experiment", "tracking_uri", "init_source"), TEXT),
    **dict.fromkeys(
        ("cache_rate", "pseudo_positive", "pseudo_negative", "foreground"),
        Rule("a share from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
    ),
    **dict.fromkeys(("similarity_weight", "weight_decay", "clip", "augmentation", "mixup"), NOT_NEGATIVE),
    **dict.fromkeys(
        ("warmup", "momentum", "average", "overlap"),
        Rule("a share from 0, below 1", lambda value: _is_number(value) and 0 <= value < 1),
    ),
    "layer_decay": Rule("a share above 0, at most 1", lambda value: _is_number(value) and 0 < value <= 1),
    "optimizer_name": _one_of(OPTIMIZERS),
    "rate_schedule": _one_of(SCHEDULES),
    "boxes": _one_of(BOXES),
    "pooling": _one_of(POOLINGS),
    "crops": _one_of(CROPS),
    "heads": _one_of(SOURCE_HEADS),
    "frozen": _one_of(FROZEN),
    "head": _one_of(HEADS),
    "keep": _one_of(KEPT),
    "label_loss": _one_of(LABEL_LOSSES),
    "mask_loss": _one_of(list(SEGMENTATION_LOSSES)),
    "mirrored": _one_of(["auto", True, False]),
    "device": Rule("a device of this machine, such as cpu or cuda:0", _is_device),
    "weights": Rule("a number for each task, such as {rotation: 2.0, mim: 1.0}", lambda value: isinstance(value, dict)),
    "architecture": Rule(f"one of {', '.join(ARCHITECTURES)}, or timm:NAME", is_architecture),
}
"""Id → what its value must be, unless that is an expression; image_size and window are looked at by `View`."""


def typed_options() -> tuple[dict[str, str], list[str]]:
    """What was typed after ``python -m monai.bundle run``: options as text, and the words that belong to none.

    Both are empty where this process was started in another way.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if getattr(spec, "name", "") != "monai.bundle.__main__":
        return {}, []
    return split_words(sys.argv[2:])


def split_words(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Options as text, and the words that belong to none, by the rules of python-fire."""
    options, stray, left = dict[str, str](), list[str](), list(words)
    while left:
        word = left.pop(0)
        if not _is_option(word):
            stray.append(word)
            continue
        name, given, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if given:
            options[name] = value
        elif left and not _is_option(left[0]):
            options[name] = left.pop(0)
        elif name.startswith("no"):  # --noresume
            options[name[2:]] = "False"
        else:
            options[name] = "True"
    return options, stray


def _is_option(word: str) -> bool:
    return re.match(r"--|-[a-zA-Z]", word) is not None


def check_typed(options: Mapping[str, str], stray: Sequence[str], config: Mapping[str, Any]) -> None:
    """Refuse what does not reach the config as it was typed.

    Args:
        options: as they were typed.
        stray: words that belong to no option, which MONAI takes for names of a part to run.
        config: what came of them.

    Raises:
        UserError: for the first of them, with what to type instead.
    """
    for word in (*stray, *(options[name] for name in PART_NAMES if name in options)):
        if word not in config:
            raise UserError(f"There is no part {word!r} to run; if it is part of a value, put that in quotes.")
    for name, text in options.items():
        if name in MONAI_ARGUMENTS or re.split("#|::", name)[0] not in config:
            continue
        if text == "None":
            raise UserError(
                f"--{name} None changes nothing, for MONAI leaves it out: give a value, or ./None as a name."
            )
        if "#" in text and not text.startswith(CODE):
            raise UserError(
                f"--{name} {text} does not arrive whole, for # begins a comment on MONAI's command line and separates "
                "ids in its configs: give it a name without #."
            )
        is_text = name in PATHS or RULES.get(name) is TEXT
        if is_text and config[name] != text and not _is_quoted(text):
            raise UserError(
                f"--{name} {text} is read by MONAI's command line as Python, {type(config[name]).__name__} "
                f"{config[name]!r}, not as a name: write ./{text.strip()}, or take another name."
            )


def _is_quoted(text: str) -> bool:
    """Whether it is text in Python's own quotes, ``"'2024'"``, of someone who knows python-fire."""
    try:
        return isinstance(ast.literal_eval(text), str)
    except (ValueError, SyntaxError):
        return False


def check_values(config: Mapping[str, Any]) -> None:
    """Hold the plain values of a config to what they must be; expressions are left to whoever wrote them.

    Raises:
        UserError: for the first that is something else; names id, value and what it must be.
    """
    plain = {name: value for name, value in config.items() if not str(value).startswith(CODE)}
    for name in PATHS:
        if name in plain:
            _check_path(name, plain[name])
    for name, rule in RULES.items():
        if name in plain and not rule.holds(plain[name]):
            raise UserError(f"--{name} is {plain[name]!r}, and must be {rule.words}.")
    if plain.get("init") and plain.get("pretrained"):
        raise UserError("--init and --pretrained both name weights to begin with: give one of them.")
    if plain.get("compile") and plain.get("checkpoint_activations"):
        raise UserError("--compile cannot compile what --checkpoint_activations computes again: give one of them.")


def _check_path(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise UserError(f"{name} is {value!r} and no text: put it in quotes in a file, on the command line before ./")
    if "::" in value:
        raise UserError(f"{name} is {value!r}, with # or ::, which separate ids in a MONAI config: take another name.")
    if value.startswith("~"):
        raise UserError(f"{name} is {value!r}, in which nobody put your home folder for ~: write it out.")
    if not value.strip() and name not in MAY_BE_EMPTY:
        raise UserError(f"{name} is empty: name a file or folder, or leave --{name} out.")


def make_folder(path: str | Path) -> None:
    """Make the folder that a run writes to, so that one that cannot be made is named before the work begins.

    Raises:
        UserError: it cannot be made, or not be written to.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be made a folder ({error.strerror}): name another --output_dir.") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"{path} may not be written to: name another --output_dir.")
