"""The masks of an evaluation held against what was outlined, gathered once, and their mean Dice as its key metric."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.utils import CommonKeys

from medssl.transforms import StoredImage

from ..partial_metrics import mean_of_defined
from .rows import MaskMeasures, MaskRow


def mean_dice(rows: Sequence[MaskRow], names: Sequence[str]) -> float:
    """The mean over the classes of their mean Dice over images, of all that is defined; 0 where nothing is."""
    found = [[row.dice for row in rows if row.name == name and np.isfinite(row.dice)] for name in names]
    means = np.array([[np.mean(values) if values else np.nan for values in found]])
    return float(np.nan_to_num(mean_of_defined(means))[0])


class MaskMetric(Metric):
    """The mean Dice of an evaluation, as its key metric; the rows behind it stand in `engine.state.mask_rows`.

    They are collected and gathered once; whatever is attached to the evaluator's `COMPLETED` finds them there. Batches
    need `file`, the prepared image, whose spacing counts, and, where a patient has several images, `patient`; the
    evaluator's output needs `pred`, masks ``[B, C, *spatial]`` (bool), and `label`, targets of 1, 0, NaN of that shape.

    Args:
        measures: of the classes.
        base: folder that the images are named relative to; None leaves their names as the batches have them.
    """

    def __init__(self, measures: MaskMeasures, base: str | Path | None = None) -> None:
        self.measures = measures
        self.base = None if base is None else Path(base).resolve()
        super().__init__()

    def reset(self) -> None:
        """Forget what was seen before."""
        self._rows: list[MaskRow] = []

    def iteration_completed(self, engine: Engine) -> None:
        """Collect what the step that ended saw."""
        self.update((engine.state.batch, engine.state.output))

    def update(self, output: tuple[Any, Any]) -> None:
        """Collect a mini-batch and the evaluator's output for it."""
        batch, said = output
        self._rows += rows_of_batch(self.measures, batch, said[CommonKeys.PRED], said[CommonKeys.LABEL], self.base)

    def compute(self) -> float:
        """The mean Dice of all that was seen, in all processes together."""
        rows = self._rows
        if idist.get_world_size() > 1:
            rows = [row for part in cast(list, idist.all_gather(rows)) for row in part]
            rows = list({(row.image, row.name): row for row in rows}.values())  # a sampler may repeat an image
        self.rows = rows
        return mean_dice(rows, self.measures.names)

    def completed(self, engine: Engine, name: str) -> None:
        """Leave the mean Dice in the engine's metrics, and the rows beside them."""
        super().completed(engine, name)
        cast(Any, engine.state).mask_rows = self.rows


def rows_of_batch(
    measures: MaskMeasures, batch: Any, predicted: Any, targets: Any, base: Path | None = None
) -> list[MaskRow]:
    """The rows of a batch, see `MaskMetric`."""
    files = list(batch["file"])
    patients, sources = list(batch.get("patient", files)), list(batch.get("source", [""] * len(files)))
    rows = []
    for number, file in enumerate(files):
        spacing = StoredImage(file).spacing or [1.0] * (targets.ndim - 2)
        name = file if base is None else Path(os.path.relpath(file, base)).as_posix()
        rows += measures(predicted[number], targets[number], spacing, name, patients[number], sources[number])
    return rows
