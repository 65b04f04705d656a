"""Which runs need synchronised statistics, and what several processes are told when they cannot begin."""

import pytest
import torch
from torch import nn

from medssl.networks import build_backbone, build_classifier
from medssl.pretext import PretextModel, build_task
from medssl.training import begin_distributed, distribute, needs_synced_statistics


@pytest.mark.parametrize(
    ("tasks", "batch_size", "expected"),
    [
        (["rotation"], 16, False),
        (["rotation"], 15, True),
        (["rotation", "src", "mim", "rvrm"], 64, False),
        (["rotation", "simclr"], 64, True),
        (["simsiam"], 64, True),
        (["sc_assl"], 64, True),
        (["cpc"], 64, True),
        ([], 64, False),
        ([], 8, True),
    ],
)
def test_statistics_are_synchronised_where_images_are_compared_or_few(
    tasks: list[str], batch_size: int, expected: bool
) -> None:
    backbone = build_backbone("resnet18", 2, in_channels=3)
    network: nn.Module = build_classifier("resnet18", 2, 1, 2)
    if tasks:
        network = PretextModel(backbone, {name: build_task(name, backbone, (64, 64)) for name in tasks})
    assert needs_synced_statistics(network, batch_size) is expected


def test_without_torchrun_a_sentence_says_how_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match=r"write `torchrun --nproc_per_node GPUS -m monai\.bundle run`"):
        begin_distributed()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="process 2 on a machine with 2 GPUs"):
        begin_distributed()


def test_synchronised_layers_keep_the_weights_their_names_and_who_refers_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrapped: dict[str, object] = {}

    def take(network: nn.Module, **options: object) -> nn.Module:
        wrapped.update(options)
        return network

    monkeypatch.setattr("medssl.training.distributed.DistributedDataParallel", take)
    backbone = build_backbone("resnet18", 2)
    model = PretextModel(backbone, {"rotation": build_task("rotation", backbone, (64, 64))})
    names, weights = list(model.state_dict()), list(model.parameters())
    network = distribute(model, torch.device("cuda", 1), sync_batch_norm=True)
    assert network is model
    assert any(isinstance(module, nn.SyncBatchNorm) for module in backbone.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert list(model.state_dict()) == names
    assert all(one is other for one, other in zip(model.parameters(), weights, strict=True))
    assert wrapped["device_ids"] == [torch.device("cuda", 1)]
