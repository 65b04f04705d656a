"""The names of the network's outputs, and what it says of each image of a datalist as a CSV."""

import csv
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from ignite.engine import Engine, Events
from monai.utils import CommonKeys


def output_names(metadata: str | Path) -> list[str]:
    """The names of the network's K outputs, as ``metadata.json`` gives them."""
    content = json.loads(Path(metadata).read_text(encoding="utf-8"))
    channels = content["network_data_format"]["outputs"]["pred"]["channel_def"]
    return [channels[str(number)] for number in range(len(channels))]


class OutputsFile:
    """Write a CSV with a row an image: ``image``, ``patient``, each output, and what is known of each.

    The last are the columns ``<class> label`` (1, 0, or empty where unknown). Batches need ``file``, ``patient`` and
    ``label``. MONAI's ``ClassificationSaver`` writes neither header nor names of the outputs.

    Args:
        path: of the CSV.
        names: of the K outputs.
        base: folder that the images are named relative to.
    """

    def __init__(self, path: str | Path, names: Sequence[str], base: str | Path) -> None:
        self.path = Path(path)
        self.names = list(names)
        self.base = Path(base).resolve()
        self._rows: list[tuple[str, str, list[float], list[float]]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose output is not decollated."""
        engine.add_event_handler(Events.STARTED, self.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self)

    def clear(self, engine: Engine) -> None:
        """Forget what an earlier evaluation saw."""
        self._rows.clear()

    def collect(self, engine: Engine) -> None:
        """Keep what the network says of a batch."""
        output, batch = cast(dict[str, Any], engine.state.output), cast(dict[str, Any], engine.state.batch)
        scores, labels = (output[key].float().tolist() for key in (CommonKeys.PRED, CommonKeys.LABEL))
        self._rows += zip(map(self._name, batch["file"]), batch["patient"], scores, labels, strict=True)

    def __call__(self, engine: Engine) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["image", "patient", *self.names, *(f"{name} label" for name in self.names)])
            for image, patient, scores, labels in self._rows:
                # Nine digits name one float32.
                cells = [f"{score:.9g}" for score in scores]
                known = ["" if math.isnan(label) else f"{label:.0f}" for label in labels]
                writer.writerow([image, patient, *cells, *known])

    def _name(self, file: str) -> str:
        return Path(os.path.relpath(file, self.base)).as_posix()
