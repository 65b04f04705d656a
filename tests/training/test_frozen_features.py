"""A linear probe on stored features is the training of a network whose backbone is frozen."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from scipy.optimize import minimize
from torch import nn

from medssl.losses import PartialBCELoss
from medssl.networks import build_classifier, output_layer
from medssl.training import FeatureDataset, feature_dataset, fit_linear_layer, prepare_labelled, whole_batch

LABELS = np.array([[1, 0], [0, np.nan], [1, 1], [np.nan, 0], [0, 1], [np.nan, np.nan], [1, 0]], dtype=np.float32)


def items(size: int = 32) -> list[dict[str, Any]]:
    images = torch.randn(len(LABELS), 1, size, size)
    return [
        {"image": image, "label": label, "file": f"{number}.png", "patient": str(number // 2)}
        for number, (image, label) in enumerate(zip(images, LABELS, strict=True))
    ]


def head_training(network: nn.Module, head: nn.Module, loader: DataLoader) -> None:
    torch.manual_seed(3)  # of the order of the images
    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=4,
        train_data_loader=loader,
        network=network,
        optimizer=torch.optim.Adam(head.parameters(), lr=0.01),
        loss_function=PartialBCELoss([3, 2], [2, 3]),
        prepare_batch=prepare_labelled,
        decollate=False,
    ).run()


def test_the_head_ends_as_in_a_network_whose_backbone_is_frozen_in_evaluation_mode() -> None:
    class Frozen(nn.Module):
        """The slow way: the whole network in every step."""

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def train(self, mode: bool = True) -> nn.Module:
            return super().train(False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network(images)

    network = build_classifier("resnet18", 2, in_channels=1, num_classes=2)
    slow = copy.deepcopy(network)
    dataset = Dataset(items())
    features = feature_dataset(dataset, network, batch_size=4)
    loader = DataLoader(features, batch_size=3, shuffle=True, collate_fn=whole_batch)
    before = copy.deepcopy(network.state_dict())
    head_training(output_layer(network), output_layer(network), loader)
    head_training(Frozen(slow), output_layer(slow), DataLoader(dataset, batch_size=3, shuffle=True))
    after, expected = network.state_dict(), slow.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"fc.weight", "fc.bias"}  # neither the backbone nor its batch statistics
    for key in moved:
        torch.testing.assert_close(after[key], expected[key], rtol=1e-3, atol=1e-5)


def test_a_mini_batch_is_what_a_loader_of_images_gives_with_features_in_their_place() -> None:
    features, listed = torch.randn(len(LABELS), 5), items(2)
    dataset = FeatureDataset(features, listed)
    assert len(dataset) == len(LABELS)
    loader = DataLoader(dataset, batch_size=3, collate_fn=whole_batch)
    images = DataLoader(Dataset(listed), batch_size=3)
    for number, (batch, usual) in enumerate(zip(loader, images, strict=True)):
        assert set(batch) == set(usual)
        assert (batch["file"], batch["patient"]) == (usual["file"], usual["patient"])
        torch.testing.assert_close(batch["label"], usual["label"], equal_nan=True, rtol=0, atol=0)
        assert torch.equal(batch["image"], features[3 * number : 3 * number + 3])


def test_the_layer_alone_finds_the_least_loss_and_leaves_the_generator_alone() -> None:
    features = torch.randn(120, 3)
    labels = (features @ torch.randn(3, 2) + 2 * torch.randn(120, 2) > 0).float()
    labels[::3, 1] = float("nan")
    loss = PartialBCELoss((labels == 1).sum(dim=0), (labels == 0).sum(dim=0))
    state = torch.get_rng_state()
    layer = fit_linear_layer(features, labels, loss, seed=1, epochs=400, learning_rate=0.01, batch_size=60)
    assert torch.equal(state, torch.get_rng_state())
    again = fit_linear_layer(features, labels, loss, seed=1, epochs=400, learning_rate=0.01, batch_size=60)
    assert torch.equal(layer.weight, again.weight)

    def total(flat: np.ndarray) -> float:
        weights = torch.from_numpy(flat).view(2, 4).float()
        return loss(features @ weights[:, :3].T + weights[:, 3], labels).item()

    least = minimize(total, np.zeros(8), method="Powell")
    assert loss(layer(features), labels).item() == pytest.approx(least.fun, rel=1e-3)
