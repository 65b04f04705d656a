"""A newcomer is one file and one line of a registry: a task, a backbone, a figure and a form of table that nothing else
knows go all the way.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.data.tables import FORMS, read_table, table
from medssl.data.tables.form import Form
from medssl.evaluation import Predictions, figures
from medssl.evaluation.figures import _Statistics
from medssl.evaluation.grad_cam import grad_cam
from medssl.files import write_json
from medssl.networks import (
    ARCHITECTURES,
    Architecture,
    Backbone,
    build_backbone,
    build_classifier,
    fast_layout,
    save_backbone,
)
from medssl.pretext import TASKS, Pictures, PretextOutput, PretextTask, build_pretext_model, copies_of
from medssl.report.split_figures import SplitFigures
from medssl.report.story import results
from medssl.runs import METRICS, Run
from medssl.studies import gallery
from medssl.training import check_batches, needs_synced_statistics


class Twins(PretextTask):
    """Do the two images on the channel axis show the same patient? Asked of all pairs of a mini-batch."""

    question = "the same patient?"
    smallest_batch = 5
    compares_images = True
    copies = 2

    def __init__(self, backbone: Backbone, image_size: Any) -> None:
        super().__init__()
        assert backbone.in_channels == self.copies

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([images, images.flip(0)], dim=1), torch.arange(len(images))

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        inputs, target = self.puzzle(images)
        features = F.normalize(backbone.pool(backbone(inputs)), dim=1)
        loss = F.cross_entropy(features @ features.T, target)
        return PretextOutput(loss, {}, Pictures(inputs[:, None, 0], target, target))


class TwoLayers(nn.Module):
    """A network whose last map has a name of its own."""

    def __init__(self, spatial_dims: int, channels: int, classes: int) -> None:
        super().__init__()
        convolution = (nn.Conv2d, nn.Conv3d)[spatial_dims - 2]
        self.deep = nn.Sequential(convolution(channels, 4, 3, stride=2, padding=1), nn.ReLU())
        self.answer = nn.Linear(4, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(self.deep(images).flatten(2).mean(2))


@pytest.fixture
def newcomers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "twins", Twins)
    architecture = Architecture(
        target="elsewhere.TwoLayers",
        build=TwoLayers,
        names={"in_channels": "channels", "out_channels": "classes"},
        defaults={},
        pyramid=lambda network, images: [network.deep(images)],
        channels=(4,),
        strides=(2,),
        last_map="deep",
        head="answer",
        smallest_side=1,
        channels_last=(2,),
    )
    monkeypatch.setitem(ARCHITECTURES, "two_layers", architecture)


@pytest.mark.usefixtures("newcomers")
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_new_task_and_a_new_backbone_are_known_everywhere(spatial_dims: int) -> None:
    backbone = build_backbone("two_layers", spatial_dims, in_channels=copies_of("rotation,twins"))
    model = build_pretext_model(backbone, [8] * spatial_dims, "twins")
    model(torch.rand(5, 1, *[8] * spatial_dims)).loss.backward()
    assert needs_synced_statistics(model, batch_size=64)
    loader: Any = torch.utils.data.DataLoader(torch.zeros(4), batch_size=4)
    with pytest.raises(ValueError, match="twins needs at least 5 images"):
        check_batches(model, loader)

    network = build_classifier("two_layers", spatial_dims, 1, 3).to(
        memory_format=fast_layout("two_layers", spatial_dims)
    )
    cam = grad_cam(network.eval(), "two_layers", torch.rand(1, *[8] * spatial_dims), 0)
    assert cam.shape == (8,) * spatial_dims


@pytest.mark.usefixtures("newcomers")
def test_the_gallery_draws_a_new_task_with_its_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "CHEST", (32, 32))
    monkeypatch.setattr(gallery, "HEAD", (16, 16, 16))
    gallery.draw_gallery(tmp_path / "puzzles.png", tasks=("rotation", "rvrm", "src", "twins"))
    assert (tmp_path / "puzzles.png").stat().st_size > 5000


def test_a_network_to_differ_from_is_compared_over_the_mini_batch(tmp_path: Path) -> None:
    backbone = build_backbone("resnet10_quarter", 2)
    save_backbone(backbone, tmp_path / "backbone.pt", tasks=["rotation"], image_size=[32, 32])
    assert not needs_synced_statistics(build_pretext_model(backbone, (32, 32), "rotation"), 64)
    model = build_pretext_model(backbone, (32, 32), "rotation", first=tmp_path)
    assert needs_synced_statistics(model, 64)


def test_a_new_figure_is_in_the_file_the_page_and_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = _Statistics.__call__

    def with_youden(self: _Statistics, weights: np.ndarray) -> dict[str, np.ndarray]:
        values = known(self, weights)
        return {**values, "youden_index": values["sensitivity"] + values["specificity"] - 1}

    monkeypatch.setattr(_Statistics, "__call__", with_youden)
    scores, labels = np.array([[0.9], [0.4], [0.2], [0.1]]), np.array([[1.0], [1.0], [0.0], [np.nan]])
    found = figures(Predictions([*"1234"], [*"abcd"], ["Mass"], scores, labels), [0.5], resamples=20)
    assert found["classes"]["Mass"]["youden_index"][0] == 0.5  # one of two found, the one negative cleared

    write_json(tmp_path / METRICS, {"split": "test", "splits": {"test": found}})
    told = SplitFigures.read(Run.read(tmp_path))
    assert told is not None
    assert told.triples()["Youden index Mass"][0] == 0.5  # type: ignore[index] -- as the metadata of an export have it
    (part,) = (part for part in results(told) if hasattr(part, "header"))  # which page and model card show
    place = part.header.index("Youden index")
    assert part.rows[1][place].startswith("0.500")


def test_a_new_form_of_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = Form(
        name="the registry of Springfield",
        recognises=lambda cells: "Scan-Nr" in cells,
        columns={"image": "Scan-Nr", "patient": "Who"},
        labels=("Oedema", "Mass"),
        modality="DX",
    )
    monkeypatch.setattr(table, "FORMS", (form, *FORMS))
    csv = tmp_path / "springfield.csv"
    csv.write_text("Scan-Nr,Who,Ward,Oedema,Mass\n17.png,bart,B,1,\n18.png,lisa,C,0,1\n")
    read = read_table(csv)
    assert read.labels == ["Oedema", "Mass"]
    assert read.rows[["image", "patient"]].to_numpy().tolist() == [["17.png", "bart"], ["18.png", "lisa"]]
