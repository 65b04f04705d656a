"""The whole run over its compute: a step of `python -m monai.bundle run`, over the same step on images already there.

The run reads prepared phantoms through the loader and does all that its handlers do: metrics, TensorBoard, checkpoints,
progress. Its time per step is that of an epoch (the log says when each ended) over its steps; the first epoch, with the
start, does not count. The bare side takes network, tasks and optimiser from the same config, and repeats the steps on
batches that lie on the device, in the same order with the same random numbers: the mean losses of the first epochs are
the same. Run and bare side take turns. What an epoch costs beyond its steps does not grow with their number: on two
cores the start of the workers, whose first step takes longer, and the checkpoint are most of it. On CUDA: DenseNet121
at 224 × 224 in mixed precision. `python benchmarks/run_over_step.py` writes `results/run_over_step_<device>.json` and
`.md`; twenty minutes on two cores.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import DEVICE, Result, compare, parser, ratio_cell, seconds
from monai.bundle import ConfigWorkflow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.phantoms import write_phantoms
from medssl.studies import BundleRun
from medssl.training import ReseedEachEpoch, pretext_loss

EPOCHS = 2
BARS = {"cpu": "ratio at most 1.10", "cuda": "ratio at most 1.11 (0.90 of the throughput)"}
SAME = 1e-3


@dataclass(frozen=True)
class Case:
    """A pre-training with its data.

    Args:
        options: of the run.
        kind, count, size: of the phantoms.
        prepared: how they are prepared.
        batch: images of a step.
    """

    options: Mapping[str, Any]
    kind: str
    count: int
    size: Any
    prepared: Mapping[str, Any]
    batch: int


CHEST = {"size": (224, 224)}
HEAD = {"spatial_dims": 3, "spacing": (-1, -1, -1)}
CROPS = {"tasks": "sc_assl", "architecture": "resnet18", "image_size": [128, 128, 32], "learning_rate": 0.00002}
VOLUME = (160, 160, 40)
CASES = {
    "cpu": {
        "ResNet-18, SC-ASSL, 224 × 224": Case(
            {"tasks": "sc_assl", "architecture": "resnet18", "learning_rate": 0.01}, "chest", 128, 224, CHEST, 8
        ),
        "ResNet-18, SC-ASSL, crops of 128 × 128 × 32": Case(CROPS, "head", 64, VOLUME, HEAD, 4),
    },
    "cuda": {
        "DenseNet121, rotation, 224 × 224": Case(
            {"tasks": "rotation", "architecture": "densenet121", "workers": 8}, "chest", 2048, 224, CHEST, 64
        ),
        "ResNet-18, SC-ASSL, crops of 128 × 128 × 32": Case({**CROPS, "workers": 8}, "head", 128, VOLUME, HEAD, 16),
    },
}


def data(case: Case, folder: Path) -> Path:
    """A prepared datalist of unlabelled phantoms."""
    write_phantoms(folder / "phantoms", case.kind, case.count, size=case.size, progress=False)  # type: ignore[arg-type]
    prepare([Source(images=folder / "phantoms" / "images")], folder / "data", **case.prepared)
    return folder / "data" / "datalist.json"


def epochs_of_run(run: BundleRun, output: Path) -> tuple[list[float], list[float]]:
    """Seconds of each epoch but the first, and the mean loss of each."""
    before = set(output.glob("events.*"))
    subprocess.run([sys.executable, "-m", *run.words()], check=True, capture_output=True)
    (log,) = set(output.glob("events.*")) - before
    events = EventAccumulator(str(log)).Reload().Scalars("loss")
    return np.diff([event.wall_time for event in events]).tolist(), [event.value for event in events]


class Bare:
    """The steps of a run without anything around them.

    Args:
        run: whose network, tasks and optimiser are trained anew.
    """

    def __init__(self, run: BundleRun) -> None:
        with workflow(run) as parsed:
            self.network = parsed("network")
            self.optimizer = parsed("optimizer")
            self.loader = parsed("train::dataloader")
            self.inferer = parsed("train::inferer")
            self.scaler = torch.amp.GradScaler(DEVICE.type, enabled=parsed("train::trainer::amp"))
            self.reseed = ReseedEachEpoch(parsed("seed"), parsed("train::dataset"))
        self.epoch = 0

    def batches(self) -> list[torch.Tensor]:
        """Those of the next epoch, on the device; the random numbers are then where the run's are."""
        self.epoch += 1
        engine: Any = type("Engine", (), {"state": type("State", (), {"epoch": self.epoch})})
        self.reseed(engine)
        return [batch["image"].to(DEVICE) for batch in self.loader]

    def train(self, batches: list[torch.Tensor]) -> float:
        """The mean loss of an epoch."""
        losses = []
        for images in batches:
            self.optimizer.zero_grad(set_to_none=True)
            loss = pretext_loss(self.inferer(images, self.network))
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            losses.append(loss.detach())
        return torch.stack(losses).mean().item()


@contextmanager
def workflow(run: BundleRun) -> Iterator[Callable[[str], Any]]:
    """The parts of a run by their ids, after its ``initialize``."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in run.options.items()}
    flow = ConfigWorkflow([str(path) for path in run.config_files], logging_file=False, **options)
    flow.initialize()
    yield flow.parser.get_parsed_content


def measure(result: Result, name: str, case: Case, folder: Path) -> None:
    options = {"data": data(case, folder), "epochs": EPOCHS + 1, "batch_size": case.batch, **case.options}
    whole: list[float] = []
    bare: list[float] = []
    for turn in range(result.options.repeats):
        run = BundleRun("pretrain", {**options, "output_dir": folder / f"run{turn}"})
        epochs, losses = epochs_of_run(run, folder / f"run{turn}")
        alone = Bare(run.with_options(output_dir=folder / f"bare{turn}"))
        warm_up = alone.train(alone.batches())
        assert abs(warm_up - losses[0]) < SAME * abs(losses[0]), (warm_up, losses[0])
        steps = len(alone.loader)
        whole += [epoch / steps for epoch in epochs]
        for _ in epochs:
            batches = alone.batches()
            bare.append(seconds(lambda batches=batches, alone=alone: alone.train(batches)) / steps)
    result.add(
        case=name,
        batch=case.batch,
        steps=steps,
        **compare(whole, bare),
        bare_milliseconds=compare(bare, bare)["milliseconds"],
        beyond_seconds=steps * float(np.median(np.subtract(whole, bare))),
    )


def main() -> None:
    options = parser(__doc__, 2)
    cases = CASES[DEVICE.type]
    options.add_argument("--cases", type=int, nargs="+", default=list(range(len(cases))), help="numbers, from 0")
    chosen = options.parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "run": lambda row: row["case"],
        "steps an epoch": lambda row: str(row["steps"]),
        "images a step": lambda row: str(row["batch"]),
        "ms a step, whole run": lambda row: f"{row['milliseconds']:.0f}",
        "ms a step, compute alone": lambda row: f"{row['bare_milliseconds']:.0f}",
        "ratio (quartiles)": ratio_cell,
        "beyond the steps, s an epoch": lambda row: f"{row['beyond_seconds']:.1f}",
    }
    text = (
        f"{chosen.repeats} runs of {EPOCHS} epochs that count, medians; what an epoch costs beyond its steps (start of "
        f"the workers, checkpoint, metrics, pictures) is spread over its few steps here. Bar: {BARS[DEVICE.type]}."
    )
    result = Result(chosen, f"run_over_step_{DEVICE.type}", "The whole run over its compute", text, columns)
    for number in chosen.cases:
        name = list(cases)[number]
        with tempfile.TemporaryDirectory() as folder:
            measure(result, name, cases[name], Path(folder))


if __name__ == "__main__":
    main()
