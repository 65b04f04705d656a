"""Does pre-training help? RandIni against pre-trained, each fine-tuned as suits it, over several seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from medssl.runs import BACKBONE

from .bundle_runs import BundleRun
from .trainings import Announce, Training, how_far, run_trainings

RANDINI = "RandIni"
PRETRAINED = "pre-trained"


@dataclass(frozen=True)
class Comparison:
    """A study that repeats pre-training, fine-tuning and evaluation for each seed.

    Both arms of a seed start from the same random weights (Dong et al. 2024, Sec. 5.1.2) and see the same batches; the
    one is pre-trained before it is fine-tuned, the other is not. Runs that have ended are not repeated, and one that
    was interrupted goes on from its last checkpoint.

    Args:
        output: folder of the runs.
        pretrain: the pre-training, without `seed` and `output_dir`.
        finetune: the fine-tuning, likewise, without `pretrained`.
        seeds: one repetition each.
        begun: further options of a fine-tuning that begins with pre-trained weights, where each arm is to have the
            recipe that suits it; those of `recipe` that are for such weights hold without.
    """

    output: Path
    pretrain: BundleRun
    finetune: BundleRun
    seeds: Sequence[int] = (0, 1, 2)
    begun: Mapping[str, Any] = field(default_factory=dict)

    def run(self, announce: Announce) -> None:
        """Run what has not ended yet.

        Args:
            announce: called with what comes next and how far the study is, before it runs.
        """
        all_trainings = [self.trainings(seed) for seed in self.seeds]
        kinds = list(zip(*all_trainings, strict=True))
        run_trainings([list(chain(*all_trainings))], lambda what, run: announce(f"{what} ({how_far(kinds)})", run))

    def trainings(self, seed: int) -> list[Training]:
        """The trainings of a seed: pre-training, then each arm's fine-tuning with its evaluation."""
        trainings = [Training(f"Pre-training, seed {seed}", [self.pretrain_run(seed)])]
        for arm in (RANDINI, PRETRAINED):
            run = self.finetune_run(seed, arm)
            baselines = {} if arm == RANDINI else {"baselines": "$None"}  # which are those of the other arm
            evaluation = run.evaluation(**baselines)
            trainings.append(Training(f"Fine-tuning and evaluating {arm}, seed {seed}", [run, evaluation]))
        return trainings

    def minutes(self) -> float:
        """What all runs took together, whenever they ran."""
        return sum(training.seconds for seed in self.seeds for training in self.trainings(seed)) / 60

    def pretrain_run(self, seed: int) -> BundleRun:
        """The pre-training of a seed."""
        return self.pretrain.with_options(seed=seed, resume=True, output_dir=self.output / f"pretrain_seed{seed}")

    def finetune_run(self, seed: int, arm: str) -> BundleRun:
        """The fine-tuning of one arm of a seed."""
        folder = self.output / f"finetune_{arm.lower().replace('-', '')}_seed{seed}"
        run = self.finetune.with_options(seed=seed, resume=True, output_dir=folder)
        if arm == RANDINI:
            return run
        return run.with_options(pretrained=self.pretrain_run(seed).folder / BACKBONE, **self.begun)
