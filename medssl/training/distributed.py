"""Training in several processes, each on a GPU of its own (or, to try it out, each on the CPU), started by torchrun."""

import os
from collections.abc import Mapping
from typing import cast

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from medssl.errors import UserError
from medssl.pretext import PretextTask

FEW_IMAGES = 16
"""Fewer images in a process give its batch normalisation poor statistics (Wu & He 2018, Fig. 1)."""


def begin_distributed() -> None:
    """Join the other processes of the run: NCCL between GPUs, gloo between CPU processes.

    Raises:
        UserError: when torchrun did not start this process, or started more of them than there are GPUs.
    """
    if "RANK" not in os.environ:
        raise UserError(
            "multi_gpu_train.yaml runs in one process for each GPU: write `torchrun --nproc_per_node GPUS -m "
            "monai.bundle run` in place of `python -m monai.bundle run`."
        )
    device = process_device()
    if device.type == "cuda":
        if device.index >= torch.cuda.device_count():
            raise UserError(
                f"torchrun started process {device.index} on a machine with {torch.cuda.device_count()} GPUs: "
                "--nproc_per_node must not exceed the GPUs."
            )
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def process_device() -> torch.device:
    """The GPU with the number of this process on its machine; the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def process_rank() -> int:
    """The number of this process among all of the run; 0 writes the files."""
    return int(os.environ.get("RANK", "0"))


def needs_synced_statistics(network: nn.Module, batch_size: int) -> bool:
    """Whether batch normalisation should take its statistics over all processes.

    It should where a task compares the images of a mini-batch (``PretextTask.compares_images``): the statistics of one
    process alone would tell which images came from it (Chen et al. 2020, Sec. 2.2), and SimSiam was made for
    synchronised ones (Chen & He 2021, Sec. 4). It should, too, where a process sees fewer than 16 images at a time. The
    other tasks judge each image for itself, and their processes need not wait for each other in every layer.

    Args:
        network: a ``PretextModel`` or a classifier.
        batch_size: images of a mini-batch in each process.
    """
    tasks = (module for module in network.modules() if isinstance(module, PretextTask))
    return batch_size < FEW_IMAGES or any(task.compares_images for task in tasks)


def distribute(
    network: nn.Module,
    device: torch.device,
    sync_batch_norm: bool = False,
    find_unused_parameters: bool = False,
) -> DistributedDataParallel:
    """The network as every process trains it: its gradients are the mean over all of them.

    Args:
        network: on its device; it stays usable by itself.
        device: of this process.
        sync_batch_norm: whether batch normalisation takes its statistics over all processes; on GPUs only, for torch
            has no such layer for the CPU.
        find_unused_parameters: whether some parameters get no gradient in some steps.
    """
    if sync_batch_norm and device.type == "cuda":
        # In place but for a network that is a single batch normalisation; parameters and names stay the same.
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(
        network,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=find_unused_parameters,
    )


class ShareBuffers:
    """Give all processes the first one's buffers (running statistics) before an evaluator starts.

    The evaluator itself takes the network without ``DistributedDataParallel``, which exchanges the buffers in every
    step and so would wait forever for a process with fewer validation images.

    Args:
        network: whose buffers to share.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Send and receive."""
        for buffer in self.network.buffers():
            dist.broadcast(buffer, 0)


def mean_over_processes(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars as numbers, averaged over the processes of a distributed run, which all have the same names."""
    together = torch.stack([values[name].detach().float() for name in values])
    if idist.get_world_size() > 1:
        together = cast(Tensor, idist.all_reduce(together)) / idist.get_world_size()
    return dict(zip(values, together.tolist(), strict=True))
