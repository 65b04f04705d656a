"""A training ends at the first loss or weight that is no number, and nothing of it is saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.engines import SupervisedTrainer
from torch import nn

from medssl.training import RunCheckpoint, StopAtNonFinite, run_training

STEPS = 5


def trainer(
    folder: Path, bad_step: int = 0, value: float = float("nan"), spoil: bool = False, interval: int = 3
) -> Any:
    network = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    steps = iter(range(1, 100))

    def loss(output: torch.Tensor, _: None) -> torch.Tensor:
        step = next(steps)
        if spoil and step == bad_step:
            network.bias.register_hook(lambda gradient: gradient * value)
        return output.square().mean() * (value if step == bad_step and not spoil else 1)

    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=3,
        train_data_loader=[torch.ones(1, 2)] * STEPS,
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=lambda batch, *_: (batch, None),
        train_handlers=[StopAtNonFinite(interval), RunCheckpoint(folder, {"network": network})],
        decollate=False,
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("bad_step", [6, 8, 9, 10])
def test_a_loss_that_is_no_number_is_named_with_its_step(bad_step: int, value: float, tmp_path: Path) -> None:
    step = bad_step - STEPS
    with pytest.raises(ValueError, match=rf"loss is {value} in epoch 2, step {step} of 5\. Try a smaller") as caught:
        run_training(trainer(tmp_path, bad_step, value))
    assert caught.value.__notes__ == ["The last checkpoint is that of epoch 1: add --resume True to go on from there."]
    saved = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert saved["epoch"] == 1
    assert saved["network"]["weight"].isfinite().all()


def test_weights_that_the_last_step_spoiled_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"After epoch 2 1 of 2 weights .* the first is bias"):
        run_training(trainer(tmp_path, 2 * STEPS, spoil=True))
    assert torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["epoch"] == 1


def test_a_training_of_finite_numbers_is_left_alone(tmp_path: Path) -> None:
    run_training(trainer(tmp_path))
    assert torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["epoch"] == 3
