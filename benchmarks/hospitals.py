"""How good with so many labels, within the hospital they are from and at others? Curves over n, on real radiographs.

Rows are appended to `results/hospitals_ARCHITECTURE_SIDE.csv`, tables are written from them. `--short` has the
trainings of `tasks_real.py --short`, and takes its backbones where they are: `results/hospitals_short.csv`, in twenty
minutes of a core a trial.
"""

from collections.abc import Sequence
from pathlib import Path

from arms import Pretraining, Recipe
from real_tables import write_tables
from real_trials import PIXELS, RANDOM, Job, parser, run
from tasks_real import ARMS, SHORT

COUNTS = (20, 40, 100, 200, 0)
ASKED: dict[str, Sequence[int]] = {"tuberculosis": COUNTS, "nih": (60, 200), "pneumonia": (40,)}
FROM_WEIGHTS = (Recipe(3e-4), Recipe(1e-4), Recipe(3e-4, head="probe", frozen="norm"))
FROM_RANDOM = (Recipe(1e-3, steps=500), Recipe(3e-4, steps=500))

NAMES = (PIXELS, RANDOM, "simclr", "rotation", "simclr+rotation")


def jobs(trials: int, architecture: str, side: int, steps: int) -> list[Job]:
    """Every arm of a trial before those of the next."""
    made = []
    for trial in range(trials):
        for name in NAMES:
            pretraining = Pretraining(ARMS[name], steps) if name in ARMS else None
            recipes = {PIXELS: (), RANDOM: FROM_RANDOM}.get(name, FROM_WEIGHTS)
            made.append(
                Job(
                    trial,
                    name,
                    pretraining,
                    ASKED,
                    recipes,
                    draws=2,
                    shares=(0.5,),
                    architecture=architecture,
                    side=side,
                )
            )
    return made


def short_jobs(trials: int) -> list[Job]:
    """One question, a draw of labels and a recipe an arm; for SimCLR also those of random weights."""
    recipes: dict[str, tuple[Recipe, ...]] = {PIXELS: (), RANDOM: FROM_RANDOM[:1]}
    tried = [(name, COUNTS, recipes.get(name, FROM_WEIGHTS[:1])) for name in (PIXELS, RANDOM, "simclr", "swin_unetr")]
    tried += [("simclr", COUNTS, FROM_RANDOM[:1]), ("simclr", COUNTS[-2:], FROM_RANDOM[1:])]
    return [
        Job(trial, name, Pretraining(ARMS[name], **SHORT) if name in ARMS else None, {"tuberculosis": counts}, given)
        for trial in range(trials)
        for name, counts, given in tried
    ]


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measure, and write the tables."""
    options = parser(__doc__ or "")
    options.add_argument("--architecture", default="resnet10_quarter")
    options.add_argument("--side", type=int, default=96)
    options.add_argument("--steps", type=int, default=1600)
    options.add_argument("--short", action="store_true", help="fewer and smaller steps")
    given = options.parse_args(arguments)
    if given.short:
        title = f"Curves over hospitals: {SHORT['steps']} steps of {SHORT['batch']} images"
        return write_tables(run(short_jobs(given.trials), given, "hospitals_short"), title)
    made = jobs(given.trials, given.architecture, given.side, given.steps)
    path = run(made, given, f"hospitals_{given.architecture}_{given.side}")
    return write_tables(path, f"Curves over hospitals: {given.architecture}, {given.side} pixels")


if __name__ == "__main__":
    main()
