"""VoCo: crops and their overlaps against counting voxels, and that places are learned."""

from typing import Any

import pytest
import torch
from torch import Tensor

from medssl.losses import voco
from medssl.networks import build_backbone
from medssl.phantoms.batch import draw_batch
from medssl.pretext import build_task


@pytest.mark.parametrize(
    ("image_size", "grid", "values"),
    [((11, 9), (4, 4), {}), ((9, 8, 5), (4, 4, 1), {"crops": 2}), ((6, 7, 9), (2, 3, 2), {"grid": [2, 3, 2]})],
)
def test_overlaps_are_shares_of_common_voxels(
    image_size: tuple[int, ...], grid: tuple[int, ...], values: dict[str, Any]
) -> None:
    backbone = build_backbone("resnet10_quarter", len(image_size))
    task = build_task("voco", backbone, image_size, **values)
    count = torch.tensor(image_size).prod().item()
    images = torch.arange(5 * count).view(5, 1, *image_size).float()  # a voxel's number says where it is
    tiles, overlaps = task.puzzle(images)
    bases = torch.tensor(grid).prod().item()
    sides = [side // cells for side, cells in zip(image_size, grid, strict=True)]
    assert tiles.shape == (5, bases + values.get("crops", 4), 1, *sides)
    margins = set()
    for image in range(5):
        cells = [set(tile.flatten().tolist()) for tile in tiles[image]]
        assert len(set().union(*cells[:bases])) == bases * len(cells[0])  # none overlaps with another
        margins.add(min(min(cell) for cell in cells[:bases]) % count)
        for k, crop in enumerate(cells[bases:]):
            shares = [len(crop & base) / len(crop) for base in cells[:bases]]
            assert overlaps[image, k].tolist() == pytest.approx(shares)
            assert sum(shares) == pytest.approx(1)
    assert len(margins) > 1 or image_size == (9, 8, 5)


def test_the_loss_is_that_of_all_crops_of_all_images() -> None:
    backbone = build_backbone("resnet10_quarter", 2)
    task = build_task("voco", backbone, (32, 48), grid=[2, 3], weight=0.5)
    images = torch.randn(3, 1, 32, 48)
    torch.manual_seed(4)
    output = task(backbone, images)
    torch.manual_seed(4)
    tiles, overlaps = task.puzzle(images)
    with torch.no_grad():
        embedded = task.projector(backbone(tiles.flatten(0, 1)).flatten(2).mean(dim=2)).view(3, 10, -1)
    loss, similarities = voco(embedded[:, 6:], embedded[:, :6], overlaps, 0.5)
    assert output.loss.item() == pytest.approx(loss.item(), rel=1e-4)
    assert torch.equal(output.pictures.panels, tiles[:, 6:, 0])
    assert task.describe(output.pictures.target[0]).endswith(cell_of(overlaps[0, 0], 3))
    right = (similarities.argmax(dim=2) == overlaps.argmax(dim=2)).float().mean()
    assert output.metrics["accuracy"] == right


def cell_of(shares: Tensor, columns: int) -> str:
    row, column = divmod(shares.tolist().index(max(shares.tolist())), columns)
    return f"{row + 1}, {column + 1}"


def test_places_are_learned() -> None:
    train, unseen = draw_batch((64, 64), 96, 0), draw_batch((64, 64), 32, 1)
    backbone = build_backbone("resnet10_quarter", 2)
    task = build_task("voco", backbone, (64, 64), hidden_channels=128)
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=2e-3, fused=True)
    for _ in range(60):
        optimizer.zero_grad()
        task(backbone, train[torch.randperm(len(train))[:8]]).loss.backward()
        optimizer.step()
    backbone.eval(), task.eval()
    with torch.no_grad():
        metrics = task(backbone, unseen).metrics
    assert metrics["accuracy"] > 4 * metrics["chance"], metrics
