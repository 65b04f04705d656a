"""A linear probe on stored features is the training of a network whose backbone is frozen."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import nn

from medssl.losses import PartialBCELoss
from medssl.networks import build_classifier, classifier_features, output_layer
from medssl.training import (
    FeatureDataset,
    StandardisedHead,
    feature_dataset,
    fit_linear_layer,
    prepare_labelled,
    whole_batch,
)

LABELS = np.array([[1, 0], [0, np.nan], [1, 1], [np.nan, 0], [0, 1], [np.nan, np.nan], [1, 0]], dtype=np.float32)


def items(size: int = 32, dims: int = 2) -> list[dict[str, Any]]:
    images = torch.randn(len(LABELS), 1, *[size] * dims)
    return [
        {"image": image, "label": label, "file": f"{number}.png", "patient": str(number // 2)}
        for number, (image, label) in enumerate(zip(images, LABELS, strict=True))
    ]


class Slow(nn.Module):
    """The whole network in every step, frozen but for a layer behind a standardisation of its pooled features."""

    def __init__(self, network: nn.Module, images: torch.Tensor) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(network).eval()
        self.layer = copy.deepcopy(output_layer(network))
        with torch.no_grad():
            features = classifier_features(self.backbone, images).double()
        self.mean, self.scale = features.mean(dim=0), features.std(dim=0, correction=0)
        self.scale[self.scale <= 1e-6 * self.mean] = 1  # a feature that is constant up to rounding

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            features = classifier_features(self.backbone.eval(), images).double()
        return self.layer(((features - self.mean) / self.scale).float())


def head_training(network: nn.Module, parameters: Any, loader: DataLoader) -> None:
    torch.manual_seed(3)  # of the order of the images
    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=4,
        train_data_loader=loader,
        network=network,
        optimizer=torch.optim.Adam(parameters, lr=0.01),
        loss_function=PartialBCELoss([3, 2], [2, 3]),
        prepare_batch=prepare_labelled,
        decollate=False,
    ).run()


@pytest.mark.parametrize("dims", [2, 3])
def test_the_head_ends_as_in_a_network_that_is_frozen_and_standardised_and_is_folded_into_it(dims: int) -> None:
    network = build_classifier("resnet18", dims, in_channels=1, num_classes=2)
    dataset = Dataset(items(32, dims))
    images = torch.stack([item["image"] for item in dataset.data])
    slow = Slow(network, images)
    features = feature_dataset(dataset, network, batch_size=4)
    head = StandardisedHead(output_layer(network), features.features, features.labels, features.patients)
    before = copy.deepcopy(network.state_dict())
    head_training(head, head.groups(), DataLoader(features, batch_size=3, shuffle=True, collate_fn=whole_batch))
    groups = [{"params": [slow.layer.weight], "weight_decay": head.decay}, {"params": [slow.layer.bias]}]
    head_training(slow, groups, DataLoader(dataset, batch_size=3, shuffle=True))
    torch.testing.assert_close(head.standard.state_dict(), slow.layer.state_dict(), rtol=1e-3, atol=1e-4)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    answers = head.eval()(features.features)
    after = network.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"fc.weight", "fc.bias"}  # neither the backbone nor its batch statistics
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), answers)  # an ordinary network
        torch.testing.assert_close(slow.eval()(images), answers, rtol=1e-3, atol=1e-3)


def test_the_scale_of_the_features_says_nothing_and_constant_ones_do_no_harm() -> None:
    """Before features were standardised, the one that tells the label was never found where it was small."""
    labels = (torch.arange(200) % 2).float()[:, None]
    features = torch.randn(200, 8) + torch.tensor([2.0, *[0.0] * 7]) * labels
    scales = torch.tensor([1e-3, 1e3, *[1.0] * 6])
    loss = PartialBCELoss([100], [100])
    answers = []
    for seen in (features, torch.cat([features * scales + 5 * scales, torch.full((200, 1), 7.0)], dim=1)):
        layer = fit_linear_layer(seen, labels, loss, epochs=40, learning_rate=0.01)
        answers.append(layer(seen).detach())
        assert roc_auc_score(labels[:, 0], answers[-1][:, 0]) > 0.88
    assert np.corrcoef(answers[0][:, 0], answers[1][:, 0])[0, 1] > 0.99


def test_the_weights_are_as_regularised_as_those_of_a_regression() -> None:
    random = np.random.default_rng(0)
    labels = (random.random((300, 2)) < [0.5, 0.3]).astype(np.float32)
    labels[::5, 1] = np.nan
    features = torch.tensor(random.normal(size=(300, 20)) + 0.5 * np.nan_to_num(labels[:, :1]), dtype=torch.float32)
    loss = PartialBCELoss(np.nansum(labels, axis=0), np.nansum(1 - labels, axis=0))
    head = StandardisedHead(nn.Linear(20, 2), features, torch.tensor(labels))
    layer = fit_linear_layer(features, torch.tensor(labels), loss, epochs=600, learning_rate=0.01, batch_size=300)
    for k, column in enumerate(labels.T):
        known = ~np.isnan(column)
        slow = LogisticRegression(C=head.strength, class_weight="balanced", tol=1e-6)
        slow.fit(StandardScaler().fit_transform(features[known]), column[known])
        standard = layer.weight[k].detach().numpy() * head.scale.numpy()
        assert np.linalg.norm(standard) == pytest.approx(np.linalg.norm(slow.coef_), rel=0.15)
        assert np.corrcoef(standard, slow.coef_[0])[0, 1] > 0.99


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
    features = 10 + torch.randn(120, 3) * torch.tensor([5.0, 1.0, 0.2])
    labels = (features[:, :2] + 3 * torch.randn(120, 2) > 10).float()
    labels[::3, 1] = float("nan")
    loss = PartialBCELoss((labels == 1).sum(dim=0), (labels == 0).sum(dim=0))
    state = torch.get_rng_state()
    layer = fit_linear_layer(features, labels, loss, seed=1, epochs=400, learning_rate=0.01, batch_size=60)
    assert torch.equal(state, torch.get_rng_state())
    again = fit_linear_layer(features, labels, loss, seed=1, epochs=400, learning_rate=0.01, batch_size=60)
    assert torch.equal(layer.weight, again.weight)
    decay = StandardisedHead(layer, features, labels).decay
    standard = (features - features.mean(dim=0)) / features.std(dim=0, correction=0)

    def total(flat: np.ndarray) -> float:
        weights = torch.from_numpy(flat).view(2, 4).float()
        logits = standard @ weights[:, :3].T + weights[:, 3]
        return loss(logits, labels).item() + 0.5 * decay * weights[:, :3].square().sum().item()

    least = minimize(total, np.zeros(8), method="Powell")
    weights = layer.weight * features.std(dim=0, correction=0)
    reached = loss(layer(features), labels).item() + 0.5 * decay * weights.square().sum().item()
    assert reached == pytest.approx(least.fun, rel=2e-3)
