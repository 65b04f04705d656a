"""What a network says of raw files, as a CSV whose rows are written as they come: one for every study and refusal.

Its columns are ``image``, one a class with its probability or volume, ``reason`` and ``note``. A study that was
predicted has an empty ``reason``, and as ``note`` what was put right; any other has no numbers, the reason in a word or
three, and as ``note`` a sentence. MONAI's ``ClassificationSaver`` writes neither header nor class names, and only at
the end.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.utils import CommonKeys

from medssl.errors import UserError
from medssl.readers.study import Refusal


class PredictionRows:
    """Write what an evaluator says of its studies, and what was refused before.

    Batches need ``file``, and ``reason`` and ``note`` as `medssl.transforms.Accounted` gives them.

    Args:
        path: of the CSV. A kill leaves the rows written so far.
        names: of the network's K outputs.
        base: folder that the images are named relative to.
        refusals: what it holds beside the studies; their rows come first.
        texts: keys of batches under which studies have a text of their own, such as the path of a file, for a column.
    """

    def __init__(
        self,
        path: str | Path,
        names: Sequence[str],
        base: str | Path,
        refusals: Sequence[Refusal] = (),
        texts: Sequence[str] = (),
    ) -> None:
        self.path = Path(path)
        self.names = list(names)
        self.base = Path(base).resolve()
        self.refusals = list(refusals)
        self.texts = list(texts)
        self._predicted = 0
        self._reasons: Counter[str] = Counter()

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose output is not decollated."""
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)

    def fill(self, evaluator: Evaluator) -> str:
        """Run the evaluator that this is attached to.

        Returns:
            How many studies were predicted, how many rows say why not, and where: for the screen.

        Raises:
            UserError: none was predicted. The rows that say why are written.
        """
        if evaluator.state.epoch_length:
            evaluator.run()
        else:  # without a study it would not even start
            self.begin(evaluator)
        if not self._predicted:
            counts = ", ".join(f"{count} × {reason}" for reason, count in self._reasons.most_common())
            raise UserError(
                f"Nothing in {self.base} can be predicted ({counts or 'it is empty'}): {self.path} says why of each."
            )
        studies = f"{self._predicted} {'study' if self._predicted == 1 else 'studies'} predicted"
        refused = self._reasons.total()
        others = f", {refused} {'row' if refused == 1 else 'rows'} with the reason why not" if refused else ""
        return f"{studies}{others}: {self.path}"

    def begin(self, engine: Engine) -> None:
        """Write the header and the refusals, over what an earlier inference left."""
        self._predicted = 0
        self._reasons.clear()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write([["image", *self.texts, *self.names, "reason", "note"]], "w")
        self._write([self._row(str(one.path), [], one.reason, one.note) for one in self.refusals])

    def add(self, engine: Engine) -> None:
        """Write the rows of a batch."""
        output, batch = cast(dict[str, Any], engine.state.output), cast(dict[str, Any], engine.state.batch)
        scores = output[CommonKeys.PRED].double().tolist()
        texts = [batch[key] for key in self.texts]
        self._write(list(map(self._row, batch["file"], scores, batch["reason"], batch["note"], *texts)))

    def _row(self, file: str, scores: Sequence[float], reason: str, note: str, *texts: str) -> list[str]:
        if reason:
            self._reasons[reason] += 1
        else:
            self._predicted += 1
        # Nine digits name one float32.
        cells = [""] * len(self.names) if reason else [f"{score:.9g}" for score in scores]
        name = Path(os.path.relpath(file, self.base)).as_posix()
        own = texts or [""] * len(self.texts)
        return [self.base.name if name == "." else name, *own, *cells, reason, note]

    def _write(self, rows: Iterable[Sequence[str]], mode: str = "a") -> None:
        # Names of files need not be UTF-8.
        with self.path.open(mode, newline="", encoding="utf-8", errors="backslashreplace") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)
