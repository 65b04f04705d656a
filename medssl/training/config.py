"""The config of a bundle while it runs: caught mistakes, plain messages, and a copy for the record.

``begin_run`` stands first in ``initialize`` of every bundle.
"""

import json
import logging
import os
import re
import sys
from difflib import get_close_matches
from pathlib import Path

import yaml
from monai.bundle import ConfigParser

from medssl.errors import UserError, print_plain_error
from medssl.files import write_text

from .fault_tolerance import writing

STANDARD_IDS = {
    "bundle_root", "dataset_dir", "device", "evaluate", "finalize", "imports", "inferer", "initialize",
    "network_def", "output_dir", "pretrained", "run", "train", "validate", "val_interval", "_meta_",
}  # fmt: skip
"""Top-level ids that other tools look for, or that evaluation leaves unused, referred to or not."""


def begin_run(output_dir: str | Path, name: str = "config.yaml") -> None:
    """Check the ids of the running config, make mistakes readable, and keep the config as ``name`` in ``output_dir``.

    Call it from an expression of a MONAI bundle config, first in ``initialize``: nothing else is built by then.

    Raises:
        UserError: for a top-level id that nothing in the config refers to, most often a mistyped option.
    """
    sys.excepthook = print_plain_error
    # MONAI says what it does at length, and ignite repeats errors; a run should say what the user needs.
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    logging.getLogger("ignite.engine").setLevel(logging.CRITICAL)
    config = running_config()
    check_ids(config)
    if os.environ.get("RANK", "0") != "0":  # the first process of a distributed run writes it for all
        return
    # Through JSON, for the command line may have put tuples where YAML knows lists only.
    plain = json.loads(json.dumps(config, default=str))
    with writing(Path(output_dir) / name) as path:
        write_text(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def running_config() -> dict:
    """The config whose expression is being evaluated, with the overrides of the command line, without its metadata.

    MONAI gives an expression no handle on the config it stands in, so this looks for the parser among its callers.

    Raises:
        RuntimeError: when not called from an expression of a config.
    """
    frame = sys._getframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return {key: value for key, value in parser.get().items() if key != "_meta_"}
        frame = frame.f_back  # type: ignore[assignment]
    raise RuntimeError("running_config() works only inside an expression of a MONAI bundle config.")


def check_ids(config: dict) -> None:
    """Find options that have no effect: MONAI accepts any ``--name value`` and adds it to the config.

    Raises:
        UserError: for a top-level id that is neither referred to nor known to MONAI's tools, with what may be meant.
    """
    used = set(re.findall(r"[@%]([A-Za-z_]\w*)", str(config))) | STANDARD_IDS
    for name, value in config.items():
        # Parts (dictionaries, expressions) may be left over where one config replaces what used them.
        plain = not isinstance(value, dict) and not str(value).startswith("$")
        if plain and name not in used:
            guesses = get_close_matches(name, used & set(config), n=1)
            guess = (
                f" Did you mean --{guesses[0]}?" if guesses else f" There are: {', '.join(sorted(used & set(config)))}."
            )
            raise UserError(f"Nothing in this bundle uses the option --{name}.{guess}")
