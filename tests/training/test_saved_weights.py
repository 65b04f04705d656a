"""The weights that a run leaves behind: the backbone folded; and a disk that is full."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from medssl.networks import build_backbone, build_segmenter, load_backbone_weights, read_description
from medssl.pretext import PretextModel, build_pretext_model, build_task, copies_of
from medssl.training import MetricsFile, SaveBackbone, ValidationKeeper


def test_the_backbone_is_saved_folded_after_every_epoch(tmp_path: Path) -> None:
    backbone = build_backbone("resnet18", 2, in_channels=3).eval()
    handler = SaveBackbone(tmp_path, backbone, copies=3, description={"tasks": ["rvrm"]})
    engine = Engine(lambda engine, batch: None)
    handler.attach(engine)
    engine.run([0], max_epochs=2)
    description = read_description(tmp_path / "backbone.pt")
    assert (description["epochs"], description["tasks"]) == (2, ["rvrm"])
    single = build_backbone("resnet18", 2).eval()
    load_backbone_weights(single.network, tmp_path / "backbone.pt")
    image = torch.randn(1, 1, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(single(image), backbone(image), rtol=1e-5, atol=1e-5)


def test_some_backbones_are_kept_with_their_heads_the_random_one_first(tmp_path: Path) -> None:
    backbone = build_backbone("resnet18", 2, in_channels=3)
    model = PretextModel(backbone, {"rvrm": build_task("rvrm", backbone, (32, 32))})
    bias = model.tasks["rvrm"].get_parameter("head.bias")
    first = backbone.network.conv1.weight.detach().clone()  # type: ignore[union-attr]
    handler = SaveBackbone(tmp_path, backbone, copies=3, keep_every=2, model=model)

    def step(engine: Engine, batch: Any) -> None:
        nn.init.constant_(bias, engine.state.epoch)
        nn.init.constant_(backbone.network.conv1.weight, engine.state.epoch)  # type: ignore[union-attr, arg-type]

    engine = Engine(step)
    handler.attach(engine)
    engine.run([0], max_epochs=5)
    names = [f"epoch_{epoch:04d}" for epoch in (0, 2, 4, 5)]
    assert sorted(path.name for path in (tmp_path / "backbones").glob("*.pt")) == [f"{name}.pt" for name in names]
    assert sorted(os.listdir(tmp_path / "pretext_models")) == [f"{name}.pt" for name in names]
    folded = torch.load(tmp_path / "backbones" / "epoch_0000.pt", weights_only=True)["conv1.weight"]
    torch.testing.assert_close(folded[:, 0], first.sum(dim=1))
    for name in names[1:]:
        epoch = read_description(tmp_path / "backbones" / f"{name}.pt")["epochs"]
        assert name == f"epoch_{epoch:04d}"
        assert (torch.load(tmp_path / "backbones" / f"{name}.pt", weights_only=True)["conv1.weight"] == 3 * epoch).all()
        assert (
            torch.load(tmp_path / "pretext_models" / f"{name}.pt", weights_only=True)["tasks.rvrm.head.bias"] == epoch
        ).all()


@pytest.mark.parametrize("tasks", [["mim"], ["rvrm", "models_genesis", "mim"], ["rotation"]], ids=",".join)
def test_the_decoder_of_the_first_task_that_trains_one_is_kept_and_a_segmenter_begins_with_it(
    tasks: list[str], tmp_path: Path
) -> None:
    copies = copies_of(tasks)
    backbone = build_backbone("resnet10_quarter", 2, copies)
    values: Any = {name: {"decoder": "pyramid"} if name in ("mim", "models_genesis") else {} for name in tasks}
    model = build_pretext_model(backbone, (32, 32), values)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step(engine: Engine, batch: Any) -> None:
        optimizer.zero_grad()
        model(torch.randn(4, 1, 32, 32)).loss.backward()
        optimizer.step()

    engine = Engine(step)
    SaveBackbone(tmp_path, backbone, copies, model=model).attach(engine)
    engine.run([0], max_epochs=2)
    segmenter = build_segmenter("resnet10_quarter", 2, 1, 2)
    load_backbone_weights(segmenter, tmp_path)
    assert (tmp_path / "decoder.pt").exists() == ("decoder" in read_description(tmp_path / "backbone.pt"))
    if tasks == ["rotation"]:
        assert not (tmp_path / "decoder.pt").exists()
        return
    trained = next(task for task in tasks if values[task])
    for key, value in segmenter.decoder.state_dict().items():
        assert torch.equal(value, model.state_dict()[f"tasks.{trained}.head.decoder.{key}"])
    # As the pretext model saw its images, the segmenter sees them: the copies folded, the decoder's features the same.
    images = torch.randn(2, 1, 32, 40)
    head: Any = model.tasks[trained].head
    with torch.no_grad():
        backbone.eval(), segmenter.eval(), model.eval()
        expected = head.decoder(images, backbone.pyramid(images))
        found = segmenter.decoder(images, segmenter.pyramid(segmenter.backbone, images))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
@pytest.mark.parametrize("name", ["model.pt", "model.json", "backbone.pt", "metrics.json"])
def test_a_full_disk_is_called_so_and_leaves_the_file_before(name: str, tmp_path: Path) -> None:
    network = build_backbone("resnet18", 2)
    write: Any = {
        "backbone.pt": SaveBackbone(tmp_path, network),
        "metrics.json": MetricsFile(tmp_path),
    }.get(name, ValidationKeeper(tmp_path, network, {"labels": ["Mass"]}))
    engine = Engine(lambda engine, batch: None)
    for score in (0.5, 0.6):
        engine.state.metrics["val_mAUROC"] = score
        if score == 0.6:
            before = (tmp_path / name).read_bytes()
            # Linux's file that is always full, under the temporary name that is written to.
            (tmp_path / f".{os.getpid()}-{threading.get_ident()}.{name}").symlink_to("/dev/full")
            with pytest.raises(ValueError, match=rf"{name} could not be written .*Free some space"):
                write(engine)
        else:
            write(engine)
    assert (tmp_path / name).read_bytes() == before
