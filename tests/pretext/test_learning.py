"""Does each task learn? A short training on drawn chests and heads, judged on others that it never saw.

The goals leave room: over two or three seeds rotation reached 0.98 and more, the routes and the last tiles at least
twice the goal, RVRM an error of at most 0.012. RVRM stands here in 2D alone: volumes as small as these need some 300
steps of 32 to get as far.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.networks import build_backbone
from medssl.phantoms.batch import draw_batch
from medssl.pretext import build_task, copies_of
from medssl.training import feature_spread

CHEST, HEAD = (64, 64), (32, 32, 16)
Shape = tuple[int, ...]


@pytest.fixture(scope="session")
def phantoms() -> dict[Shape, tuple[Tensor, Tensor]]:
    """Images to train on and others to judge by, for each size."""
    return {size: (draw_batch(size, 128, seed=0), draw_batch(size, 64, seed=1)) for size in (CHEST, HEAD)}


@pytest.mark.parametrize(
    ("name", "image_size", "steps", "batch_size", "goals"),
    [
        ("rotation", CHEST, 30, 16, {"accuracy": 0.9}),
        ("src", CHEST, 40, 16, {"accuracy": 5 / 24}),
        ("mcpc", CHEST, 50, 16, {"accuracy": 6 / (16 * 5)}),
        ("rvrm", CHEST, 100, 32, {"error": 1 / 12 / 4}),  # a quarter of the variance of λ
        pytest.param(
            "rvrm, siamese", CHEST, 60, 32, {"accuracy": 3 / 32, "error": 1 / 12 * 0.9}, marks=pytest.mark.slow
        ),
        ("mim", CHEST, 40, 16, {"hidden_error": 0.6}),
        ("inpainting", CHEST, 40, 16, {"error": 0.6}),
        pytest.param("models_genesis", CHEST, 40, 16, {"error": 0.7}, marks=pytest.mark.slow),
        ("jigsaw", CHEST, 60, 16, {"accuracy": 8 / 64}),
        ("rubiks_cube", CHEST, 60, 16, {"accuracy": 5 / 24, "turn_accuracy": 0.8}),
        pytest.param("cpc", CHEST, 30, 8, {"accuracy": 8 / (8 * 49)}, marks=pytest.mark.slow),
        pytest.param("rotation", HEAD, 45, 16, {"accuracy": 0.9}, marks=pytest.mark.slow),
        ("sc_assl", HEAD, 50, 8, {"accuracy": 5 / 48, "mcpc_accuracy": 4 / (8 * 7)}),
    ],
)
def test_a_task_learns(
    name: str,
    image_size: Shape,
    steps: int,
    batch_size: int,
    goals: dict[str, float],
    phantoms: dict[Shape, tuple[Tensor, Tensor]],
) -> None:
    train, unseen = phantoms[image_size]
    name, *form = name.split(", ")
    values = {"form": form[0], "view": {"scale": (0.5, 1.0)}} if form else {}
    backbone = build_backbone("resnet10_quarter", len(image_size), in_channels=copies_of({name: values}))
    task = build_task(name, backbone, image_size, **values)
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        task(backbone, train[torch.randperm(len(train))[:batch_size]]).loss.backward()
        optimizer.step()
        schedule.step()
    backbone.eval()
    with torch.no_grad():
        outputs = [task(backbone, batch) for _ in range(2) for batch in unseen.split(batch_size)]
    reached = {key: torch.stack([output.metrics[key] for output in outputs]).mean().item() for key in goals}
    for key, goal in goals.items():
        assert reached[key] < goal if key.endswith("error") else reached[key] > goal, reached


def test_simclr_tells_the_views_of_unseen_images_apart_better_than_before(
    phantoms: dict[Shape, tuple[Tensor, Tensor]],
) -> None:
    train, unseen = (F.avg_pool2d(images, 2) for images in phantoms[CHEST])
    backbone = build_backbone("resnet10_quarter", 2)
    # Normal phantoms differ little: crops of a fifth of the image, the default, leave too little to tell them by.
    task = build_task("simclr", backbone, (32, 32), view={"scale": (0.5, 1.0)})
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=1e-3, fused=True)

    def loss() -> float:
        backbone.eval()
        with torch.no_grad():
            losses = [task(backbone, batch).loss for _ in range(4) for batch in unseen.split(16)]
        backbone.train()
        return torch.stack(losses).mean().item()

    before = loss()
    for _ in range(100):
        optimizer.zero_grad()
        task(backbone, train[torch.randperm(len(train))[:16]]).loss.backward()
        optimizer.step()
    assert loss() < before - 0.15


@pytest.mark.slow
def test_simsiam_does_not_collapse_in_300_steps(phantoms: dict[Shape, tuple[Tensor, Tensor]]) -> None:
    train, unseen = (F.avg_pool2d(images, 2) for images in phantoms[CHEST])
    backbone = build_backbone("resnet10_quarter", 2)
    task = build_task("simsiam", backbone, (32, 32), hidden_channels=128, out_channels=256)
    # At 1e-2 the processor's way of rounding decides what comes of it.
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=3e-3, fused=True)
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        losses.append(task(backbone, train[torch.randperm(len(train))[:16]]).loss)
        losses[-1].backward()
        optimizer.step()
    assert torch.stack(losses[-20:]).mean() < -0.35  # it did learn to predict; at first the mean is 0
    backbone.eval()
    task.eval()
    with torch.no_grad():
        assert task(backbone, unseen).metrics["spread"] > 0.2
        assert feature_spread(backbone.pool(backbone(unseen))) > 0.2
