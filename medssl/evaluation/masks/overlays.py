"""What a network found, drawn over what was outlined, in the images with the best and the worst Dice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import matplotlib
import numpy as np
from ignite.engine import Engine, Events
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from monai.utils import CommonKeys
from torch import Tensor

from medssl.files import whole_file
from medssl.transforms import StoredImage, View

PLANES = ("sagittal", "coronal", "axial")


class Overlays:
    """Draw the images of the best and the worst mean Dice: outlined as a line, found dashed, each class in its colour.

    Of a volume the three planes through the middle of what was outlined are shown. Attach it to the evaluator of an
    evaluation; while that runs, no more than these planes are kept of an image.

    Args:
        path: of the PNG.
        classes: names of the C classes.
        view: what the network sees.
        count: images of either kind.
    """

    def __init__(self, path: str | Path, classes: Sequence[str], view: View, count: int = 2) -> None:
        self.path, self.classes, self.view, self.count = Path(path), list(classes), view, count
        self._kept: list[tuple[float, str, list[tuple[np.ndarray, ...]]]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator, after its postprocessing."""
        engine.add_event_handler(Events.STARTED, self.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def clear(self, engine: Engine) -> None:
        """Forget what was collected before."""
        self._kept.clear()

    def collect(self, engine: Engine) -> None:
        """Keep the images of a batch that are better or worse than those before."""
        output = cast(dict[str, Any], engine.state.output)
        for number, file in enumerate(cast(Any, engine.state.batch)["file"]):
            image, predicted, targets = (output[key][number] for key in (CommonKeys.IMAGE, CommonKeys.PRED, "label"))
            dice = _mean_dice(predicted, targets)
            if dice is not None:
                spacing = StoredImage(file).spacing or [1.0] * (image.ndim - 1)
                shown = self.view.grey_values(image[None])[0, 0]
                self._kept.append((dice, Path(file).stem[:8], _planes(shown, predicted, targets, spacing)))
        self._kept.sort(key=lambda one: one[0])
        if len(self._kept) > 2 * self.count:
            self._kept = self._kept[: self.count] + self._kept[-self.count :]

    def write(self, engine: Engine) -> None:
        """Draw and write the picture; none where no class is there. The first process draws of its own share."""
        if not self._kept or idist.get_rank() > 0:
            return
        rows = self._kept[::-1]
        columns = len(rows[0][2])
        with matplotlib.rc_context({"font.size": 8, "text.parse_math": False}):
            figure = Figure(figsize=(2.4 * columns, 2.5 * len(rows) + 0.4), layout="constrained")
            axes = figure.subplots(len(rows), columns, squeeze=False)
            for row, (dice, name, planes) in zip(axes, rows, strict=True):
                for axis, plane, title in zip(row, planes, PLANES if columns > 1 else [""], strict=True):
                    self._draw(axis, *plane)
                    axis.set_title(title, loc="left")
                row[0].set_title(f"{name}, mean Dice {dice:.2f}\n{PLANES[0] if columns > 1 else ''}", loc="left")
            lines = [Line2D([], [], color=_colour(number)) for number in range(len(self.classes))]
            styles = [Line2D([], [], color="grey"), Line2D([], [], color="grey", linestyle="--")]
            names = [*self.classes, "outlined", "found"]
            figure.legend([*lines, *styles], names, loc="outside lower center", ncols=4, frameon=False)
            with whole_file(self.path) as temporary:
                figure.savefig(temporary, dpi=90, format="png")

    def _draw(self, axis: Axes, image: np.ndarray, found: np.ndarray, there: np.ndarray, aspect: np.ndarray) -> None:
        low, high = np.percentile(image, (0.5, 99.5))
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=float(aspect))
        axis.set_axis_off()
        for number in range(len(self.classes)):
            for mask, style in ((there[number], "-"), (found[number], "--")):
                if mask.any() and not mask.all():
                    axis.contour(mask, [0.5], colors=[_colour(number)], linewidths=0.9, linestyles=style)


def _colour(number: int) -> str:
    return f"C{number % 10}"


def _mean_dice(predicted: Tensor, targets: Tensor) -> float | None:
    """Over the classes that are known everywhere, and there or found."""
    known = targets.flatten(1).isfinite().all(dim=1)
    found, there = predicted.flatten(1)[known].float(), targets.flatten(1)[known]
    sizes = found.sum(dim=1) + there.sum(dim=1)
    dice = (2 * (found * there).sum(dim=1) / sizes)[sizes > 0]
    return float(dice.mean()) if len(dice) else None


def _planes(
    image: Tensor, predicted: Tensor, targets: Tensor, spacing: Sequence[float]
) -> list[tuple[np.ndarray, ...]]:
    """Image, masks and targets of each plane, upright, and the height of a pixel over its width."""
    there = (targets == 1).any(dim=0)
    places = there if there.any() else predicted.any(dim=0)
    middle = places.nonzero().float().mean(dim=0).round().long().tolist()
    if image.ndim == 2:
        arrays = (image, predicted, targets == 1)
        return [(*(array.cpu().float().numpy() for array in arrays), np.array(spacing[0] / spacing[1]))]
    planes = []
    for axis in range(3):
        cut = [each.select(each.ndim - 3 + axis, middle[axis]) for each in (image, predicted, targets == 1)]
        # RAS: the patient's front above (head in the other planes), the right side left, as a radiologist has it.
        upright = [each.transpose(-1, -2).flip(-1, -2).cpu().float().numpy() for each in cut]
        across, up = (side for number, side in enumerate(spacing) if number != axis)
        planes.append((*upright, np.array(up / across)))
    return planes
