"""Rows of all processes of a distributed run, with the gradients that come back to them."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Rows of all processes of a distributed run, this one's first; the tensor itself where there is one process.

    The gradient of every process's loss comes back to the rows, summed. ``DistributedDataParallel`` takes the mean
    over processes afterwards: together the gradient of the mean loss, that of one process with all rows.

    Args:
        tensor: ``[B, D]``, of one shape in all processes.

    Returns:
        ``[P · B, D]`` for P processes.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    rows: Tensor = _Gather.apply(tensor)
    return rows.roll(-dist.get_rank(), dims=0).flatten(0, 1)


class _Gather(torch.autograd.Function):
    """``[B, D]`` → ``[P, B, D]``. (Torch's own, ``torch.distributed.nn.functional.all_gather``, is deprecated.)"""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)  # autograd may use the other one elsewhere
        dist.all_reduce(total)
        return total[dist.get_rank()]
