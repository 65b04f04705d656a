"""The picture of a puzzle: panels as they are, volumes by their middle slice, captions of question and answer."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from medssl.networks import build_backbone
from medssl.pretext import TASKS, Pictures, build_task
from medssl.training import draw_puzzles
from medssl.training.pictures import middle_slice


def pixels_of_figure(figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


@pytest.mark.parametrize("name", list(TASKS))
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_puzzle_can_be_drawn(name: str, spatial_dims: int) -> None:
    backbone = build_backbone("resnet18", spatial_dims, in_channels=3)
    task = build_task(name, backbone, [24] * spatial_dims)
    output = task(backbone, torch.randn(6, 1, *[24] * spatial_dims))
    figure = draw_puzzles(output.pictures, task.describe, spatial_dims, title=f"{name}, epoch 1")
    panels = output.pictures.panels
    shown = [axis.get_images()[0].get_array() for axis in figure.axes]
    assert len(shown) == 4 * panels.shape[1]  # the first four puzzles of the batch
    slices = panels if spatial_dims == 2 else middle_slice(panels)
    for row in range(4):
        for column in range(panels.shape[1]):
            drawn = shown[row * panels.shape[1] + column]
            np.testing.assert_array_equal(np.asarray(drawn), slices[row, column].numpy())
        caption = figure.axes[row * panels.shape[1]].get_title(loc="left")
        assert caption.startswith(task.describe(output.pictures.target[row]))
        assert caption.endswith(f"answered: {task.describe(output.pictures.answer[row])}")
    assert pixels_of_figure(figure).std() > 0


def test_small_batches_half_precision_and_missing_answers_can_be_drawn() -> None:
    pictures = Pictures(torch.randn(1, 2, 8, 8, dtype=torch.bfloat16), torch.tensor([1]))
    figure = draw_puzzles(pictures, lambda target: f"class {target.item()}", spatial_dims=2)
    assert len(figure.axes) == 2
    assert figure.axes[0].get_title(loc="left") == "class 1"
    constant = Pictures(torch.zeros(1, 1, 8, 8), torch.tensor([0]))
    assert pixels_of_figure(draw_puzzles(constant, str, spatial_dims=2)).size > 0


def test_the_middle_slice_shows_the_patient_upright() -> None:
    # In RAS order x grows to the patient's right (left on the picture), y to the front (up), z to the head.
    volume = torch.zeros(5, 6, 7)
    volume[4, 5, 3] = 1  # right, front, middle
    volume[0, 0, 3] = 2  # left, back, middle
    volume[0, 0, 4] = 9  # another slice
    picture = middle_slice(volume)
    assert picture.shape == (6, 5)
    assert picture[0, 0] == 1  # top left
    assert picture[-1, -1] == 2  # bottom right
    assert picture.max() == 2
