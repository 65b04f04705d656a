"""How long until something happens: `python -m medssl --help`, and a bundle's first step beside `import monai`.

Each command is a fresh process; they take turns. `--help` must not import torch. The bundle's first step is the moment
at which a handler, mixed in here, sees the first mini-batch done; a small network on small phantoms, so that what
counts is the start. `python benchmarks/start.py` writes `results/start.json` and `.md`; two minutes on two cores.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from measuring import Result, compare, parser, ratio_cell, take_turns

from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.phantoms import write_phantoms
from medssl.studies import BundleRun

HELP, IMPORT, STEP = "`python -m medssl --help`", "`python -c 'import monai'`", "a bundle's first step"
HELP_BAR, STEP_BAR = 0.5, 5.0
STAMP = "first_step.txt"
HELP_CHECK = """
import sys
from medssl.commands import main
try:
    main(["--help"])
except SystemExit:
    assert not {"torch", "monai", "numpy"} & set(sys.modules), "imported before it is needed"
"""
MIX_IN = f"+train::handlers:\n- _target_: start.FirstStep\n  path: $@output_dir + '/{STAMP}'\n"


class FirstStep:
    """Write the time at which the first step was done.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self)

    def __call__(self, engine: Engine) -> None:
        """The first step is done."""
        self.path.write_text(str(time.time()))


def python(*words: str) -> None:
    """Run a command to its end."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env={**os.environ, "PYTHONPATH": path})


def check_help() -> None:
    """`--help` imports neither torch nor monai."""
    python("-c", HELP_CHECK)


def prepared(folder: Path) -> Path:
    """A datalist of a few small phantoms."""
    table = write_phantoms(folder / "phantoms", "chest", 24, size=64, progress=False)
    prepare([Source(images=folder / "phantoms" / "images", csv=table)], folder / "data", size=(64, 64))
    return folder / "data" / "datalist.json"


def first_step(run: BundleRun, output: Path, times: list[float]) -> None:
    """Add the seconds from the command to the end of its first step."""
    started = time.time()
    python("-m", *run.words())
    times.append(float((output / STAMP).read_text()) - started)


def main() -> None:
    options = parser(__doc__, 5).parse_args()
    check_help()
    columns: dict[str, Callable[[Any], str]] = {
        "until": lambda row: row["until"],
        "s": lambda row: f"{row['milliseconds'] / 1000:.2f}",
        "over `import monai` (quartiles)": ratio_cell,
        "bar": lambda row: row["bar"],
    }
    text = f"{options.repeats} turns, medians, fresh processes."
    result = Result(options, "start", "How long until something happens", text, columns)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stamp.yaml").write_text(MIX_IN)
        values = {
            "data": prepared(folder),
            "architecture": "resnet18",
            "output_dir": folder / "run",
            "epochs": 1,
            "batch_size": 4,
            "workers": 0,
        }
        run = BundleRun("pretrain", values, mix_ins=(folder / "stamp.yaml",))
        stamped: list[float] = []
        commands = {
            HELP: partial(python, "-m", "medssl", "--help"),
            IMPORT: partial(python, "-c", "import monai"),
            STEP: partial(first_step, run, folder / "run", stamped),
        }
        times = take_turns(commands, options.repeats)
    times[STEP] = stamped[-options.repeats :]  # not the whole command
    rows = {until: compare(taken, times[IMPORT]) for until, taken in times.items()}
    beyond = (rows[STEP]["milliseconds"] - rows[IMPORT]["milliseconds"]) / 1000
    bars = {HELP: f"{HELP_BAR} s", STEP: f"{STEP_BAR:.0f} s beyond `import monai`; it is {beyond:.1f} s"}
    for until, row in rows.items():
        result.add(until=until, **row, bar=bars.get(until, ""))


if __name__ == "__main__":
    main()
