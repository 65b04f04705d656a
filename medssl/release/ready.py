"""A trained network, ready to be called with images: `medssl.load`.

Nothing of a bundle is run: its weights and the description beside them are data, and the code is ours. So a bundle of a
stranger, whose configs are code, can be loaded too.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, default_prepare_batch
from monai.transforms import Activationsd
from torch import Tensor, nn

from medssl.errors import MissingFileError, UserError
from medssl.evaluation import (
    ImageInferer,
    MaskInferer,
    PredictionRows,
    WrittenMasks,
    one_file,
    prepare_with_grids,
    size_names,
)
from medssl.networks import Backbone, build_backbone, build_classifier, build_segmenter, load_state_dict
from medssl.networks.state_dicts import read_description
from medssl.readers import examine_paths
from medssl.transforms import View

from .checks.bundle import MODEL
from .model import read_model

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""What a model on Hugging Face is called."""


class PooledFeatures(nn.Module):
    """A backbone whose output are the pooled features ``[B, out_channels]``."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Of images ``[B, C, *spatial]``."""
        return self.backbone.pool(self.backbone(images))


class ReadyModel:
    """A network with all that its inference needs; called with images it gives a table.

    Args:
        description: as it stands beside the weights.
        state: the weights.
        source: where both are from, for messages.
        device: that computes; None for a GPU where there is one.

    Attributes:
        description: as given.
        network: the network, in evaluation mode.
        view: what it sees of an image.
        names: of the outputs: classes, or features.
        thresholds: class → probability from which on an image counts as positive, where the validation chose one.
        segments: whether its outputs are masks.

    Raises:
        UserError: the description names no network of ours, or the weights are of another.
    """

    def __init__(
        self,
        description: Mapping[str, Any],
        state: Mapping[str, Tensor],
        source: str = "The model",
        device: str | torch.device | None = None,
    ) -> None:
        self.description = dict(description)
        self.view = View.from_dict(description, source)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.thresholds: dict[str, float] = dict(description.get("thresholds") or {})
        self.segments = "classes" in description
        network, self.names = _built(description, self.view.spatial_dims, source)
        own = network.backbone.network if isinstance(network, PooledFeatures) else network
        missing = [
            name for name, value in own.state_dict().items() if name not in state or state[name].shape != value.shape
        ]
        if missing:
            raise UserError(f"{source} lacks {len(missing)} weights of its network, the first is {missing[0]}.")
        own.load_state_dict(dict(state))
        self.network = network.to(self.device).eval()

    def __call__(
        self,
        images: str | Path | Iterable[str | Path],
        masks: str | Path | None = None,
        mirror: bool = False,
        batch_size: int | None = None,
        workers: int = 0,
    ) -> pd.DataFrame:
        """What the network says of images, as the inference of its run or bundle does.

        Args:
            images: a folder, or files and folders; a volume may be a file or a folder of DICOM slices.
            masks: of a segmentation, the folder to write masks to, see `medssl.evaluation.WrittenMasks`.
            mirror: whether the mean with the mirrored image counts; it doubles the time.
            batch_size: images at once; None for 64 radiographs, 16 volumes, or 4 windows of a segmentation.
            workers: processes that load images.

        Returns:
            A row for every study, in the order in which images were given, and for every file that belongs to none:
            ``image``, of a segmentation ``mask``, a column for each probability, feature or volume, ``reason`` and
            ``note``. Where there is a reason there are no numbers.

        Raises:
            MissingFileError: a path leads nowhere.
            UserError: a segmentation has no folder for its masks, or another network was given one.
        """
        if self.segments and masks is None:
            raise UserError("This model writes masks: call it with masks=FOLDER.")
        if masks is not None and not self.segments:
            raise UserError("This model gives no masks: leave masks out.")
        given = [Path(images)] if isinstance(images, (str, os.PathLike)) else [Path(path) for path in images]
        found = examine_paths(given, self.view.spatial_dims)
        at_once = batch_size or (4 if self.segments else 64 if self.view.spatial_dims == 2 else 16)
        alone = self.segments or (self.view.spatial_dims == 3 and self._boxes == "several")
        loader = DataLoader(
            Dataset(found.items(), self.view.files("whole" if self.segments else self._boxes)),
            batch_size=1 if alone else at_once,
            num_workers=workers,
        )
        base = _base(given)
        written = self._masks(Path(masks), base) if masks is not None else None
        with TemporaryDirectory() as folder:
            rows = PredictionRows(
                Path(folder) / "rows.csv",
                size_names(self.names, self.view.spatial_dims) if self.segments else self.names,
                base,
                found.refusals,
                ["mask"] if self.segments else [],
            )
            evaluator = SupervisedEvaluator(
                device=self.device,
                val_data_loader=loader,
                network=self.network,
                inferer=self._inferer(mirror, at_once),
                postprocessing=self._postprocessing(),
                val_handlers=[rows] if written is None else [written, rows],
                decollate=False,
                amp=self.device.type == "cuda",
                prepare_batch=prepare_with_grids if self.segments else default_prepare_batch,
            )
            if found.studies:
                evaluator.run()
            else:  # without a study it would not even start
                rows.begin(evaluator)
            table = pd.read_csv(rows.path, keep_default_na=False, na_values={name: [""] for name in rows.names})
        return _as_given(table, given, base)

    @property
    def _boxes(self) -> str:
        return str(self.description.get("boxes", "middle"))

    @property
    def _disjoint(self) -> bool:
        return self.description.get("mask_loss") == "marginal_exclusion"

    @property
    def _one(self) -> bool:
        return one_file("auto", self.names, self.description.get("contains") or {}, self._disjoint)

    def _masks(self, folder: Path, base: Path) -> WrittenMasks:
        return WrittenMasks(folder, self.names, base, self._one)

    def _inferer(self, mirror: bool, at_once: int) -> ImageInferer | MaskInferer:
        if not self.segments:
            pooling = str(self.description.get("pooling", "max")) if "labels" in self.description else "mean"
            return ImageInferer(mirror, pooling, at_once)
        normalise = self.view.spatial_dims == 3 and self.view.window is None
        classes = len(self.names)
        return MaskInferer(
            self.view.image_size,
            classes,
            self._disjoint,
            self._one,
            normalise=normalise,
            mirror=mirror,
            at_once=at_once,
        )

    def _postprocessing(self) -> Activationsd | None:
        if "labels" not in self.description:
            return None
        exclusive = bool(self.description.get("exclusive", False))
        return Activationsd("pred", sigmoid=not exclusive, softmax=exclusive, dim=1)


def load(source: str | Path, device: str | torch.device | None = None, revision: str | None = None) -> ReadyModel:
    """Load a trained network, ready to be called with images.

    Args:
        source: folder of a run (fine-tuning, segmentation or pre-training) or of a bundle that `medssl export` wrote;
            or the name of such a bundle on Hugging Face, such as ``somebody/chest_findings``, of which weights and
            description are fetched by huggingface_hub.
        device: that computes; None for a GPU where there is one.
        revision: version on Hugging Face; None for the newest.

    Raises:
        MissingFileError: there is no such folder, or a file is missing in it.
        UserError: it holds no network of ours; or huggingface_hub is not installed, or does not find it.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _fetched(str(source), revision)
    weights = folder / MODEL
    if weights.is_file():
        return ReadyModel(read_description(weights), load_state_dict(weights), str(weights), device)
    model = read_model(folder)
    return ReadyModel(model.description, model.state, str(source), device)


def _built(description: Mapping[str, Any], dims: int, source: str) -> tuple[nn.Module, list[str]]:
    """The network, with random weights, and the names of its outputs."""
    if missing := [key for key in ("architecture", "in_channels") if key not in description]:
        raise UserError(f"{source} has a description without {', '.join(missing)}: it is of no network of medssl.")
    built = (description["architecture"], dims, description["in_channels"])
    if "classes" in description:
        classes = list(description["classes"])
        return build_segmenter(*built, len(classes), 0, description.get("decoder_channels")), classes
    if "labels" in description:
        return build_classifier(*built, len(description["labels"])), list(description["labels"])
    backbone = build_backbone(*built)
    return PooledFeatures(backbone), [f"feature_{number}" for number in range(backbone.out_channels)]


def _fetched(name: str, revision: str | None) -> Path:
    """The folder into which weights and description of a model on Hugging Face are fetched."""
    if not HUB_ID.fullmatch(name):
        raise MissingFileError(f"There is no folder {name}, and it is no name on Hugging Face, such as somebody/model.")
    try:
        from huggingface_hub import snapshot_download  # optional
    except ImportError as error:
        raise UserError(
            f"There is no folder {name}; to fetch it from Hugging Face install huggingface_hub: "
            "pip install 'medssl[hub]'."
        ) from error
    files = [MODEL, str(Path(MODEL).with_suffix(".json"))]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except Exception as error:  # of several packages, for there is no such model, or no network
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"There is no folder {name}, and Hugging Face does not give it ({reason}).") from error
    if not (folder / MODEL).is_file():
        raise MissingFileError(f"{name} on Hugging Face has no {MODEL}: it is no bundle that medssl exported.")
    return folder


def _base(given: list[Path]) -> Path:
    """The folder that images are named relative to while rows are written."""
    folders = [path.resolve() if path.is_dir() else path.parent.resolve() for path in given]
    return Path(os.path.commonpath(folders)) if folders else Path.cwd()


def _as_given(table: pd.DataFrame, given: list[Path], base: Path) -> pd.DataFrame:
    """The rows with images called as they were given, in that order; those of one folder alone as they lie in it."""
    if len(given) == 1 and given[0].is_dir():
        return table
    found = {path.parent.resolve() / path.name if path.is_file() else path.resolve(): path for path in given}
    places = {path: place for place, path in enumerate(found)}
    paths = [
        base.parent if name == base.name and not (base / name).exists() else base / name for name in table["image"]
    ]
    own = [next((start for start in (path, *path.parents) if start in found), path) for path in paths]
    names = [str(found.get(start, start) / path.relative_to(start)) for start, path in zip(own, paths, strict=True)]
    order = sorted(range(len(own)), key=lambda row: places.get(own[row], len(places)))
    return table.assign(image=names).iloc[order].reset_index(drop=True)
