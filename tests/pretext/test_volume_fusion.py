"""Volume fusion against boxes painted one by one, and its loss written out."""

import numpy as np
import pytest
import torch

from medssl.networks import build_backbone
from medssl.phantoms.batch import draw_batch
from medssl.pretext import build_task
from medssl.transforms.boxes import draw_boxes, last_boxes

SIZES = [(14, 9), (7, 9, 8)]
every_size = pytest.mark.parametrize("image_size", SIZES)


@every_size
def test_the_last_box_lies_on_top(image_size: tuple[int, ...]) -> None:
    starts, sides = draw_boxes(3, 52, image_size, (0.1, 0.5), torch.device("cpu"))
    sides[0, 5:] = 0  # no boxes
    found = last_boxes(starts, sides, image_size)
    for image in range(3):
        slow = np.zeros(image_size, dtype=int)
        for number, (start, side) in enumerate(zip(starts[image].tolist(), sides[image].tolist(), strict=True), 1):
            slow[tuple(slice(a, a + b) for a, b in zip(start, side, strict=True))] = number
        np.testing.assert_array_equal(found[image, 0].numpy(), slow)
    assert found.max() == 52
    assert found[0].max() <= 5


@every_size
def test_images_are_mixed_by_the_shares_that_are_asked_for(image_size: tuple[int, ...]) -> None:
    backbone = build_backbone("resnet10_quarter", len(image_size))
    task = build_task("volume_fusion", backbone, image_size, levels=2, boxes=(1, 6), image_channels=2)
    images = torch.randn(5, 2, *image_size)
    inputs, classes = task.puzzle(images)
    assert classes.shape == (5, *image_size)
    assert set(classes.unique().tolist()) == {0, 1, 2}
    assert (classes == 0).float().mean() > 0.2
    for image in range(5):
        share = classes[image] / 2
        mixed = [share * images[image] + (1 - share) * images[other] for other in range(5)]
        right = [other for other in range(5) if torch.allclose(mixed[other], inputs[image], atol=1e-6)]
        assert len(right) == 1
        assert right != [image]


def test_the_loss_is_cross_entropy_and_dice_of_every_class() -> None:
    backbone = build_backbone("resnet10_quarter", 2)
    task = build_task("volume_fusion", backbone, (16, 16))
    images, answers = torch.randn(2, 1, 16, 16), []
    task.head.register_forward_hook(lambda module, inputs, output: answers.append(output.detach().double()))
    torch.manual_seed(2)
    output = task(backbone, images)
    torch.manual_seed(2)
    inputs, classes = task.puzzle(images)
    likely = np.exp(answers[0].numpy())
    likely /= likely.sum(axis=1, keepdims=True)
    entropies = [-np.log(likely[b, classes[b][at], *at]) for b in range(2) for at in np.ndindex(16, 16)]
    dices = []
    for level in range(5):
        there = (classes == level).numpy()
        found = likely[:, level]
        dices.append((2 * (found * there).sum() + 1e-5) / (found.sum() + there.sum() + 1e-5))
    assert output.loss.item() == pytest.approx(np.mean(entropies) + 1 - np.mean(dices), rel=1e-4)
    shares = [(classes == level).float().mean().item() for level in range(5)]
    assert output.metrics["chance"].item() == pytest.approx(max(shares))
    assert torch.equal(output.pictures.panels, inputs)
    low, high = inputs.min(), inputs.max()  # the shares as grey values of the same range
    torch.testing.assert_close(output.pictures.target, low + (high - low) * classes / 4)


def test_a_decoder_for_classes_sees_images_of_their_own_channels() -> None:
    task = build_task("volume_fusion", build_backbone("resnet10_quarter", 2, 2), (32, 32), levels=6, image_channels=2)
    assert task.head.decoder.blocks[-1].convolutions[0].conv.in_channels == 16 + 2
    assert task.head.exit.out_channels == 7


def test_a_puzzle_can_be_learned_by_heart() -> None:
    images = draw_batch((32, 32), 8)
    backbone = build_backbone("resnet10_quarter", 2)
    task = build_task("volume_fusion", backbone, (32, 32), levels=2, boxes=(3, 6), sides=(0.3, 0.6))
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=5e-3, fused=True)
    for _ in range(30):
        torch.manual_seed(0)
        optimizer.zero_grad()
        output = task(backbone, images)
        output.loss.backward()
        optimizer.step()
    assert output.metrics["accuracy"] > output.metrics["chance"] + 0.2, output.metrics
