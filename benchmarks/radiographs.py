"""The public radiographs that the benchmarks of pre-training are measured on, and how they are dealt: a `Trial`.

`read(folder, side)` takes `cxr_pool`, `nih_cxr` and `nih_cxr_64px` as `labels.csv` and `Data_Entry_2017.csv` describe
them; `pack` writes the same, small, into one file that travels to another machine.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

FINDINGS = ("Infiltration", "Atelectasis", "Edema", "Effusion", "Consolidation")
"""Of NIH, those with 25 images or more; Pneumonia is left out, which trivial cues give away."""
NORMAL = "No Finding"
NAMES = (*FINDINGS, "Pneumonia", "Tuberculosis", NORMAL)
OTHER = "montgomery_dev"
"""The hospital that nothing is trained on."""


@dataclass
class Radiographs:
    """All images, and what is known of them.

    Attributes:
        images: `[N, 1, side, side]`, 8 bit.
        hospital: folder of each.
        patient: of each, told apart between hospitals.
        labels: `[N, 8]` of 1, 0, NaN: `NAMES`.
    """

    images: Tensor
    hospital: np.ndarray
    patient: np.ndarray
    labels: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """What is known of one label, `[N]`."""
        return self.labels[:, NAMES.index(name)]

    def of(self, *hospitals: str) -> np.ndarray:
        """Numbers of the images of hospitals."""
        return np.flatnonzero(np.isin(self.hospital, hospitals))


def read(source: str | Path, side: int) -> Radiographs:
    """The radiographs at a size.

    Args:
        source: the folder of the data, or a file of `pack`.
        side: of the square images, in pixels.
    """
    source = Path(source)
    if source.is_file():
        packed = np.load(source)
        ends = packed["ends"]
        encoded = np.split(packed["bytes"], ends[:-1])
        images = np.stack([_resized(Image.open(io.BytesIO(part.tobytes())), side) for part in encoded])
        return Radiographs(torch.from_numpy(images)[:, None], packed["hospital"], packed["patient"], packed["labels"])
    rows = [row for folder in sorted((source / "cxr_pool").iterdir()) for row in _of_pool(folder)]
    rows += [row for name in ("nih_cxr", "nih_cxr_64px") for row in _of_nih(source / name)]
    images = np.stack([_resized(Image.open(path), side) for path, *_ in rows])
    _, hospital, patient, labels = zip(*rows, strict=True)
    return Radiographs(torch.from_numpy(images)[:, None], np.array(hospital), np.array(patient), np.array(labels))


def pack(folder: str | Path, side: int, path: str | Path, quality: int = 75) -> None:
    """Write the radiographs as small JPEGs into one file."""
    radiographs = read(folder, side)
    encoded = []
    for image in radiographs.images[:, 0].numpy():
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        encoded.append(np.frombuffer(stream.getvalue(), np.uint8))
    np.savez(
        path,
        bytes=np.concatenate(encoded),
        ends=np.cumsum([len(part) for part in encoded]),
        hospital=radiographs.hospital,
        patient=radiographs.patient,
        labels=radiographs.labels,
    )


def _of_pool(folder: Path) -> list[tuple[Path, str, str, list[float]]]:
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # NIH's own numbers, so that a patient of two folders is one.
    prefix = "nih" if folder.name == "nih_extra" else folder.name
    return [
        (
            folder / row["image"],
            folder.name,
            f"{prefix}/{row['patient'] or row['image']}",
            [float(row.get(name) or "nan") for name in NAMES],
        )
        for row in rows
    ]


def _of_nih(folder: Path) -> list[tuple[Path, str, str, list[float]]]:
    with (folder / "Data_Entry_2017.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        (
            folder / "images" / row["Image Index"],
            folder.name,
            f"nih/{int(row['Patient ID'])}",
            [float(name in row["Finding Labels"].split("|")) if name != "Tuberculosis" else np.nan for name in NAMES],
        )
        for row in rows
    ]


def _resized(image: Image.Image, side: int) -> np.ndarray:
    image = image.convert("L")
    return np.asarray(image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BILINEAR))


@dataclass
class Question:
    """What a fine-tuned network is asked.

    Attributes:
        labels: names of its classes.
        training: images to draw labelled ones from.
        validation: other patients of the same hospital, for the choice of a recipe.
        tests: name → images, of patients that are in neither, nor in the pre-training.
    """

    labels: tuple[str, ...]
    training: np.ndarray
    validation: np.ndarray
    tests: dict[str, np.ndarray]


class Trial:
    """One tuple of the protocol: a split of the patients, from which the pool and each question's images follow.

    Args:
        radiographs: all of them.
        seed: of the split.

    Attributes:
        pool: images to pre-train on: of no validation or test patient, and never of Montgomery.
        questions: `tuberculosis` (Shenzhen; `other`: Montgomery), `nih` (five findings of NIH; `within`: among images
            with a finding only, so that how the normal ones were picked gives nothing away; `small`: NIH at 64 px) and
            `pneumonia` (children in Kermany; `other`: NIH, adults).
    """

    def __init__(self, radiographs: Radiographs, seed: int) -> None:
        self.radiographs, self.seed = radiographs, seed
        random = np.random.default_rng(1000 + seed)
        held_out: list[np.ndarray] = []

        def deal(images: np.ndarray, validation: float, test: float) -> list[np.ndarray]:
            patients = random.permutation(np.unique(radiographs.patient[images]))
            cuts = (np.array([test, test + validation]) * len(patients)).astype(int)
            parts = [images[np.isin(radiographs.patient[images], part)] for part in np.split(patients, cuts)]
            held_out.extend(parts[:2])
            return [parts[2], parts[1], parts[0]]

        shenzhen = deal(radiographs.of("shenzhen_tb"), 0.1, 0.23)
        kermany = deal(radiographs.of("kermany"), 0.04, 0.06)
        nih = deal(radiographs.of("nih_cxr", "nih_extra"), 0.2, 0.35)
        small = radiographs.of("nih_cxr_64px")
        ill = radiographs.column(NORMAL) == 0
        kept_back = np.concatenate([*held_out, small])
        seen = ~np.isin(radiographs.patient, radiographs.patient[kept_back]) & (radiographs.hospital != OTHER)
        self.pool = np.flatnonzero(seen)
        other = radiographs.of(OTHER)
        self.questions = {
            "tuberculosis": Question(
                ("Tuberculosis",), shenzhen[0], shenzhen[1], {"within": shenzhen[2], "other": other}
            ),
            "nih": Question(
                FINDINGS, nih[0], nih[1], {"all": nih[2], "within": nih[2][ill[nih[2]]], "small": small[ill[small]]}
            ),
            "pneumonia": Question(("Pneumonia",), kermany[0], kermany[1], {"within": kermany[2], "other": nih[2]}),
        }

    def asked_of(self, question: str) -> list[np.ndarray]:
        """The images of validation and of every test of a question."""
        return [self.questions[question].validation, *self.questions[question].tests.values()]

    def draw(self, question: str, count: int, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Labelled images: for each class half of `count` positive and half negative, known for that class alone.

        With `count` 0 all training images with all their labels. (Dong et al. 2024, Sec. 6.1.)

        Returns:
            Numbers of the images, and their labels `[n, K]` of 1, 0, NaN.
        """
        asked = self.questions[question]
        columns = np.stack([self.radiographs.column(name)[asked.training] for name in asked.labels], axis=1)
        if not count:
            return asked.training, columns
        random = np.random.default_rng([self.seed, draw, count])
        labels = np.full(columns.shape, np.nan)
        for k, column in enumerate(columns.T):
            for value in (1, 0):
                of_value = random.permutation(np.flatnonzero(column == value))[: count // 2]
                labels[of_value, k] = value
        drawn = ~np.isnan(labels).all(axis=1)
        return asked.training[drawn], labels[drawn]
