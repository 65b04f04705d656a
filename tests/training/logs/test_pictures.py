"""The picture of a puzzle: panels as they are, volumes by their middle slice, captions of question and answer."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from medssl.networks import build_backbone
from medssl.pretext import TASKS, Pictures, build_task
from medssl.training import draw_puzzles
from medssl.training.logs.pictures import middle_slice, montage


def pixels_of_figure(figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.needs])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_puzzle_can_be_drawn(name: str, spatial_dims: int) -> None:
    side = 32
    architecture = "vit_tiny" if name == "mae" else "resnet10_quarter"
    backbone = build_backbone(architecture, spatial_dims, in_channels=3)
    task = build_task(name, backbone, [side] * spatial_dims)
    pictures = task(backbone, torch.randn(5, 1, *[side] * spatial_dims)).pictures
    figure = draw_puzzles(pictures, task.describe, spatial_dims, title=f"{name}, epoch 1")
    columns = 3 if pictures.answered_by_images else 1
    assert len(figure.axes) == 4 * columns  # the first four puzzles of the batch
    for row in range(4):
        axes = figure.axes[row * columns : (row + 1) * columns]
        shown = [np.asarray(axis.get_images()[0].get_array()) for axis in axes]
        flat = [pictures.panels[row]]
        if pictures.answered_by_images:
            flat += [pictures.answer[row][None], pictures.target[row][None]]
            assert [axis.get_title(loc="left") for axis in axes] == ["puzzle", "answered", "should be"]
        else:
            caption = axes[0].get_title(loc="left")
            assert caption.startswith(task.describe(pictures.target[row]))
            assert caption.endswith(f"answered: {task.describe(pictures.answer[row])}")
        for drawn, panels in zip(shown, flat, strict=True):
            slices = panels if spatial_dims == 2 else middle_slice(panels)
            np.testing.assert_array_equal(drawn, montage(slices.detach()).numpy())
    assert pixels_of_figure(figure).std() > 0


@pytest.mark.parametrize(("count", "across"), [(1, 1), (3, 3), (7, 7), (8, 4), (9, 3), (27, 9)])
def test_a_montage_shows_every_panel_once_in_reading_order(count: int, across: int) -> None:
    panels = torch.randn(count, 5, 8)
    image = montage(panels).numpy()
    gaps_down, gaps_right = np.isnan(image).all(axis=1), np.isnan(image).all(axis=0)
    assert gaps_right.sum() == across - 1
    assert gaps_down.sum() == count // across - 1
    whole = image[~gaps_down][:, ~gaps_right]
    assert not np.isnan(whole).any()
    for number, panel in enumerate(panels.numpy()):
        row, column = divmod(number, across)
        np.testing.assert_array_equal(whole[5 * row : 5 * row + 5, 8 * column : 8 * column + 8], panel)


def test_small_batches_half_precision_and_missing_answers_can_be_drawn() -> None:
    pictures = Pictures(torch.randn(1, 2, 8, 8, dtype=torch.bfloat16), torch.tensor([1]))
    figure = draw_puzzles(pictures, lambda target: f"class {target.item()}", spatial_dims=2)
    assert len(figure.axes) == 1
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
