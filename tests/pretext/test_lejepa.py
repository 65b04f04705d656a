"""LeJEPA: its loss is that of its embeddings, of as many views as are asked for, and it does not collapse."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from medssl.losses import lejepa
from medssl.networks import build_backbone
from medssl.phantoms.batch import draw_batch
from medssl.pretext import build_task

SAME_VIEW: dict[str, Any] = {"scale": (1, 1), "ratio": (1, 1), "mirror_axes": (), "jitter": 0, "blur": 0}


@pytest.mark.parametrize("image_size", [(24, 26), (16, 14, 12)])
@pytest.mark.parametrize("views", [2, 5])
def test_the_loss_is_that_of_all_views(views: int, image_size: tuple[int, ...]) -> None:
    backbone = build_backbone("resnet10_quarter", len(image_size))
    task = build_task("lejepa", backbone, image_size, views=views, hidden_channels=32, directions=7, weight=0.1)
    images = torch.randn(4, 1, *image_size)
    torch.manual_seed(5)
    output = task(backbone, images)
    torch.manual_seed(5)
    shown, directions = task.puzzle(images)
    assert len(shown) == views * 4
    assert directions.shape == (16, 7)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(7))
    with torch.no_grad():
        embedded = task.projector(backbone(shown).flatten(2).mean(dim=2))
    # The views of image b are rows b, b + 4, …
    rows = torch.stack([embedded[4 * view : 4 * view + 4] for view in range(views)])
    assert output.loss.item() == pytest.approx(lejepa(rows, directions, 0.1).item(), rel=1e-4)
    assert output.pictures.panels.shape == (4, views, *image_size)
    torch.testing.assert_close(output.pictures.panels[2, 1], shown[4 + 2, 0])


def test_further_views_are_of_partners_drawn_anew() -> None:
    backbone = build_backbone("resnet10_quarter", 2)
    task = build_task("lejepa", backbone, (16, 16), positives="patient", view=SAME_VIEW, views=9)
    images, groups = torch.randn(4, 1, 16, 16), torch.tensor([1, 1, 1, 2])
    views = task.puzzle(images, {"patient": groups})[0].unflatten(0, (9, 4))
    torch.testing.assert_close(views[:, 3], images[3].expand(9, 1, 16, 16), rtol=0, atol=1e-4)  # alone
    partners = {(view - images[:3]).abs().flatten(1).sum(dim=1).argmin().item() for view in views[1:, 0]}
    assert partners == {1, 2}


def test_views_agree_after_50_steps_and_images_do_not_collapse() -> None:
    train, unseen = (F.avg_pool2d(draw_batch((64, 64), count, seed), 2) for count, seed in ((128, 0), (64, 1)))
    backbone = build_backbone("resnet10_quarter", 2)
    # Normal phantoms differ little: small crops leave too little to tell them by.
    task = build_task("lejepa", backbone, (32, 32), hidden_channels=128, directions=64, view={"scale": (0.5, 1.0)})
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=3e-3, fused=True)

    def judged() -> tuple[float, float]:
        """The share of the variance that lies within an image, and the spread."""
        with torch.no_grad():
            views, _ = task.puzzle(unseen)
            embeddings = task.projector(backbone.pool(backbone(views))).unflatten(0, (task.views, len(unseen)))
            within = embeddings.var(dim=0).mean() / embeddings.flatten(0, 1).var(dim=0).mean()
            return within.item(), task(backbone, unseen).metrics["spread"].item()

    assert judged()[0] > 0.8
    for _ in range(50):
        optimizer.zero_grad()
        task(backbone, train[torch.randperm(len(train))[:16]]).loss.backward()
        optimizer.step()
    within, spread = judged()
    assert within < 0.6  # 0.3 was reached
    assert spread > 0.5  # 0.8 was
