"""How alike are the features of several networks (their linear CKA in pairs), and what do they add to each other?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from monai.data import DataLoader, Dataset
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import Tensor

from medssl.data import Datalist
from medssl.errors import UserError
from medssl.files import whole_file
from medssl.networks import load_backbone, read_description, weights_file
from medssl.progress import watched
from medssl.runs import BACKBONE
from medssl.transforms import View

from .logistic import deal_folds, feature_gains
from .probes import evenly, labels_of, patients_of


class StreamingCKA:
    """The linear CKA of any number of sets of features, from mini-batches: `medssl.losses.linear_cka` in pairs.

    It is exact, no estimate from mini-batches (as Nguyen et al. 2021 make): the form over features needs sums
    over the images alone, which are kept in float64 and taken about the first mini-batch's mean, so that features far
    from 0 lose no digits. They hold D × E numbers for each pair of sets, however many images there are: 21 MB for four
    networks of 512 features, 461 MB for ten of 1024.
    """

    def __init__(self) -> None:
        self._images = 0
        self._origins: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._products: dict[tuple[int, int], Tensor] = {}

    def update(self, features: Sequence[Tensor]) -> None:
        """Add a mini-batch.

        Args:
            features: of each set `[B, D]` (D may differ), the same images in the same order; the sets as before.

        Raises:
            UserError: when the sets are not of equally many images, or others than before.
        """
        if not self._origins:
            self._origins = [part.double().mean(dim=0) for part in features]
            self._sums = [torch.zeros_like(origin) for origin in self._origins]
        sizes = [(len(features[0]), len(origin)) for origin in self._origins]
        if [tuple(part.shape) for part in features] != sizes:
            raise UserError(
                f"Features {[list(part.shape) for part in features]} must be of the same images, and of as many sets "
                f"and columns as before: {[list(size) for size in sizes]}."
            )
        shifted = [part.double() - origin for part, origin in zip(features, self._origins, strict=True)]
        self._images += len(features[0])
        for total, part in zip(self._sums, shifted, strict=True):
            total += part.sum(dim=0)
        for i, j in combinations_with_replacement(range(len(shifted)), 2):
            product = shifted[i].T @ shifted[j]
            self._products[i, j] = self._products[i, j] + product if (i, j) in self._products else product

    def compute(self) -> np.ndarray:
        """The similarities so far, `[M, M]` of M sets: symmetric, 1 on the diagonal; NaN where a set is constant.

        Raises:
            UserError: when there are fewer than three images, of which any two sets are alike.
        """
        if self._images < 3:
            raise UserError(f"Similarity needs at least 3 images, got {self._images}.")
        norms = {
            (i, j): torch.linalg.norm(product - torch.outer(self._sums[i], self._sums[j]) / self._images).item()
            for (i, j), product in self._products.items()
        }
        matrix = np.empty((len(self._sums), len(self._sums)))
        with np.errstate(invalid="ignore"):
            for i, j in norms:
                matrix[i, j] = matrix[j, i] = np.divide(norms[i, j] ** 2, norms[i, i] * norms[j, j])
        return matrix


def compare_backbones(
    runs: Sequence[str | Path], data: str | Path, output: str | Path, split: str = "pretrain"
) -> None:
    """Compare backbones with each other, write both files of `write_similarity`, and print the numbers.

    Args:
        runs: folders of pre-trainings, or files of backbones such as `runs/rotation/backbones/epoch_0010.pt`.
        data: the images: a folder that `medssl prepare` wrote, or a datalist.
        output: folder to write to.
        split: of the datalist.

    Raises:
        MissingFileError: when a run has no backbone.
        UserError: see `similarity_matrix`; or when fewer than two backbones are named, or one of them twice.
    """
    backbones = named_backbones(runs)
    if len(backbones) < 2:
        raise UserError("Similarity is between two backbones at least: name another run.")
    names, matrix = similarity_matrix(backbones, data, split)
    write_similarity(output, names, matrix)
    table = Table("", *names, title=f"Linear CKA of the pooled features on {split}", title_justify="left", box=SIMPLE)
    for name, row in zip(names, matrix, strict=True):
        table.add_row(name, *(f"{value:.3f}" for value in row))
    console = Console(markup=False, emoji=False)  # a user's names may hold brackets
    console.print(table)
    console.print(f"The table: {Path(output) / 'similarity.csv'}, the picture: {Path(output) / 'similarity.png'}")


def named_backbones(runs: Sequence[str | Path]) -> dict[str, Path]:
    """The backbone of each run, by the shortest end of its path that no other shares.

    Args:
        runs: folders of pre-trainings, or files.

    Raises:
        MissingFileError: when there is no such file.
        UserError: when one is named twice.
    """
    paths = [weights_file(run) for run in runs]
    shown = [path.resolve().parent if path.name == BACKBONE else path.resolve().with_suffix("") for path in paths]
    if twice := [path for path in shown if shown.count(path) > 1]:
        raise UserError(f"{twice[0]} is named twice: name each backbone once.")
    length = 1
    while len({path.parts[-length:] for path in shown}) < len(shown):
        length += 1
    return {"/".join(path.parts[-length:]): file for path, file in zip(shown, paths, strict=True)}


@torch.no_grad()
def similarity_matrix(
    backbones: Mapping[str, str | Path],
    data: str | Path,
    split: str = "pretrain",
    batch_size: int = 64,
    workers: int = 0,
    most: int = 5000,
    progress: bool = True,
) -> tuple[list[str], np.ndarray]:
    """The linear CKA of the pooled features of each pair of backbones, in one pass over prepared images.

    The images are seen as in evaluation: whole radiographs, the middle box of volumes. The paper does not say on which
    images it compares; here they are those of the pre-training, so that a choice of tasks by it has seen no image to be
    judged on. The fewer images there are, the more alike all networks seem (see `medssl.losses.linear_cka`): take
    several times as many as there are features. A GPU is used where there is one.

    Args:
        backbones: path of each backbone's weights, by the name to show; its description stands beside it.
        data: the images: a folder that `medssl prepare` wrote, or a datalist.
        split: of the datalist.
        batch_size: images at once.
        workers: processes that load images.
        most: images at most, evenly spread over the split.
        progress: whether to show it.

    Returns:
        The names, and the similarities `[M, M]` in their order.

    Raises:
        MissingFileError: when weights, a description or images are missing.
        UserError: when the backbones were trained on images of different kinds, or the datalist has others.
    """
    datalist = Datalist.read(data)
    similarity = StreamingCKA()
    for features in _features(backbones, datalist, datalist.items(split), batch_size, workers, most, progress):
        similarity.update(features)
    return list(backbones), similarity.compute()


@torch.no_grad()
def backbone_gains(
    first: str | Path,
    others: Mapping[str, str | Path],
    data: str | Path,
    batch_size: int = 64,
    workers: int = 0,
    most: int = 2000,
    progress: bool = True,
) -> dict[str, float | None]:
    """What the features of other backbones add to those of the first, by probes on the labelled training images.

    See `feature_gains`: mean AUROC out of folds over patients, of both features side by side minus the first alone.

    Args:
        first: path of its weights; its description stands beside it.
        others: path of each other backbone's, by name.
        data: the images: a folder that `medssl prepare` wrote, or a datalist.
        batch_size: images at once.
        workers: processes that load images.
        most: images at most, evenly spread over those with a known label.
        progress: whether to show it.

    Returns:
        The gain of each, in AUROC; None where too few patients are labelled for folds.

    Raises:
        MissingFileError: when weights, a description or images are missing.
        UserError: as `similarity_matrix`.
    """
    datalist = Datalist.read(data)
    items = evenly([item for item in datalist.items("training") if not np.isnan(item["label"]).all()], most)
    labels, patients = labels_of(items), patients_of(items)
    if not items or (deal_folds(labels, patients) < 0).all():
        return dict.fromkeys(others)
    backbones = {"the pool": first, **others}
    batches = list(_features(backbones, datalist, items, batch_size, workers, most, progress))
    pool, *each = (torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True))
    return feature_gains(pool, dict(zip(others, each, strict=True)), labels, patients)


def _features(
    backbones: Mapping[str, str | Path],
    datalist: Datalist,
    items: Sequence[Mapping[str, Any]],
    batch_size: int,
    workers: int,
    most: int,
    progress: bool,
) -> Iterator[list[Tensor]]:
    """The pooled features of every backbone, one mini-batch of at most so many of the images after another."""
    view = _common_view(backbones, datalist)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = [load_backbone(path).to(device).eval() for path in backbones.values()]
    loader = DataLoader(Dataset(evenly(items, most), view.stored()), batch_size=batch_size, num_workers=workers)
    for batch in watched(loader, "similarity", "batches", show=progress):
        images = batch["image"].to(device)
        yield [network.pool(network(images)) for network in networks]


def _common_view(backbones: Mapping[str, str | Path], datalist: Datalist) -> View:
    """What all the backbones see of an image, which the prepared images must be able to show."""
    if not backbones:
        raise UserError("There is no backbone to compare: name at least one.")
    # Without the modality, of which the images are a matter of the data.
    views = {
        name: replace(View.from_dict(read_description(path), str(path)), modality="")
        for name, path in backbones.items()
    }
    (first, view), *others = views.items()
    for name, other in others:
        if differences := other.differences(view):
            raise UserError(
                f"{first} and {name} cannot be compared, for the latter sees {'; '.join(differences)}. Train both on "
                "the same prepared images with the same settings."
            )
    prepared = replace(datalist.view(), modality="")
    if prepared.spatial_dims == view.spatial_dims:
        prepared = replace(prepared, image_size=view.image_size, window=view.window)
    if differences := view.differences(prepared):
        raise UserError(
            f"{first} does not suit {datalist.path}, for it sees {'; '.join(differences)}. Give the data of the "
            "pre-training."
        )
    return view


@matplotlib.rc_context({"font.size": 8, "text.parse_math": False})
def draw_similarity(names: Sequence[str], matrix: np.ndarray) -> Figure:
    """A heat map from 0 to 1 with the numbers in it.

    Args:
        names: of the M networks.
        matrix: `[M, M]`, as `similarity_matrix` returns it.
    """
    side = 1.6 + 0.6 * len(names)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(matrix):
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.6 else "black")
    figure.colorbar(image, label="linear CKA of the pooled features")
    return figure


def write_similarity(output: str | Path, names: Sequence[str], matrix: np.ndarray) -> None:
    """Write `similarity.csv` (a row and a column for each network) and `similarity.png` into a folder.

    Args:
        output: the folder; made where there is none.
        names: of the M networks.
        matrix: `[M, M]`, as `similarity_matrix` returns it.
    """
    with whole_file(Path(output) / "similarity.csv") as temporary:
        pd.DataFrame(matrix, index=pd.Index(names, name="network"), columns=list(names)).to_csv(
            temporary, float_format="%.6f", lineterminator="\n"
        )
    with whole_file(Path(output) / "similarity.png") as temporary:
        draw_similarity(names, matrix).savefig(temporary, dpi=130)
