"""Which pretext task pays on real radiographs? Every arm under the same recipes, and each with its own best one.

`python benchmarks/tasks_real.py` takes hours on two cores and minutes on a GPU; `--first 3` is a try. Rows are appended
to `results/tasks_real.csv`, so that an interrupted run goes on; `results/tasks_real.md` is written from them. `--short`
gives every task a sixteenth of the images, `results/tasks_real_short.csv`: some ten minutes of a core a task and trial.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arms import Pretraining, Recipe
from real_tables import write_tables
from real_trials import PIXELS, RANDOM, Job, parser, run

SIMCLR = {"simclr": {"temperature": 0.2}}
SIMMIM = {"grid": 3, "mask_ratio": 0.6, "loss": "hidden", "decoder": "linear"}
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
    "dino": {"dino": {}},
    "lejepa": {"lejepa": {}},
    "voco": {"voco": {}},
    "spark": {"spark": {}},
    "volume_fusion": {"volume_fusion": {}},
    "simmim": {"mim": SIMMIM},
    "swin_unetr": {"rotation": {}, "inpainting": {"decoder": "light"}, **SIMCLR},
}
SMALL = Job(0, RANDOM).architecture
TRANSFORMER = "vit_tiny"
"""What `mae` needs; probed alone, for a fine-tuning of it takes too long here."""
SHORT = {"steps": 400, "batch": 64}
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


def short_jobs(trial: int, backbones: Path) -> list[Job]:
    """One trial of every arm: is a task worth a longer one? `distil` learns from what `simclr` left in `backbones`."""
    asked = {name: ASKED[name] for name in ("nih", "tuberculosis")}
    made = [Job(trial, PIXELS, None, asked, (), draws=2), Job(trial, RANDOM, None, asked, FROM_RANDOM[:1], draws=2)]
    teacher = {"teacher": str(backbones / f"{SMALL}-96-simclr-{trial}.pt"), "architecture": SMALL}
    made += [
        Job(trial, name, Pretraining(tasks, **SHORT), asked, FROM_WEIGHTS[1:2], draws=2)
        for name, tasks in {**ARMS, "distil": {"distil": teacher}}.items()
    ]
    # The same fine-tuning as from random weights: is it the weights or the recipe?
    made.append(Job(trial, "simclr", Pretraining(SIMCLR, **SHORT), {"nih": ASKED["nih"]}, FROM_RANDOM[:1], draws=2))
    arms = {RANDOM: None, "mae": Pretraining({"mae": {}}, **SHORT)}
    return made + [
        Job(trial, f"{name} ({TRANSFORMER})", pretraining, asked, draws=2, architecture=TRANSFORMER)
        for name, pretraining in arms.items()
    ]


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measure, and write the tables."""
    given = parser(__doc__ or "")
    given.add_argument("--short", action="store_true", help="fewer and smaller steps")
    options = given.parse_args(arguments)
    title = "Pretext tasks on real radiographs: ResNet-10 of a quarter of the channels, 96 pixels"
    if options.short:
        title += f", {SHORT['steps']} steps of {SHORT['batch']} images"
        made = [job for trial in range(options.trials) for job in short_jobs(trial, options.backbones)]
        return write_tables(run(made, options, "tasks_real_short"), title)
    return write_tables(run(jobs(options.trials), options, "tasks_real"), title)


if __name__ == "__main__":
    main()
