"""Features of images by a run's weights: as table, arrays and picture, and whether they tell the hospital.

`medssl embed` calls `embed`.
"""

import csv as csv_files
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.data import DataLoader, Dataset
from torch import Tensor

from medssl.data.datalist_file import DATALIST
from medssl.errors import UserError
from medssl.evaluation.source_probe import SourceProbe, probe_sources
from medssl.files import whole_file, write_json
from medssl.networks import Backbone, compute_features, fast_layout
from medssl.networks.trained_backbone import trained_backbone
from medssl.runs import FEATURES, FEATURES_PICTURE, FEATURES_SUMMARY, shown_path
from medssl.transforms import View
from medssl.transforms.covering import BOXES
from medssl.transforms.crops_about import OUTSIDE, SAID

from .embedded_images import EmbeddedImages, Row, lesions_of_images, prepared_images, raw_images
from .embedding_picture import check_projection, draw_embedding

MAPS = "maps.npy"


class _Noted:
    """A loader that remembers what was said of each image: why it could not be read, and what was put right."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self.reasons: list[str] = []
        self.notes: list[str] = []
        self.said: list[list[str]] = []
        self.usable = np.empty(0, bool)
        """Which of the latest batch's boxes show an image, ``[B]``."""

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for batch in self.loader:
            self.reasons += batch["reason"]
            self.notes += batch["note"]
            self.said += batch[SAID]
            pairs = zip(batch["reason"], batch[SAID], strict=True)
            self.usable = np.array([not reason and said != OUTSIDE for reason, each in pairs for said in each])
            yield batch


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
    csv: str | Path | None = None,
    side: float | None = None,
    maps: bool = False,
    boxes: str | None = None,
    projection: str = "pca",
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | torch.device | None = None,
) -> str:
    """Compute the pooled features of images, or of places in them, and look whether they tell the hospital.

    Written are ``features.parquet`` (``features.csv`` where pyarrow is not installed), a row for every image, or for
    every study and file of a folder, or for every lesion of a table (those of one image together), with the reason
    where it has no features; ``features.npz``, those that have; ``features.png``, the images in a plane, coloured by
    source and label; ``embedding.json``, the figures.

    Args:
        run: folder of a pre-training, a fine-tuning or a segmentation, or a file of weights with its description.
        images: a folder that `medssl prepare` wrote, or its datalist; or a folder of images as they come.
        output: folder to write to; None for ``features`` in the run's folder.
        csv: a table of lesions in the images of a folder, see `medssl.data.lesions`; each is seen in a crop about it,
            see `medssl.transforms.CropsAbout`.
        side: of the crop about a lesion of a radiograph, in pixels of the file; None for twice that of its box, or the
            network's own size about a point.
        maps: write ``maps.npy``, too, the last feature map of each image of ``features.npz``, in its order:
            float16 ``[N, C, *spatial]``.
        boxes: of a volume larger than the network's box: ``middle``, or ``several``, whose features are averaged; None
            for as the model was validated, or the middle.
        projection: of the picture, see `medssl.studies.embedding_picture.PROJECTIONS`.
        batch_size: images at once; None for 64 radiographs or 8 volumes.
        workers: processes that load images; None for two, or none for prepared images on a processor of two cores.
        device: that computes; None for a GPU where there is one.

    Returns:
        What was done, and whether the features tell the hospital: for the screen.

    Raises:
        MissingFileError: weights, description, images or table are missing.
        UserError: the images are not what the network sees, or none can be embedded; or a value means nothing.
    """
    run, images = Path(run), Path(images)
    check_projection(projection)
    backbone, description = trained_backbone(run)
    view = View.from_dict(description, str(run))
    output = Path(output) if output else (run if run.is_dir() else run.parent) / FEATURES
    prepared = images.suffix == ".json" or (images / DATALIST).is_file()
    if csv is not None:
        if boxes or prepared:
            raise UserError(
                f"A lesion is seen in the crop about it: leave --boxes {boxes} out."
                if boxes
                else f"{images} is prepared, and places are those of the files: give the folder of the images."
            )
        found, several = lesions_of_images(Path(csv), images, view, side, output), False
    elif side is not None:
        raise UserError("--side is that of the crop about a lesion: give their table by --csv, or leave it out.")
    else:
        chosen = _boxes(boxes, view, description, maps)
        several = view.spatial_dims == 3 and chosen == "several"
        found = prepared_images(images, view, chosen) if prepared else raw_images(images, view, chosen, output)
    at_once = batch_size or (64 if view.spatial_dims == 2 else 8)
    path = output / MAPS if maps else None
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if workers is None:
        # A prepared image is read in a millisecond, and where two cores compute, processes that read would take turns
        # with the network: a few turns by hand were no quicker with them, so they are left out.
        workers = 0 if prepared and device.type == "cpu" and (os.cpu_count() or 1) <= 2 else 2
    return _write(output, run, found, *_computed(backbone, found, several, at_once, workers, device, path), projection)


def _boxes(boxes: str | None, view: View, description: Mapping[str, Any], maps: bool) -> str:
    """What is seen of a volume, of `BOXES`."""
    boxes = boxes or (str(description.get("boxes", "middle")) if view.spatial_dims == 3 and not maps else "middle")
    if boxes not in BOXES:
        raise UserError(f"boxes is {boxes!r}, and must be one of {', '.join(BOXES)}.")
    if maps and boxes == "several" and view.spatial_dims == 3:
        raise UserError("A map is of one box: leave --maps out, or give --boxes middle.")
    return boxes


def _together(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch of items whose images are ``[N, *image_size]``, N boxes of each: all of them one after the other."""
    boxes = [item["image"] for item in items]
    return {
        "image": torch.cat(boxes),
        "reason": [item.get("reason", "") for item in items],
        "note": [item.get("note", "") for item in items],
        SAID: [item.get(SAID) or [""] * len(each) for item, each in zip(items, boxes, strict=True)],
    }


def _computed(
    backbone: Backbone,
    found: EmbeddedImages,
    several: bool,
    at_once: int,
    workers: int,
    device: torch.device,
    maps: Path | None,
) -> tuple[np.ndarray, list[Row]]:
    """The features ``[R, D]`` of each row that is known, without meaning where it has a reason; and these rows."""
    loader = DataLoader(
        Dataset(found.items, found.transform),
        batch_size=1 if several else at_once,  # the boxes of one volume are a batch
        num_workers=min(workers, len(found.items)),
        collate_fn=_together,
        pin_memory=device.type == "cuda",
    )
    # The layout of training: of a ResNet-18 it gives 1.40 times the images a second, too (benchmarks/results/embed.md).
    layout = fast_layout(backbone.name, backbone.spatial_dims)
    noted = _Noted(loader)
    backbone.to(device, memory_format=layout)  # type: ignore[call-overload]  # torch's hints lack it
    if not found.items:
        return np.empty((0, backbone.out_channels), np.float32), []
    with ExitStack() as stack:
        kept = None if maps is None else _Maps(stack.enter_context(whole_file(maps)))

        def extract(images: Tensor) -> Tensor:
            pooled = []
            for part, usable in zip(images[:, None].split(at_once), _parts(noted.usable, at_once), strict=True):
                last = backbone(part if found.seen is None else found.seen(part))
                pooled.append(backbone.pool(last).float())
                if kept is not None:
                    kept.add(last.half().cpu().numpy()[usable])
            return torch.cat(pooled)

        features = compute_features(backbone, extract, noted, device.type == "cuda", "features").cpu().numpy()
        if kept is not None:
            kept.close()
    return _of_rows(features, found.known, noted, several)


def _parts(values: np.ndarray, size: int) -> list[np.ndarray]:
    return np.split(values, range(size, len(values), size))


def _of_rows(
    features: np.ndarray, known: Sequence[Sequence[Row]], noted: _Noted, mean: bool
) -> tuple[np.ndarray, list[Row]]:
    """From features of boxes ``[T, D]`` to those of rows: one an item, their mean, or one a box."""
    ends = np.cumsum([len(each) for each in noted.said])
    of_rows, rows = [], []
    for part, own, reason, note, said in zip(
        np.split(features, ends[:-1]), known, noted.reasons, noted.notes, noted.said, strict=True
    ):
        each = np.broadcast_to(part[:1], (len(own), part.shape[1])) if reason else part  # zeros were seen
        of_rows.append(part.mean(axis=0, keepdims=True) if mean else each)
        words = [""] * len(own) if mean or reason else said
        for row, word in zip(own, words, strict=True):
            refused = word == OUTSIDE
            notes = "; ".join(filter(None, (note, "" if refused else word)))
            rows.append({**row, "reason": word if refused else reason, "note": notes})
    return np.concatenate(of_rows), rows


def _write(
    output: Path, run: Path, found: EmbeddedImages, features: np.ndarray, rows: Sequence[Row], projection: str
) -> str:
    """Write table, arrays, picture and figures."""
    table = pd.DataFrame([*rows, *found.refused], columns=[*(rows or found.refused or [{"image": ""}])[0]])
    values = np.full((len(table), features.shape[1]), np.nan, np.float32)
    usable = np.array([not row["reason"] for row in rows] + [False] * len(found.refused), dtype=bool)
    values[usable] = features[usable[: len(rows)]]
    path = _write_table(output, table, values)
    if not usable.any():
        counts = Counter(table["reason"]) if len(table) else Counter()
        said = ", ".join(f"{count} × {reason}" for reason, count in counts.most_common())
        raise UserError(f"No image can be embedded ({said or 'there is none'}): {path} says why of each.")
    shown, features = table[usable], values[usable]
    labels = {name: shown[f"{name} label"].to_numpy(np.float64) for name in found.labels}
    known = {key: shown[key].to_numpy(str) for key in ("image", "source", "patient", "study", "split") if key in shown}
    with whole_file(output / f"{FEATURES}.npz") as part:
        arrays: dict[str, Any] = {**known, "features": features}
        if "row" in shown:
            arrays["row"] = shown["row"].to_numpy(np.int64)
        if found.labels:
            arrays |= {"label": np.stack([*labels.values()], axis=1).astype(np.float32), "labels": found.labels}
        np.savez(part, **arrays)
    sources = known.get("source", np.full(len(shown), "")).tolist()
    probe = probe_sources(features, sources, known["patient"].tolist() if "patient" in known else None)
    what = "lesions" if "row" in table else "images"
    title = f"{len(features)} {what} by {shown_path(run)}"
    with whole_file(output / FEATURES_PICTURE) as part:
        draw_embedding(features, sources, labels, found.exclusive, title, projection).savefig(part, dpi=130)
    facts = {"run": shown_path(run), what: len(features), "features": features.shape[1]}
    write_json(output / FEATURES_SUMMARY, facts | {"source_auroc": probe.mean, "sources": _sources(probe)})
    left = len(table) - len(shown)
    refused = f", {left} {'row' if left == 1 else 'rows'} with the reason why not" if left else ""
    done = f"{len(features)} {what} embedded{refused}: {path}, {FEATURES}.npz and {FEATURES_PICTURE} beside it."
    return f"{done}\n{probe}" if any(sources) else done


def _sources(probe: SourceProbe) -> dict[str, Any]:
    return {name: {"images": count, "auroc": probe.auroc.get(name)} for name, count in probe.images.items()}


def _write_table(output: Path, known: pd.DataFrame, features: np.ndarray) -> Path:
    """What is known of each row and its features, NaN where it has none, which are whole rows: `known` beside `[R, D]`.

    As parquet where pyarrow is installed, else as CSV; what an earlier run wrote in the other form goes.
    """
    # Optional. An empty folder of that name has no origin; once imported, scikit-learn would take it for the package.
    found = find_spec("pyarrow")
    parquet = found is not None and found.origin is not None
    path, other = (
        output / f"{FEATURES}{suffix}" for suffix in ([".parquet", ".csv"] if parquet else [".csv", ".parquet"])
    )
    names = [f"feature_{number}" for number in range(features.shape[1])]
    with whole_file(path) as part:
        if parquet:
            table = pd.concat([known, pd.DataFrame(features, columns=names)], axis=1)
            table.to_parquet(part, engine="pyarrow", index=False)
        else:
            _write_csv(part, known, names, features)
    other.unlink(missing_ok=True)
    return path


def _write_csv(path: Path, known: pd.DataFrame, names: Sequence[str], features: np.ndarray) -> None:
    """In a third of the time that pandas takes; nine digits name one float32, and what is unknown is empty."""
    numbers, none = ",".join(["%.9g"] * len(names)), "," * (len(names) - 1)
    # Names of files need not be UTF-8.
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv_files.writer(stream, lineterminator=",")  # of the cells before the features
        writer.writerow(known.columns)
        stream.write(",".join(names) + "\n")
        for cells, row in zip(known.itertuples(index=False, name=None), features.tolist(), strict=True):
            writer.writerow("" if cell != cell else cell for cell in cells)
            stream.write((none if row[0] != row[0] else numbers % tuple(row)) + "\n")
