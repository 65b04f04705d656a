"""Whole images through a network that sees boxes, held against a loop over them."""

import pytest
import torch
from monai.transforms import NormalizeIntensity, ScaleIntensityRange

from medssl.errors import UserError
from medssl.evaluation import WindowInferer
from medssl.transforms import View


@pytest.mark.parametrize("window", [(-100.0, 300.0), None])
def test_each_box_has_its_own_grey_values(window: tuple[float, float] | None) -> None:
    view, image = View(3, (8, 8, 8), window, (1, 1, 1)), 100 * torch.randn(1, 1, 16, 8, 5)
    joined = WindowInferer(view, overlap=0.0, at_once=1)(image, lambda boxes: 3 * boxes)
    scale = NormalizeIntensity() if window is None else ScaleIntensityRange(*window, b_min=-1, b_max=1, clip=True)
    padded = torch.nn.functional.pad(image, (1, 2), value=view.fill)  # in the middle, as `read_box` has it
    expected = torch.cat([3 * scale(padded[0, :, start : start + 8]) for start in (0, 8)], dim=1)[..., 1:-2]
    torch.testing.assert_close(joined[0], torch.as_tensor(expected), atol=1e-4, rtol=1e-4)


def test_mirrored_boxes_are_mirrored_back() -> None:
    view, image = View(2, (8, 6)), torch.randn(2, 1, 8, 6)
    seen = view.grey_values(image)
    mirrored = WindowInferer(view, mirror=True)(image, lambda boxes: boxes.cumsum(-1))
    expected = (seen.cumsum(-1) + seen.flip(-1).cumsum(-1).flip(-1)) / 2
    torch.testing.assert_close(mirrored, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("values", [{"overlap": 1.0}, {"overlap": -0.1}, {"at_once": 0}])
def test_values_that_mean_nothing_are_refused(values: dict) -> None:
    with pytest.raises(UserError):
        WindowInferer(View(2, (8, 8)), **values)
