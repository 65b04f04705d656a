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
FROM_RANDOM = tuple(
    Recipe(rate, steps=steps, augmentation=augmentation)
    for rate, steps, augmentation in (
        (1e-2, 500, 1.0),
        (3e-3, 500, 1.0),
        (1e-3, 200, 1.0),
        (1e-3, 500, 1.0),
        (1e-3, 1000, 1.0),
        (3e-4, 1000, 1.0),
        (1e-3, 500, 0.0),
    )
)
FROM_WEIGHTS = (
    *(
        Recipe(rate, head=head, frozen=frozen)
        for rate in (1e-4, 3e-4, 1e-3)
        for head in ("random", "probe")
        for frozen in ("nothing", "norm")
    ),
    Recipe(1e-3, backbone_rate=0.1),
    Recipe(1e-3, backbone_rate=0.1, head="probe", frozen="norm"),
    Recipe(3e-4, steps=500),
    Recipe(3e-4, steps=500, head="probe", frozen="norm"),
    Recipe(3e-4, head="probe", frozen="norm", augmentation=0.0),
)


def jobs(trials: int) -> list[Job]:
    """Both arms of a trial before those of the next."""
    made = []
    for trial in range(trials):
        made.append(Job(trial, RANDOM, None, ASKED, FROM_RANDOM, mirrored=True))
        made += [
            Job(trial, name, Pretraining(ARMS[name]), ASKED, FROM_WEIGHTS, shares=(0.25, 0.5, 0.75), mirrored=True)
            for name in ("simclr", "simclr+rotation")
        ]
    return made


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measure, and write the table."""
    options = parser(__doc__ or "").parse_args(arguments)
    return write_recipes(run(jobs(options.trials), options, "recipes"))


if __name__ == "__main__":
    main()
