"""Grad-CAM panels: where in the image the network found what it says (Selvaraju et al. 2017), one picture a split."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, cast

import ignite.distributed as idist
import matplotlib
import numpy as np
import torch
from ignite.engine import Engine, Events
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from monai.networks import eval_mode
from monai.utils import CommonKeys
from monai.visualize import GradCAM
from torch import Tensor, nn

from medssl.files import whole_file
from medssl.networks import last_map_layer

from .predictions_metric import LOGITS
from .temperature import Calibration

OUTCOMES = {1: "positive", 0: "negative"}


def grad_cam(network: nn.Module, architecture: str, image: Tensor, class_index: int) -> Tensor:
    """MONAI's Grad-CAM of one class: what raises its logit, and where.

    The network is left as it is: a copy is asked, for MONAI's hooks stay in a network and its gradients with them.

    Args:
        network: as `medssl.networks.build_classifier` makes it.
        architecture: its name, a key of `ARCHITECTURES`.
        image: `[1, *spatial]`, as the network was trained on.
        class_index: of the logit.

    Returns:
        `[*spatial]`, 0 to 1 where it is largest; 0 everywhere when nothing in the image raises the logit.

    Raises:
        UserError: for an unknown architecture.
    """
    # The weights need no gradients; the image's reaches the feature map even where the backbone is frozen.
    copy = deepcopy(network).requires_grad_(False)
    # MONAI's own scaling turns the map round (0 is where it is largest) and hides that a map is 0 everywhere.
    explain = GradCAM(copy, last_map_layer(architecture), postprocessing=lambda cam: cam)
    with torch.enable_grad():
        cam: Tensor = explain(image[None].detach().requires_grad_(), class_idx=class_index)[0, 0].detach()
    return cam / cam.max() if cam.max() > 0 else cam


def telling_box(network: nn.Module, boxes: Tensor, class_index: int) -> Tensor:
    """Of N boxes of an image ``[N, *spatial]`` the one with the highest logit of a class, ``[1, *spatial]``."""
    if len(boxes) == 1:
        return boxes
    with eval_mode(network):
        logits = torch.stack([network(box[None, None])[0, class_index] for box in boxes])
    return boxes[int(logits.argmax())][None]


class _Candidate(NamedTuple):
    """An image of a class: what the network gave it, and it."""

    probability: float
    image: Tensor
    logits: np.ndarray | None
    """``[K]``, of all classes."""


class GradCAMPanels:
    """Draw, for each class, the known positive and the known negative image of the highest probability with their maps.

    Attach it to the evaluator of an evaluation. While that runs, only the best images so far are kept (2 K of them,
    however large the data set); the maps are computed when it has ended. Probabilities are shown as the calibration in
    the picture's folder has them, where the evaluator's output has `LOGITS`: attach it behind `EvaluationFiles`.

    Args:
        path: of the PNG, in the run's folder.
        network: that the evaluator runs, as `medssl.networks.build_classifier` makes it.
        architecture: its name, a key of `ARCHITECTURES`.
        labels: names of the K classes.
        spatial_dims: 2 or 3; volumes are shown by the axial slice in which the map is largest.

    Raises:
        UserError: for an unknown architecture.
    """

    def __init__(
        self, path: str | Path, network: nn.Module, architecture: str, labels: Sequence[str], spatial_dims: int
    ) -> None:
        last_map_layer(architecture)  # a mistake is named before the evaluation, not after it
        self.path = Path(path)
        self.network = network
        self.architecture = architecture
        self.labels = list(labels)
        self.spatial_dims = spatial_dims
        self._best: dict[tuple[int, int], _Candidate] = {}

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator, after its postprocessing."""
        engine.add_event_handler(Events.STARTED, self.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def clear(self, engine: Engine) -> None:
        """Forget what was collected before."""
        self._best.clear()

    def collect(self, engine: Engine) -> None:
        """Keep the images of a batch that are better than those before."""
        output = cast(dict[str, Any], engine.state.output)
        probabilities, labels = output[CommonKeys.PRED].float(), output[CommonKeys.LABEL]
        for outcome in OUTCOMES:
            of_outcome = probabilities.masked_fill(labels != outcome, float("-inf"))  # NaN, unknown, equals neither
            values, rows = (column.tolist() for column in of_outcome.max(dim=0))
            for index, (value, row) in enumerate(zip(values, rows, strict=True)):
                best = self._best.get((index, outcome))
                if value > (best.probability if best else float("-inf")):
                    image = output[CommonKeys.IMAGE][row].detach().clone()  # a view would keep the whole batch
                    logits = output[LOGITS][row].detach().float().cpu().numpy() if LOGITS in output else None
                    self._best[index, outcome] = _Candidate(value, image, logits)

    def write(self, engine: Engine) -> None:
        """Compute the maps, draw and write the picture; none where no label is known.

        In a distributed evaluation the first process draws the best images of its own share.
        """
        shown = [
            index for index in range(len(self.labels)) if any((index, outcome) in self._best for outcome in OUTCOMES)
        ]
        if not shown or idist.get_rank() > 0:
            return
        calibration = Calibration.read(self.path.parent)
        with matplotlib.rc_context({"font.size": 8, "text.parse_math": False}):
            figure = Figure(figsize=(7.2, 1.95 * len(shown)), layout="constrained")
            axes = figure.subplots(len(shown), 2 * len(OUTCOMES), squeeze=False)
            for row, index in zip(axes, shown, strict=True):
                for pair, (outcome, word) in zip((row[:2], row[2:]), OUTCOMES.items(), strict=True):
                    self._draw(pair, index, outcome, word, calibration)
            with whole_file(self.path) as temporary:
                figure.savefig(temporary, dpi=100, format="png")

    def _draw(self, axes: Sequence[Axes], index: int, outcome: int, word: str, calibration: Calibration | None) -> None:
        for axis in axes:
            axis.set_axis_off()
        if (index, outcome) not in self._best:
            axes[0].set_title(f"{self.labels[index]}\nno known {word} image", loc="left")
            return
        probability, candidate, logits = self._best[index, outcome]
        if calibration and logits is not None:
            probability = calibration.probabilities(logits[None])[0, index]
        box = telling_box(self.network, candidate, index)
        cam = grad_cam(self.network, self.architecture, box, index)
        image, overlay = flat_view(box[0].float().cpu(), cam.cpu(), self.spatial_dims)
        low, high = np.percentile(image, (0.5, 99.5))  # a bright marker would darken everything else
        for axis in axes:
            axis.imshow(image, cmap="gray", vmin=low, vmax=high)
        axes[1].imshow(overlay, cmap="inferno", vmin=0, vmax=1, alpha=0.6 * overlay)
        axes[0].set_title(f"{self.labels[index]}\n{word}, predicted {probability:.2f}", loc="left")
        axes[1].set_title("Grad-CAM" if overlay.any() else "Grad-CAM:\nnothing raises it", loc="left")


def flat_view(image: Tensor, cam: Tensor, spatial_dims: int) -> tuple[np.ndarray, np.ndarray]:
    """What to show of an image and its map, both `[*spatial]`, as `[rows, columns]`.

    Of volumes (RAS) it is the axial slice in which the map is largest, the patient's front above, the right side left.
    """
    if spatial_dims == 3:
        level = int(cam.amax(dim=(0, 1)).argmax()) if cam.any() else cam.shape[2] // 2
        image, cam = (volume[..., level].transpose(0, 1).flip(0, 1) for volume in (image, cam))
    return image.numpy(), cam.numpy()
