"""The public images that the benchmarks of pre-training are measured on, and how they are dealt: a `Trial`.

`read(folder, side)` takes the radiographs of `cxr_pool`, `nih_cxr` and `nih_cxr_64px` as `labels.csv` and
`Data_Entry_2017.csv` describe them; `pack` writes the same, small, into one file that travels to another machine.
`read_patches` takes boxes of CT of soft-tissue sarcomas.
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
class Images:
    """All images, and what is known of them.

    Attributes:
        images: `[N, 1, *spatial]`, 8 bit.
        hospital: folder of each.
        patient: of each, told apart between hospitals.
        labels: `[N, K]` of 1, 0, NaN.
        names: of the labels.
    """

    images: Tensor
    hospital: np.ndarray
    patient: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...] = NAMES

    def column(self, name: str) -> np.ndarray:
        """What is known of one label, `[N]`."""
        return self.labels[:, self.names.index(name)]

    def of(self, *hospitals: str) -> np.ndarray:
        """Numbers of the images of hospitals."""
        return np.flatnonzero(np.isin(self.hospital, hospitals))


def read(source: str | Path, side: int) -> Images:
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
        return Images(torch.from_numpy(images)[:, None], packed["hospital"], packed["patient"], packed["labels"])
    rows = [row for folder in sorted((source / "cxr_pool").iterdir()) for row in _of_pool(folder)]
    rows += [row for name in ("nih_cxr", "nih_cxr_64px") for row in _of_nih(source / name)]
    images = np.stack([_resized(Image.open(path), side) for path, *_ in rows])
    _, hospital, patient, labels = zip(*rows, strict=True)
    return Images(torch.from_numpy(images)[:, None], np.array(hospital), np.array(patient), np.array(labels))


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


@dataclass
class Trial:
    """One tuple of the protocol: a split of the patients, from which the pool and each question's images follow.

    Attributes:
        images: all of them.
        seed: of split and draws.
        pool: images to pre-train on: of no validation or test patient.
        questions: by name.
    """

    images: Images
    seed: int
    pool: np.ndarray
    questions: dict[str, Question]

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
        columns = np.stack([self.images.column(name)[asked.training] for name in asked.labels], axis=1)
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


def _deal(
    images: Images, numbers: np.ndarray, shares: tuple[float, float], random: np.random.Generator
) -> list[np.ndarray]:
    """Training, validation and test images; `shares` of the patients go to the latter two."""
    patients = random.permutation(np.unique(images.patient[numbers]))
    validation, test, training = np.split(patients, (np.cumsum(shares) * len(patients)).astype(int))
    return [numbers[np.isin(images.patient[numbers], part)] for part in (training, validation, test)]


def deal_radiographs(images: Images, seed: int) -> Trial:
    """A trial on radiographs, whose pool never holds an image of Montgomery.

    Questions are `tuberculosis` (Shenzhen; `other`: Montgomery), `nih` (five findings of NIH; `within`: among images
    with a finding only, so that how the normal ones were picked gives nothing away; `small`: NIH at 64 px) and
    `pneumonia` (children in Kermany; `other`: NIH, adults).
    """
    random = np.random.default_rng(1000 + seed)
    shenzhen = _deal(images, images.of("shenzhen_tb"), (0.1, 0.23), random)
    kermany = _deal(images, images.of("kermany"), (0.04, 0.06), random)
    nih = _deal(images, images.of("nih_cxr", "nih_extra"), (0.2, 0.35), random)
    small, other, ill = images.of("nih_cxr_64px"), images.of(OTHER), images.column(NORMAL) == 0
    kept_back = np.concatenate([*shenzhen[1:], *kermany[1:], *nih[1:], small])
    pool = np.flatnonzero(~np.isin(images.patient, images.patient[kept_back]) & (images.hospital != OTHER))
    questions = {
        "tuberculosis": Question(("Tuberculosis",), *shenzhen[:2], {"within": shenzhen[2], "other": other}),
        "nih": Question(FINDINGS, *nih[:2], {"all": nih[2], "within": nih[2][ill[nih[2]]], "small": small[ill[small]]}),
        "pneumonia": Question(("Pneumonia",), *kermany[:2], {"within": kermany[2], "other": nih[2]}),
    }
    return Trial(images, seed, pool, questions)


def read_patches(folder: str | Path) -> Images:
    """Boxes of 32³ voxels of 2 mm of CT of sarcomas, in the window −160 … 240 HU, all labels known."""
    stored = np.load(Path(folder) / "ct_sts" / "patches_32.npz")
    values = (np.clip(stored["images"].astype(np.float32), -160, 240) + 160) * (255 / 400)
    images = torch.from_numpy(values.round().astype(np.uint8))[:, None]
    names = tuple(str(name) for name in stored["label_names"])
    hospital = np.full(len(images), "ct_sts")
    return Images(images, hospital, stored["patient_id"].astype(str), stored["labels"].astype(float), names)


def deal_patches(images: Images, seed: int) -> Trial:
    """A trial on boxes of CT, whose question `sarcoma` is where the expert outlined a tumour."""
    dealt = _deal(images, np.arange(len(images.images)), (0.15, 0.3), np.random.default_rng(2000 + seed))
    return Trial(images, seed, dealt[0], {"sarcoma": Question(("gtv_tumour",), *dealt[:2], {"within": dealt[2]})})
