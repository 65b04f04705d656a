"""Does pre-training pay in 3D? Boxes of CT of sarcomas: is there tumour, as the expert outlined it?

Rows are appended to `results/patches_real.csv`; `results/patches_real.md` is written from them. A histogram tells the
tumour here better than any of these (a random forest on it 0.94), so the figures compare arms and nothing else.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arms import Pretraining, Recipe
from real_tables import write_tables
from real_trials import PATCHES, PIXELS, RANDOM, Job, parser, run

ASKED: dict[str, Sequence[int]] = {"sarcoma": (40, 100, 0)}
ARMS: dict[str, dict[str, Any]] = {
    "simclr": {"simclr": {"temperature": 0.2}},
    "rotation": {"rotation": {}},
    "models_genesis": {"models_genesis": {}},
}
FROM_WEIGHTS = (Recipe(3e-4), Recipe(3e-4, frozen="norm"), Recipe(1e-3))
FROM_RANDOM = (Recipe(1e-3, steps=200), Recipe(3e-4, steps=200), Recipe(1e-3, steps=500))


def jobs(trials: int) -> list[Job]:
    """Every arm of a trial before those of the next."""
    names = (PIXELS, RANDOM, *ARMS)
    recipes = {PIXELS: (), RANDOM: FROM_RANDOM}
    return [
        Job(
            trial,
            name,
            Pretraining(ARMS[name], steps=400, batch=64) if name in ARMS else None,
            ASKED,
            recipes.get(name, FROM_WEIGHTS),
            side=PATCHES,
        )
        for trial in range(trials)
        for name in names
    ]


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measure, and write the tables."""
    options = parser(__doc__ or "").parse_args(arguments)
    path = run(jobs(options.trials), options, "patches_real")
    return write_tables(
        path, "Pretext tasks on boxes of CT: 3D ResNet-10 of a quarter of the channels, 32³ voxels of 2 mm"
    )


if __name__ == "__main__":
    main()
