"""Two processes on the CPU, with gloo: the same losses as one with twice the images, and an end when one dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from monai.engines import SupervisedTrainer
from processes import end_of, in_two_processes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from medssl.losses import barlow_twins, info_nce, lejepa, nt_xent, queue_info_nce, vicreg
from medssl.networks import build_backbone, save_backbone
from medssl.pretext import PretextModel, build_task
from medssl.pretext.masked_pass import Masked
from medssl.studies import BundleRun
from medssl.training import CheckPrecision, MixedPrecision, distribute, precision_check, prepare_images
from medssl.training.distributed import mean_over_processes

IMAGES, STEPS = 8, 4
EQUAL_TASKS = ["rotation", "mim", "simclr", "jigsaw", "cpc", "rubiks_cube", "src", "mcpc", "sc_assl"]
"""Without batch normalisation and with the same puzzles, these have the loss of one process with all images.

SimSiam, MoCo, BYOL, Barlow Twins, VICReg, LeJEPA and VoCo have batch normalisation in their heads, inpainting, Models
Genesis, SparK and volume fusion in their decoder: it can be synchronised, but on GPUs only. MAE wants a transformer, a
student a teacher. RVRM mixes an image with another of its own process; Self-ASSL compares the images of its own
process; the loss for partial labels is a mean over the known labels, of which the processes do not have equally many.
"""


class PlainBackbone(nn.Module):
    """A backbone that obeys the contract, without batch normalisation."""

    spatial_dims, in_channels, out_channels, stride, smallest_side = 2, 1, 8, 32, 4

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(1, 8, 8, 8), nn.Tanh(), nn.AdaptiveAvgPool2d(2))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def pool(self, feature_map: Tensor) -> Tensor:
        return feature_map.flatten(2).mean(dim=2)


def share(puzzle: Any, views: int = 1) -> Any:
    """This process's part of a batch; of several views of every image, one after the other."""
    if isinstance(puzzle, tuple):
        return tuple(share(part, views) for part in puzzle)
    if puzzle is None:
        return None
    parts = [part.chunk(dist.get_world_size())[dist.get_rank()] for part in puzzle.chunk(views)]
    return torch.cat(parts)


def loss_curve(name: str, distributed: bool) -> list[float]:
    """The losses of a few steps of a task on puzzles that are the same in every process."""
    torch.manual_seed(0)
    backbone: Any = PlainBackbone()
    task = build_task(name, backbone, (64, 64))
    model = PretextModel(backbone, {name: task})
    network = distribute(model, torch.device("cpu")) if distributed else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    draw, losses = task.puzzle, []

    def puzzle(images: Tensor, *patients: Any) -> Any:
        inputs, target = draw(everything)
        if not distributed:
            return inputs, target
        if name in ("cpc", "mcpc"):  # tiles of the mini-batch by their number in it
            return share(inputs), draw(images)[1]
        return share((inputs, target), views=2 if name == "simclr" else 1)

    task.puzzle = puzzle  # type: ignore[method-assign]
    for step in range(STEPS):
        torch.manual_seed(100 + step)
        everything = torch.rand(IMAGES, 1, 64, 64)
        images = share(everything) if distributed else everything
        loss = network(images).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(mean_over_processes({"loss": loss})["loss"] if distributed else loss.item())
    return losses


def contrastive_gradients(distributed: bool) -> dict[str, Tensor]:
    """The gradients of the losses over a mini-batch with respect to this process's embeddings, as DDP averages them."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(IMAGES, 5, generator=generator) for _ in range(2))
    queue, directions = torch.randn(3, 5, generator=generator), torch.randn(5, 6, generator=generator)
    positive, groups = torch.arange(IMAGES), torch.arange(IMAGES) % 3
    if distributed:
        first, second, groups, positive = share(first), share(second), share(groups), positive[: IMAGES // 2]
    first.requires_grad_(), second.requires_grad_()
    gradients = {}
    for name, loss in {
        "nt_xent": nt_xent(first, second),
        "nt_xent of groups": nt_xent(first, second, groups=groups),
        "info_nce": info_nce(first, second, positive)[0],
        "queue_info_nce": queue_info_nce(first, second, queue),
        "barlow_twins": barlow_twins(first, second),
        "vicreg": vicreg(first, second),
        "lejepa": lejepa(torch.stack([first, second]), directions, 0.5),
    }.items():
        loss.backward()
        for tensor, which in ((first, "first"), (second, "second")):
            if tensor.grad is None:  # keys of a teacher
                continue
            gradients[f"{name}/{which}"] = tensor.grad / (2 if distributed else 1)
            tensor.grad = None
    return gradients


def masked_normalisation(distributed: bool) -> dict[str, Tensor]:
    """What batch normalisation makes of images that are hidden in part, and its statistics."""
    generator = torch.Generator().manual_seed(0)
    visible = torch.rand(IMAGES, 1, 4, 4, generator=generator) < 0.5
    images = torch.randn(IMAGES, 3, 4, 4, generator=generator) * visible
    layer = nn.SyncBatchNorm(3) if distributed else nn.BatchNorm2d(3)
    if distributed:
        images, visible = share(images), share(visible)
    images.requires_grad_()
    with Masked(layer, visible):
        found = layer(images)
    found.pow(3).sum().backward()
    return {"found": found.detach(), "gradient": images.grad, "mean": layer.running_mean, "var": layer.running_var}


def compare_with_one_process(folder: Path) -> None:
    dist.init_process_group("gloo")
    found = {"curves": {name: loss_curve(name, distributed=True) for name in EQUAL_TASKS}}
    found["gradients"] = contrastive_gradients(distributed=True)
    found["masked"] = masked_normalisation(distributed=True)
    torch.save(found, folder / f"{dist.get_rank()}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    log = folder / "log.txt"
    assert end_of(in_two_processes(compare_with_one_process, log, folder), log) == [0, 0], log.read_text()[-5000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", EQUAL_TASKS)
def test_two_processes_have_the_losses_of_one_with_twice_the_images(
    name: str, two_processes: list[dict[str, Any]]
) -> None:
    alone = loss_curve(name, distributed=False)
    assert len(set(alone)) == STEPS
    for process in two_processes:
        assert process["curves"][name] == pytest.approx(alone, rel=1e-4)


def test_contrastive_losses_have_the_gradients_of_one_process_with_all_images(
    two_processes: list[dict[str, Any]],
) -> None:
    for name, expected in contrastive_gradients(distributed=False).items():
        found = torch.cat([process["gradients"][name] for process in two_processes])
        torch.testing.assert_close(found, expected)
        # Not so without gathering: it is another loss.
        assert expected.abs().max() > 1e-3


def test_synchronised_statistics_of_visible_voxels_are_those_of_one_process(
    two_processes: list[dict[str, Any]],
) -> None:
    expected = masked_normalisation(distributed=False)
    zero, one = (process["masked"] for process in two_processes)
    for name in ("found", "gradient"):
        torch.testing.assert_close(torch.cat([zero[name], one[name]]), expected[name], rtol=1e-4, atol=1e-5)
    for process in (zero, one):
        torch.testing.assert_close((process["mean"], process["var"]), (expected["mean"], expected["var"]))


def options(kind: str, datalist: Path, output: Path, **values: Any) -> dict[str, Any]:
    volumes = {"image_size": [32, 32, 32], "window": [-50.0, 150.0]} if kind == "ct" else {}
    shared = {"data": datalist, "output_dir": output, "workers": 0, "batch_size": 4, "learning_rate": 0.001}
    return {**shared, **volumes, "architecture": "resnet10_quarter", "epochs": 2, **values}


def bundle_in_two(bundle: str, values: dict[str, Any], watched: Path) -> None:
    watch = {
        "_target_": "test_multi_gpu.Watcher",
        "path": f"$'{watched}' + str(@rank) + '.json'",
        "network": "@network_def",
    }
    (mix_in := watched.parent / f"watch_{os.getpid()}.json").write_text(json.dumps({"+train::handlers": [watch]}))
    BundleRun(bundle, values, mix_ins=(mix_in,), processes=2).run()


class Watcher:
    """What one process draws and ends with."""

    def __init__(self, path: str, network: nn.Module) -> None:
        self.path, self.network, self.drawn = path, network, []  # type: ignore[var-annotated]

    def attach(self, engine: Any) -> None:
        from ignite.engine import Events

        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def step(self, engine: Any) -> None:
        if hasattr(engine.state.output["pred"], "tasks"):
            self.drawn.append([name for name in engine.state.output["pred"].tasks if name != "self_assl"])

    def write(self, engine: Any) -> None:
        weights = [float(weight.detach().double().sum()) for weight in self.network.parameters()]
        Path(self.path).write_text(json.dumps({"drawn": self.drawn, "weights": weights}))


def run_bundle(bundle: str, kind: str, datalist: Path, folder: Path, **values: Any) -> list[dict[str, Any]]:
    """Run a bundle in two processes; what each of them saw."""
    settings, log = options(kind, datalist, folder / "run", **values), folder / "log.txt"
    processes = in_two_processes(bundle_in_two, log, bundle, settings, folder / "watched_")
    assert end_of(processes, log) == [0, 0], log.read_text()[-5000:]
    return [json.loads((folder / f"watched_{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_draw_the_same_task_in_every_step(chest: Path, tmp_path: Path) -> None:
    save_backbone(build_backbone("resnet10_quarter", 2), tmp_path / "first" / "backbone.pt", image_size=[64, 64])
    values = {"tasks": "simclr,rotation,src", "schedule": "alternate", "first": tmp_path / "first"}
    zero, one = run_bundle("pretrain", "cxr", chest, tmp_path, **values, epochs=3, probe_every=0)
    assert len(zero["drawn"]) >= 9
    assert zero["drawn"] == one["drawn"]
    assert {name for names in zero["drawn"] for name in names} == {"simclr", "rotation", "src"}
    assert all(len(names) == 1 for names in zero["drawn"])
    # Gradients were averaged: both end with the same weights, to the last bit.
    assert zero["weights"] == one["weights"]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    assert 0 < metrics["self_assl/similarity"] < 1


def look_at_gradients(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    fault = ["the gradient of 0.weight (cosine 0.10)"] if rank == 1 else []
    precision_check.find_faults = lambda trainer: fault
    torch.manual_seed(rank)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 1))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": torch.randn(4, 1, 8, 8)}] * 2,
        network=distribute(network, torch.device("cpu")),
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=lambda output, _: output.float().square().mean(),
        prepare_batch=prepare_images,
        inferer=MixedPrecision(True),
        train_handlers=[CheckPrecision()],
        decollate=False,
    )
    trainer.run()
    torch.save({"right": trainer.inferer.right, "weights": network.state_dict()}, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_where_one_process_gets_gradients_wrong_in_16_bits_all_train_in_32(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert end_of(in_two_processes(look_at_gradients, log, tmp_path), log) == [0, 0], log.read_text()[-5000:]
    zero, one = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert zero["right"] is one["right"] is False
    assert all(torch.equal(weight, one["weights"][name]) for name, weight in zero["weights"].items())
    assert log.read_text().count("Training in 32 bits, for in bfloat16 this processor gets the gradient of 0.") == 1


def test_volumes_are_learned_from_in_two_processes(head: Path, tmp_path: Path) -> None:
    # More images than fill a mini-batch together, but not in each process: nothing may be dropped.
    zero, one = run_bundle("pretrain", "ct", head, tmp_path, batch_size=10, epochs=1, probe_every=0, tasks="rotation")
    assert zero["weights"] == one["weights"]
    assert 0 < json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]["rotation/loss"] < 10


@pytest.mark.parametrize("kind", ["cxr", "ct"])
def test_finetuning_in_two_processes_validates_every_image_once(
    kind: str, chest: Path, head: Path, tmp_path: Path
) -> None:
    datalist = chest if kind == "cxr" else head
    content = json.loads(datalist.read_text())
    # One process has one image more, in a mini-batch of its own.
    content["validation"] = content["validation"][:5]
    short = datalist.with_name(f"short_{tmp_path.name}.json")
    short.write_text(json.dumps(content))
    zero, one = run_bundle("finetune", kind, short, tmp_path, batch_size=2, epochs=1)
    assert zero["weights"] == one["weights"]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["splits"]["validation"]["images"] == 5
    log = EventAccumulator(str(tmp_path / "run")).Reload()
    assert len(log.Scalars("val_mAUROC")) == 1
    state = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in state)


def test_a_run_ends_when_one_of_its_processes_dies(chest: Path, tmp_path: Path) -> None:
    values = options("cxr", chest, tmp_path, epochs=1000, probe_every=0)
    run = BundleRun("pretrain", values, processes=2)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *run.words()], env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for(tmp_path / "checkpoints" / "last.pt", process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[1]), signal.SIGKILL)
        code = process.wait(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert code == 1, log.read_text()[-5000:]
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def wait_for(path: Path, process: subprocess.Popen[bytes], seconds: float = 150) -> None:
    limit = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, f"It ended before there was {path}."
        assert time.monotonic() < limit, f"It hung before there was {path}."
        time.sleep(0.05)
