"""Different learning rates for the backbone and the head of a classifier."""

from typing import Any

from monai.optimizers import generate_param_groups
from torch import nn

from medssl.errors import UserError
from medssl.networks import output_layer


def parameter_groups(network: nn.Module, learning_rate: float, backbone_rate: float = 1.0) -> list[dict[str, Any]]:
    """The parameters of a classifier in two groups for an optimizer: its output layer, and all before it.

    Args:
        network: as ``build_classifier`` makes it, also wrapped for distributed training.
        learning_rate: of the output layer.
        backbone_rate: learning rate of the backbone over that of the output layer; a pre-trained backbone often wants
            less than 1.

    Raises:
        UserError: when ``backbone_rate`` is not above 0.
    """
    if backbone_rate <= 0:
        raise UserError(
            f"backbone_rate must be above 0, got {backbone_rate}: to keep the backbone as it is, add the mix-in "
            "configs/finetune/linear_probe.yaml."
        )
    head, backbone = generate_param_groups(network, [output_layer], ["select"], [learning_rate])
    return [head, {**backbone, "lr": learning_rate * backbone_rate}]
