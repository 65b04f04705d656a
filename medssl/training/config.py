"""The config of a bundle while it runs: caught mistakes, plain messages, and a copy for the record.

``check_options`` stands first in ``initialize`` of every bundle, then what else is to be checked, then ``begin_run``.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from monai.bundle import ConfigParser

from medssl import runs
from medssl.errors import UserError, print_plain_error, user_error
from medssl.files import write_text, writing
from medssl.progress import be_quiet, is_quiet

from .options import CODE, PATHS, check_typed, check_values, make_folder, typed_options

STANDARD_IDS = {
    "bundle_root", "dataset_dir", "device", "evaluate", "finalize", "imports", "inferer", "init", "init_source",
    "initialize", "network_def", "output_dir", "pretrained", "recipe", "run", "train", "validate", "val_interval",
    "_meta_",
}  # fmt: skip
"""Top-level ids that other tools look for, or that evaluation leaves unused, referred to or not."""


def check_options(folder: str = "", quiet: bool = False) -> None:
    """Make mistakes readable from now on, and look at every option of the running config before anything is built.

    Call it from an expression of a MONAI bundle config that refers to plain values alone, for what an expression refers
    to is built before it.

    Args:
        folder: id of the folder that the run makes, usually ``output_dir``; "" for none.
        quiet: say nothing but warnings, mistakes and results from now on, see `medssl.progress`.

    Raises:
        UserError: for an option that nothing in the config refers to, most often a mistyped one; that does not arrive
            as it was typed; that cannot be; or for a folder that cannot be written to.
    """
    if quiet:
        be_quiet()
    _say_what_matters()
    parser = running_parser()
    config = running_config()
    typed, stray = typed_options()
    check_typed(typed, stray, config)
    check_ids(config)
    check_values(config)
    for name in PATHS:
        if typed.get(name, "").startswith(CODE):
            _check_evaluates(parser, name, typed[name])
    if folder:
        make_folder(parser.get_parsed_content(folder))


def _say_what_matters() -> None:
    sys.excepthook = print_plain_error
    # MONAI says what it does at length, and ignite repeats errors; a run should say what the user needs.
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    logging.getLogger("ignite.engine").setLevel(logging.CRITICAL)
    if is_quiet():
        logging.getLogger("medssl").setLevel(logging.WARNING)


def _check_evaluates(parser: ConfigParser, name: str, text: str) -> None:
    try:
        parser.get_parsed_content(name)
    except Exception as error:
        cause = user_error(error) or error.__cause__ or error
        raise UserError(f"--{name} {text} begins with {text[0]}, so MONAI evaluates it, and fails: {cause}.") from error


def begin_run(
    output_dir: str | Path, name: str = runs.CONFIG, numbers: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Keep the running config as ``name`` in ``output_dir``: after all checks, for a refused run changes no other's.

    What an expression gave stands there in its place, where that is plain.

    Call it from an expression of a MONAI bundle config.

    Args:
        output_dir: folder of the run.
        name: of the file.
        numbers: id → what its expression will give, such as those of a recipe.

    Raises:
        UserError: when it cannot be written.
    """
    _say_what_matters()
    if os.environ.get("RANK", "0") != "0":  # the first process of a distributed run writes it for all
        return
    built = {**numbers, **running_parser().ref_resolver.resolved_content}
    config = {
        id_: built[id_] if _is_code(value) and _is_plain(built.get(id_)) else value
        for id_, value in running_config().items()
    }
    # Through JSON, for the command line may have put tuples where YAML knows lists only.
    plain = json.loads(json.dumps(config, default=str))
    with writing(Path(output_dir) / name) as path:
        write_text(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def _is_code(value: Any) -> bool:
    return str(value).startswith(CODE)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(part) for name, part in value.items())
    return isinstance(value, str | int | float)


def running_config() -> dict:
    """The config whose expression is being evaluated, with the overrides of the command line, without its metadata.

    Raises:
        RuntimeError: when not called from an expression of a config.
    """
    return {key: value for key, value in running_parser().get().items() if key != "_meta_"}


def running_parser() -> ConfigParser:
    """The parser of the config whose expression is being evaluated.

    MONAI gives an expression no handle on the config it stands in, so this looks for the parser among its callers.

    Raises:
        RuntimeError: when not called from an expression of a config.
    """
    frame = sys._getframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back  # type: ignore[assignment]
    raise RuntimeError("This works only inside an expression of a MONAI bundle config.")


def check_ids(config: dict) -> None:
    """Find options that have no effect: MONAI accepts any ``--name value`` and adds it to the config.

    Raises:
        UserError: for a top-level id that is neither referred to nor known to MONAI's tools, with what may be meant.
    """
    used = set(re.findall(r"[@%]([A-Za-z_]\w*)", str(config))) | STANDARD_IDS
    for name, value in config.items():
        # Parts (dictionaries, expressions) may be left over where another config replaces what used them.
        plain = not isinstance(value, dict) and not str(value).startswith("$") and value != "auto"
        if plain and name not in used:
            guesses = get_close_matches(name, used & set(config), n=1)
            guess = (
                f" Did you mean --{guesses[0]}?" if guesses else f" There are: {', '.join(sorted(used & set(config)))}."
            )
            raise UserError(f"Nothing in this bundle uses the option --{name}.{guess}")
