"""How well a puzzle with classes is answered."""

import torch
from torch import Tensor


def accuracy_metrics(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """``accuracy`` of logits ``[B, K]`` for classes ``[B]``, and ``chance`` (1/K) beside it, both detached scalars."""
    accuracy = (logits.detach().argmax(dim=1) == target).float().mean()
    return {"accuracy": accuracy, "chance": torch.full_like(accuracy, 1 / logits.shape[1])}
