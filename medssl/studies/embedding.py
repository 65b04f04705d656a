"""Features of images by a run's weights: as table, arrays and picture, and whether they tell the hospital.

`medssl embed` calls `embed`.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.data import DataLoader, Dataset
from torch import Tensor

from medssl.data import Datalist
from medssl.data.datalist_file import DATALIST, LABELLED_SPLITS, SPLITS
from medssl.errors import UserError
from medssl.evaluation.source_probe import SourceProbe, probe_sources
from medssl.files import whole_file, write_json
from medssl.networks import Backbone, compute_features
from medssl.networks.trained_backbone import trained_backbone
from medssl.readers import examine_folder
from medssl.runs import shown_path
from medssl.training.checks import check_view
from medssl.transforms import View
from medssl.transforms.covering import BOXES

from .embedding_picture import draw_embedding

FEATURES, MAPS, PICTURE, SUMMARY = "features", "maps.npy", "features.png", "embedding.json"


@dataclass
class _Images:
    """What is embedded: the items of a dataset with their transform, and what is known of each before it is read.

    Attributes:
        items: ready for a dataset.
        transform: from an item to the tensor ``[N, *image_size]``, N boxes.
        known: of each item the cells of its row, as far as they are known.
        refused: rows of what cannot be embedded.
        labels: names of the K labels.
        exclusive: whether each image has one of them.
    """

    items: list[dict[str, Any]]
    transform: Any
    known: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    labels: list[str]
    exclusive: bool = False


class _Noted:
    """A loader that remembers what was said of each image: why it could not be read, and what was put right."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self.reasons: list[str] = []
        self.notes: list[str] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for batch in self.loader:
            nothing = [""] * len(batch["image"])
            self.reasons += batch.get("reason", nothing)
            self.notes += batch.get("note", nothing)
            yield batch

    def usable(self, count: int) -> np.ndarray:
        """Which of the latest images could be read, `[count]` (bool)."""
        return np.array([not reason for reason in self.reasons[-count:]])


class _Maps:
    """An ``.npy`` file of half-precision maps that grows as they come; numpy leaves room in its header for that."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def add(self, maps: np.ndarray) -> None:
        """Append maps ``[B, C, *spatial]``."""
        if not self._shape:
            self._shape = maps.shape[1:]
            self._write_header()
        self._stream.write(np.ascontiguousarray(maps, np.float16).tobytes())
        self._count += len(maps)

    def close(self) -> None:
        """Say in the header how many there are."""
        self._stream.seek(0)
        self._write_header()
        self._stream.close()

    def _write_header(self) -> None:
        header = {"descr": "<f2", "fortran_order": False, "shape": (self._count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._stream, header)


def embed(
    run: str | Path,
    images: str | Path,
    output: str | Path | None = None,
    maps: bool = False,
    boxes: str | None = None,
    batch_size: int | None = None,
    workers: int = 2,
    device: str | torch.device | None = None,
) -> str:
    """Compute the pooled features of images, and look whether they tell the hospital.

    Written are ``features.parquet`` (``features.csv`` where pyarrow is not installed), a row for every image, or for
    every study and file of a folder with the reason where it has no features; ``features.npz``, those that have;
    ``features.png``, their principal components coloured by source and label; ``embedding.json``, the figures.

    Args:
        run: folder of a pre-training, a fine-tuning or a segmentation, or a file of weights with its description.
        images: a folder that `medssl prepare` wrote, or its datalist; or a folder of images as they come.
        output: folder to write to; None for ``features`` in the run's folder.
        maps: write ``maps.npy``, too, the last feature map of each image of ``features.npz``, in its order:
            float16 ``[N, C, *spatial]``.
        boxes: of a volume larger than the network's box: ``middle``, or ``several``, whose features are averaged; None
            for as the model was validated, or the middle.
        batch_size: images at once; None for 64 radiographs or 8 volumes.
        workers: processes that load images.
        device: that computes; None for a GPU where there is one.

    Returns:
        What was done, and whether the features tell the hospital: for the screen.

    Raises:
        MissingFileError: weights, description or images are missing.
        UserError: the images are not what the network sees, or none can be embedded.
    """
    run, images = Path(run), Path(images)
    backbone, description = trained_backbone(run)
    view = View.from_dict(description, str(run))
    boxes = boxes or (str(description.get("boxes", "middle")) if view.spatial_dims == 3 and not maps else "middle")
    if boxes not in BOXES:
        raise UserError(f"boxes is {boxes!r}, and must be one of {', '.join(BOXES)}.")
    if maps and boxes == "several" and view.spatial_dims == 3:
        raise UserError("A map is of one box: leave --maps out, or give --boxes middle.")
    output = Path(output) if output else (run if run.is_dir() else run.parent) / FEATURES
    prepared = images.suffix == ".json" or (images / DATALIST).is_file()
    found = _prepared(images, view, boxes) if prepared else _raw(images, view, boxes, output)
    path = output / MAPS if maps else None
    features, noted = _computed(backbone, found, view, boxes, batch_size, workers, device, path)
    return _write(output, run, found, features, noted)


def _prepared(data: Path, view: View, boxes: str) -> _Images:
    """Every image of a datalist, whatever its split."""
    datalist = Datalist.read(data)
    check_view(datalist, view)
    folder = datalist.path.parent.resolve()
    items, known = [], []
    for split in SPLITS:
        for item in datalist.items(split):
            values = item["label"] if split in LABELLED_SPLITS else np.full(len(datalist.labels), np.nan)
            name = Path(os.path.relpath(item["file"], folder)).as_posix()
            row = {"image": name, **{key: item[key] for key in ("source", "patient", "study")}, "split": split}
            known.append(row | {f"{label} label": value for label, value in zip(datalist.labels, values, strict=True)})
            items.append({"image": item["image"]})
    return _Images(items, view.stored(boxes), known, [], datalist.labels, datalist.exclusive)


def _raw(folder: Path, view: View, boxes: str, output: Path) -> _Images:
    """Every study of a folder, and what else lies there."""
    found = examine_folder(folder, view.spatial_dims, skip=output)
    base = folder.resolve()

    def name(path: str | Path) -> str:
        shown = Path(os.path.relpath(path, base)).as_posix()
        return base.name if shown == "." else shown

    refused = [{"image": name(one.path), "reason": one.reason, "note": one.note} for one in found.refusals]
    items = found.items()
    return _Images(items, view.files(boxes), [{"image": name(item["file"])} for item in items], refused, [])


def _computed(
    backbone: Backbone,
    found: _Images,
    view: View,
    boxes: str,
    batch_size: int | None,
    workers: int,
    device: str | torch.device | None,
    maps: Path | None,
) -> tuple[np.ndarray, _Noted]:
    """The features of each item, of those that could not be read without meaning, and what was noted of it."""
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    at_once = batch_size or (64 if view.spatial_dims == 2 else 8)
    several = view.spatial_dims == 3 and boxes == "several"
    loader = DataLoader(
        Dataset(found.items, found.transform),
        batch_size=1 if several else at_once,  # the boxes of one volume are a batch
        num_workers=min(workers, len(found.items)),
    )
    noted, backbone = _Noted(loader), backbone.to(device)
    with ExitStack() as stack:
        kept = None if maps is None else _Maps(stack.enter_context(whole_file(maps)))

        def extract(images: Tensor) -> Tensor:
            pooled = []
            for part in images.flatten(0, 1)[:, None].split(at_once):
                last = backbone(part)
                pooled.append(backbone.pool(last).float())
                if kept is not None:
                    kept.add(last.half().cpu().numpy()[noted.usable(len(last))])
            return torch.cat(pooled).unflatten(0, images.shape[:2]).mean(dim=1)

        if not found.items:
            return np.empty((0, backbone.out_channels), np.float32), noted
        features = compute_features(backbone, extract, noted, device.type == "cuda", "features").cpu().numpy()
        if kept is not None:
            kept.close()
    return features, noted


def _write(output: Path, run: Path, found: _Images, features: np.ndarray, noted: _Noted) -> str:
    """Write table, arrays, picture and figures."""
    usable = np.array([not reason for reason in noted.reasons], dtype=bool)
    cells = [
        {**known, "reason": reason, "note": note}
        for known, reason, note in zip(found.known, noted.reasons, noted.notes, strict=True)
    ]
    table = pd.DataFrame([*cells, *found.refused], columns=[*(cells or found.refused or [{"image": ""}])[0]])
    values = np.full((len(table), features.shape[1]), np.nan, np.float32)
    values[: len(cells)][usable] = features[usable]
    names = [f"feature_{number}" for number in range(features.shape[1])]
    path = _write_table(output, pd.concat([table, pd.DataFrame(values, columns=names)], axis=1))
    if not usable.any():
        counts = Counter(table["reason"]) if len(table) else Counter()
        said = ", ".join(f"{count} × {reason}" for reason, count in counts.most_common())
        raise UserError(f"No image can be embedded ({said or 'there is none'}): {path} says why of each.")
    shown = table[: len(cells)][usable]
    features = features[usable]
    labels = {name: shown[f"{name} label"].to_numpy(np.float64) for name in found.labels}
    known = {key: shown[key].to_numpy(str) for key in ("image", "source", "patient", "study", "split") if key in shown}
    with whole_file(output / f"{FEATURES}.npz") as part:
        arrays: dict[str, Any] = {**known, "features": features}
        if found.labels:
            arrays |= {"label": np.stack([*labels.values()], axis=1).astype(np.float32), "labels": found.labels}
        np.savez(part, **arrays)
    sources = known.get("source", np.full(len(shown), "")).tolist()
    probe = probe_sources(features, sources, known["patient"].tolist() if "patient" in known else None)
    title = f"{len(features)} images by {shown_path(run)}"
    with whole_file(output / PICTURE) as part:
        draw_embedding(features, sources, labels, found.exclusive, title).savefig(part, dpi=130)
    facts = {"run": shown_path(run), "images": len(features), "features": features.shape[1]}
    write_json(output / SUMMARY, facts | {"source_auroc": probe.mean, "sources": _sources(probe)})
    left = len(table) - len(shown)
    refused = f", {left} {'row' if left == 1 else 'rows'} with the reason why not" if left else ""
    done = f"{len(features)} images embedded{refused}: {path}, {FEATURES}.npz and {PICTURE} beside it."
    return f"{done}\n{probe}" if any(sources) else done


def _sources(probe: SourceProbe) -> dict[str, Any]:
    return {name: {"images": count, "auroc": probe.auroc.get(name)} for name, count in probe.images.items()}


def _write_table(output: Path, table: pd.DataFrame) -> Path:
    """As parquet where pyarrow is installed, else as CSV; what an earlier run wrote in the other form goes."""
    # Optional. An empty folder of that name has no origin; once imported, scikit-learn would take it for the package.
    found = find_spec("pyarrow")
    parquet = found is not None and found.origin is not None
    path, other = (
        output / f"{FEATURES}{suffix}" for suffix in ([".parquet", ".csv"] if parquet else [".csv", ".parquet"])
    )
    with whole_file(path) as part:
        if not parquet:
            # Names of files need not be UTF-8. Nine digits name one float32.
            table.to_csv(part, index=False, lineterminator="\n", float_format="%.9g", errors="backslashreplace")
        else:
            table.to_parquet(part, engine="pyarrow", index=False)
    other.unlink(missing_ok=True)
    return path
