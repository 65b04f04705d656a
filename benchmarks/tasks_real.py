"""Which pretext task pays on real radiographs? Every arm under the same recipes, and each with its own best one.

`python benchmarks/tasks_real.py` takes hours on two cores and minutes on a GPU; `--first 3` is a try. Rows are appended
to `results/tasks_real.csv`, so that an interrupted run goes on; `results/tasks_real.md` is written from them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arms import Pretraining, Recipe
from real_tables import write_tables
from real_trials import PIXELS, RANDOM, Job, parser, run

SIMCLR = {"simclr": {"temperature": 0.2}}
VIEW = {"degrees": 10, "noise": 0.05, "renormalise": True}
ARMS: dict[str, dict[str, Any]] = {
    "simclr": SIMCLR,
    "rotation": {"rotation": {}},
    "simclr+rotation": {**SIMCLR, "rotation": {}},
    "simclr_xray": {"simclr": {"temperature": 0.2, "view": VIEW}},
    "rvrm_siamese": {"rvrm": {"form": "siamese"}},
    "barlow_twins": {"barlow_twins": {}},
    "vicreg": {"vicreg": {}},
    "mim": {"mim": {"decoder": "light"}},
    "byol": {"byol": {}},
    "moco": {"moco": {}},
    "models_genesis": {"models_genesis": {}},
    "sc_assl": {"sc_assl": {}},
}
ASKED: dict[str, Sequence[int]] = {"tuberculosis": (100,), "nih": (60,), "pneumonia": (40,)}
FROM_WEIGHTS = (Recipe(1e-4), Recipe(3e-4), Recipe(3e-4, head="probe", frozen="norm"))
FROM_RANDOM = (Recipe(1e-3, steps=500), Recipe(3e-4, steps=500))


def jobs(trials: int) -> list[Job]:
    """The first arms of all trials, then the others."""
    made = [Job(trial, PIXELS, None, ASKED, (), draws=2) for trial in range(trials)]
    made += [Job(trial, RANDOM, None, ASKED, FROM_RANDOM, draws=2) for trial in range(trials)]
    names = list(ARMS)
    for some in (names[:5], names[5:]):
        made += [
            Job(trial, name, Pretraining(ARMS[name]), ASKED, FROM_WEIGHTS, draws=2)
            for trial in range(trials)
            for name in some
        ]
    return made


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measure, and write the tables."""
    options = parser(__doc__ or "").parse_args(arguments)
    path = run(jobs(options.trials), options, "tasks_real")
    return write_tables(path, "Pretext tasks on real radiographs: ResNet-10 of a quarter of the channels, 96 pixels")


if __name__ == "__main__":
    main()
