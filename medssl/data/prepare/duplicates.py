"""Several rows for one image: used once, with what all of them say; and patients who are one, by any chain."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .rows import Rows


def join_repeated(rows: Rows) -> Rows:
    """Join the rows of a source for one image into the first; where they contradict, none of them can be trusted."""
    values, aside = rows.values.copy(), dict[int, tuple[str, str]]()
    for here, group in _alike(rows, ["place", "unit", "slice"], (rows["unit"] >= 0).to_numpy()):
        lines = f"rows {', '.join(map(str, group['row']))} name the same image"
        joined = _joined(values[here])
        if joined is None or group["patient"].nunique() > 1 or group["split"].nunique() > 1:
            aside |= dict.fromkeys(here, ("contradiction", f"{lines} and disagree"))
        else:
            values[here[0]] = joined
            aside |= dict.fromkeys(here[1:], ("repeated row", f"{lines}; they were joined"))
    return _without(replace(rows, values=values), aside)


def join_copies(rows: Rows) -> Rows:
    """Set aside all but the first of the rows that show the same image; its labels take up what the others know.

    Where two copies contradict each other in a label, a mask or a split none can be trusted, and all are set aside.
    Patients who share an image get one name, so that they come into one split.
    """
    values, splits, aside = rows.values.copy(), rows["split"].copy(), dict[int, tuple[str, str]]()
    masks, outlined = rows["mask"].copy(), rows.outlined.copy()
    for here, group in _alike(rows, ["content"], (rows["content"] != "").to_numpy()):
        files = group["file"].to_list()
        given = set(group["split"]) - {"", "unlabeled"}
        joined = _joined(values[here])
        masked = {mask: number for number, mask in zip(here[::-1], group["mask"][::-1], strict=True) if mask}
        if joined is None or len(given) > 1 or len(masked) > 1:
            what = "splits" if len(given) > 1 else "labels" if joined is None else "masks"
            named = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
            detail = f"{named} show the same image with other {what}"
            aside |= dict.fromkeys(here, ("same image, contradiction", detail))
        else:
            values[here[0]] = joined
            for mask, number in masked.items():
                masks[here[0]], outlined[here[0]] = mask, outlined[number]
            splits[here[0]] = next(iter(given), "" if "" in set(group["split"]) else "unlabeled")
            detail = f"it shows what {files[0]} shows, and its labels were joined to that one"
            aside |= dict.fromkeys(here[1:], ("same image twice", detail))
    shown = rows.used & (rows["content"] != "").to_numpy()
    names = names_in_common(rows["patient"][shown], rows["content"][shown])
    patients = [names.get(name, name) for name in rows["patient"]]
    rows = rows.put(rows.every, patient=patients, split=splits, mask=masks)
    return _without(replace(rows, values=values, outlined=outlined), aside)


def _alike(rows: Rows, columns: list[str], where: np.ndarray) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
    """Numbers and content of the used rows that have the same in these columns."""
    part = rows.table[rows.used & where]
    for _, group in part[part.duplicated(columns, keep=False)].groupby(columns, sort=False):
        yield group.index.to_numpy(), group


def _joined(values: np.ndarray) -> np.ndarray | None:
    """What rows [N, K] say together of K labels; None where they contradict each other."""
    ones, zeros = (values == 1).any(axis=0), (values == 0).any(axis=0)
    return None if (ones & zeros).any() else np.where(ones, 1, np.where(zeros, 0, np.nan))


def _without(rows: Rows, aside: dict[int, tuple[str, str]]) -> Rows:
    reasons, details = zip(*aside.values(), strict=True) if aside else ((), ())
    return rows.put(np.array([*aside], dtype=int), reason=reasons, detail=details)


def names_in_common(patients: pd.Series, keys: pd.Series) -> dict[str, str]:
    """Patient → the name that stands for all who share a key with it, or with one who does, and so on.

    Args:
        patients: names [N].
        keys: of the same rows [N]; what two patients have in common makes them one.
    """
    who, names = pd.factorize(patients)
    what, _ = pd.factorize(keys)
    size = len(names) + len(patients)
    links = coo_array((np.ones(len(who)), (who, len(names) + what)), shape=(size, size))
    _, group = connected_components(links, directed=False)
    first = pd.Series(names).groupby(group[: len(names)]).transform("first")
    return dict(zip(names, first, strict=True))
