"""Which fine-tuning recipe is best for random weights, and which for pre-trained ones, on real radiographs?

Rows are appended to `results/recipes.csv`; `results/recipes.md` is written from them. Pre-trained backbones are those
of `tasks_real.py`, if they are there.
"""

from collections.abc import Sequence
from pathlib import Path

from arms import Pretraining, Recipe
from real_tables import write_recipes
from real_trials import RANDOM, Job, parser, run
from tasks_real import ARMS

ASKED: dict[str, Sequence[int]] = {"tuberculosis": (100,), "nih": (60,)}
FROM_RANDOM = (
    Recipe(1e-2, steps=500),
    Recipe(1e-3, steps=200),
    Recipe(1e-3, steps=500),
    Recipe(3e-4, steps=500),
    Recipe(1e-3, steps=500, augmentation=0.0),
)
FROM_WEIGHTS = (
    *(Recipe(rate, frozen=frozen) for rate in (1e-4, 3e-4, 1e-3) for frozen in ("nothing", "norm")),
    Recipe(1e-3, backbone_rate=0.1),
    Recipe(3e-4, steps=500),
    Recipe(3e-4, head="probe"),
    Recipe(3e-4, augmentation=0.0),
)


def jobs(trials: int) -> list[Job]:
    """Both arms of a trial before those of the next: half of the way back to the first weights is tried, too."""
    made = []
    for trial in range(trials):
        made.append(Job(trial, RANDOM, None, ASKED, FROM_RANDOM, mirrored=True))
        pretraining = Pretraining(ARMS["simclr"])
        made.append(Job(trial, "simclr", pretraining, ASKED, FROM_WEIGHTS, shares=(0.5,), mirrored=True))
    return made


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measure, and write the table."""
    options = parser(__doc__ or "").parse_args(arguments)
    return write_recipes(run(jobs(options.trials), options, "recipes"))


if __name__ == "__main__":
    main()
