"""The same image in several files: used once, with what all of them say, and its patients treated as one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def join_copies(rows: pd.DataFrame, values: np.ndarray) -> None:
    """Set aside all but the first of the rows that show the same image; its labels take up what the others know.

    Where two copies contradict each other in a label or a split none can be trusted, and all are set aside.

    Args:
        rows: with ``content`` (digest of the image, "" where there is none), ``file``, ``split``, ``patient``,
            ``reason`` and ``detail``; changed in place. Patients who share an image get one name, so that they come
            into one split.
        values: labels [N, K] of 1, 0, NaN; changed in place.
    """
    used = (rows["reason"] == "") & (rows["content"] != "")
    copies = rows[used & rows["content"].where(used).duplicated(keep=False)]
    if copies.empty:
        return
    names = names_in_common(copies["patient"], copies["content"])
    rows["patient"] = rows["patient"].map(lambda name: names.get(name, name))
    for _content, group in copies.groupby("content", sort=False):
        here = group.index.to_numpy()
        files = group["file"].to_list()
        ones, zeros = (values[here] == 1).any(axis=0), (values[here] == 0).any(axis=0)
        splits = set(group["split"])
        given = splits - {"", "unlabeled"}
        if (ones & zeros).any() or len(given) > 1:
            what = "splits" if len(given) > 1 else "labels"
            detail = f"{_listed(files)} show the same image with other {what}"
            rows.loc[here, ["reason", "detail"]] = ["same image, contradiction", detail]
            continue
        values[here[0]] = np.where(ones, 1, np.where(zeros, 0, np.nan))
        rows.loc[here[0], "split"] = next(iter(given), "" if "" in splits else "unlabeled")
        detail = f"it shows what {files[0]} shows, and its labels were joined to that one"
        rows.loc[here[1:], ["reason", "detail"]] = ["same image twice", detail]


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


def _listed(files: list[str]) -> str:
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
