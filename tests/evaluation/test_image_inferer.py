"""The logits of an image from its boxes and its mirror image, against loops over both."""

import pytest
import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.evaluation import Calibration, ImageInferer
from medssl.evaluation.temperature import ClassCalibration
from medssl.networks import build_classifier
from medssl.transforms import ClinicalAugmentation


def classifier(dims: int) -> nn.Module:
    network = build_classifier("resnet10_quarter", dims, 1, 3)
    return network.eval()


@pytest.mark.parametrize("at_once", [0, 2, 100])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("pooling", ["max", "mean"])
@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_an_images_logits_are_those_of_its_boxes_joined(dims: int, pooling: str, mirror: bool, at_once: int) -> None:
    network, images = classifier(dims), torch.randn(2, 3, *[16, 24, 32][:dims])
    found = ImageInferer(mirror, pooling, at_once)(images, network)
    for image, row in zip(images, found, strict=True):
        each = []
        for box in image:
            logits = network(box[None, None])[0]
            if mirror:  # columns of a radiograph; X of a volume
                flipped = box.flip(1) if dims == 2 else box.flip(0)
                logits = (logits + network(flipped[None, None])[0]) / 2
            each.append(logits)
        joined = torch.stack(each)
        torch.testing.assert_close(row, joined.max(dim=0).values if pooling == "max" else joined.mean(dim=0))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_mirrored_axis_is_that_of_the_augmentation_of_training(dims: int) -> None:
    images = torch.randn(1, 1, *[8] * dims)
    seen: list[Tensor] = []

    def network(boxes: Tensor) -> Tensor:
        seen.append(boxes)
        return boxes.flatten(1)[:, :2]

    ImageInferer(mirror=True)(images, network)
    mirroring = ClinicalAugmentation(rotate_range=0, translate_range=0, scale_range=0, intensity_range=0)
    changed = [mirroring(images) for _ in range(20)]
    assert any(torch.allclose(seen[1], each, atol=1e-4) for each in changed)
    assert not any(torch.allclose(seen[1].transpose(2, 3), each, atol=1e-4) for each in changed)


@pytest.mark.parametrize("pooling", ["max", "mean"])
@torch.no_grad()
def test_calibrated_before_or_after_it_is_the_same(pooling: str) -> None:
    network, images = classifier(2), torch.randn(4, 3, 32, 32)
    inferer = ImageInferer(mirror=True, pooling=pooling)
    classes = {name: ClassCalibration(1.5 + number, 0.3 - number) for number, name in enumerate("abc")}
    calibration = Calibration(False, classes)
    logits = inferer(images, network)
    after = logits / torch.tensor(calibration.temperatures) + torch.tensor(calibration.biases)
    calibration.fold(network)
    torch.testing.assert_close(inferer(images, network), after.float(), rtol=1e-4, atol=1e-5)


def test_another_pooling_is_refused() -> None:
    with pytest.raises(UserError, match="median"):
        ImageInferer(pooling="median")
