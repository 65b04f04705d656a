"""The rows of `prepare`: all that is known of each image, from the table that names it to the split it goes to."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

ABOUT = ("study", "age", "sex", "view", "scanner")
"""What tables may say of an image beside its labels."""
COLUMNS: dict[str, Any] = {
    "unit": -1,  # number of the input in the `Inventory`; -1 for none
    "slice": "",  # the file within the input that the row names, if any
    "file": "",  # as the CSV names it, or the path below the source's folder
    "row": 0,  # line of the CSV; 0 where none names the image
    "place": -1,  # number of the source
    "source": "",  # its name, or what its table says
    "patient": "",  # the number that a table gives, see `normal_patient`; from `name_patients` on a name
    "study": "",  # likewise
    "age": np.nan,  # years
    "sex": "",  # F, M
    "view": "",  # see `medssl.data.tables.VIEWS`
    "scanner": "",  # as the table calls it
    "split": "",  # as given; from `assign_splits` on where it goes
    "outcome": -1,  # from `take_outcomes` on: which of those of its input is meant
    "stored": "",  # likewise: the image in the store, relative to the datalist
    "content": "",  # likewise: digest of the image
    "header": "",  # likewise: hash of the PatientID in its DICOM header
    "modality": "",  # likewise: as its file states it
    "mask": "",  # likewise: its mask in the store, relative to the datalist
    "known_as": (),  # from `name_patients` on: all that its patient may be called
    "reason": "",  # why it is set aside, in a word or three; "" while it is used
    "detail": "",  # the same as a sentence; or, of a used image, what was put right
    "note": "",  # what was put right to find the image, or its patient
}
"""Every column, with what stands there as long as nothing is known."""


@dataclass(frozen=True, eq=False)
class Rows:
    """One row for each image that a table names, then one for each that none names; never changed, but made anew.

    Attributes:
        table: [N] rows of `COLUMNS`; the index counts them from 0.
        values: float32 [N, K], the labels: 1, 0, NaN.
        outlined: float32 [N, C], the classes of masks: 1 outlined and there, 0 outlined and absent, NaN not outlined.
    """

    table: pd.DataFrame
    values: np.ndarray
    outlined: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame, values: np.ndarray) -> Self:
        """Rows of a table that may have some of the columns only."""
        columns = {
            name: pd.Series(
                list(table[name]) if name in table else [empty] * len(table),
                dtype=object if isinstance(empty, str | tuple) else type(empty),
            )
            for name, empty in COLUMNS.items()
        }
        return cls(pd.DataFrame(columns), values, np.empty((len(table), 0), np.float32))

    def __getitem__(self, name: str) -> pd.Series:
        return self.table[name]

    @property
    def every(self) -> np.ndarray:
        """All of them, bool [N]."""
        return np.ones(len(self.table), dtype=bool)

    @property
    def used(self) -> np.ndarray:
        """Which are not set aside, bool [N]."""
        return (self["reason"] == "").to_numpy()

    @property
    def listed(self) -> np.ndarray:
        """Which a table names, bool [N]."""
        return (self["row"] > 0).to_numpy()

    @property
    def known(self) -> np.ndarray:
        """Which have a known label or a mask, bool [N]."""
        return np.isfinite(self.states).any(axis=1)

    @property
    def states(self) -> np.ndarray:
        """Labels and classes of masks, float32 [N, K + C] of 1, 0, NaN."""
        return np.concatenate([self.values, self.outlined], axis=1)

    def in_splits(self, *splits: str) -> np.ndarray:
        """Which are used in one of these, bool [N]."""
        return self.used & self["split"].isin(splits).to_numpy()

    def put(self, where: np.ndarray, **cells: Any) -> Self:
        """The same with other cells: for each column one for all rows of ``where`` (bool [N] or numbers), or a list."""
        table = self.table.copy()
        for name, cell in cells.items():
            if not isinstance(cell, str | int | float):
                cell = pd.Series(list(cell), index=table.index[where], dtype=table[name].dtype)
            table.loc[where, name] = cell
        return replace(self, table=table)

    def set_aside(self, where: np.ndarray, reason: str, detail: str | ArrayLike) -> Self:
        """The same with those of ``where`` (bool [N]) set aside that were not yet; ``detail`` for all, or one each."""
        where = self.used & where
        details = detail if isinstance(detail, str) else np.asarray(detail, dtype=object)[where]
        return self.put(where, reason=reason, detail=details)

    def take(self, order: list[int]) -> Self:
        """Those rows, in this order."""
        table = self.table.iloc[order].reset_index(drop=True)
        return replace(self, table=table, values=self.values[order], outlined=self.outlined[order])
