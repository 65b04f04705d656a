"""Half precision, where it is not enough."""

import torch
from torch import Tensor


def at_least_single(tensor: Tensor) -> Tensor:
    """The tensor, in float32 where it is of lower precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
