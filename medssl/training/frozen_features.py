"""A linear classifier on the frozen backbone (Dong et al. 2024, Sec. 6.2.1: LCP), on features computed once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.data import DataLoader
from monai.data import Dataset as ImageDataset
from torch import Tensor, nn
from torch.utils.data import Dataset

from medssl.networks import classifier_features, compute_features


class FeatureDataset(Dataset):
    """The features of images in place of the images, a whole mini-batch at once.

    A loader of it needs ``collate_fn=whole_batch``.

    Args:
        features: ``[N, D]``.
        items: of the datalist, in the same order; their ``image`` gives way to the features.
    """

    def __init__(self, features: Tensor, items: Sequence[Mapping[str, Any]]) -> None:
        self.features = features
        self.labels = torch.stack([torch.as_tensor(item["label"]) for item in items]).to(features.device)
        self.others = [{key: item[key] for key in item if key not in ("image", "label")} for item in items]

    def __len__(self) -> int:
        return len(self.features)

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """The mini-batch of these items, which torch's loader asks for in one go."""
        others = [self.others[index] for index in indices]
        return {
            "image": self.features[indices],
            "label": self.labels[indices],
            **{key: [item[key] for item in others] for key in others[0]},
        }


def whole_batch(batch: dict[str, Any]) -> dict[str, Any]:
    """The ``collate_fn`` for items that are a mini-batch already."""
    return batch


def feature_dataset(
    dataset: ImageDataset, network: nn.Module, batch_size: int, workers: int = 0, amp: bool = False, name: str = ""
) -> FeatureDataset:
    """Run every image of a data set through a classifier's frozen backbone, once.

    Args:
        dataset: of items with ``image`` and ``label``, whose transform draws nothing at random.
        network: the classifier, on its device.
        batch_size: images at once.
        workers: processes that load images.
        amp: whether to compute in mixed precision.
        name: of the data, for the progress bar.
    """
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers)

    def extract(images: Tensor) -> Tensor:
        return classifier_features(network, images)

    features = compute_features(network, extract, loader, amp, f"features of {name}".strip())
    return FeatureDataset(features, dataset.data)


def fit_linear_layer(
    features: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    seed: int = 0,
    epochs: int = 300,
    learning_rate: float = 0.001,
    batch_size: int = 64,
) -> nn.Linear:
    """The linear layer that the mix-in ``configs/linear_probe.yaml`` trains, without a bundle around it.

    Args:
        features: ``[N, D]``, on the device to train on.
        labels: ``[N, K]``.
        loss: from logits and labels ``[B, K]`` to a scalar.
        seed: of the first weights and of the order of the images; nothing else is random.
        epochs: over all features; the layer of the last one is returned.
        learning_rate: of Adam.
        batch_size: images of a mini-batch; what is left over in an epoch is left out, as in the bundles.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(features.shape[1], labels.shape[1]).to(features.device)
    optimizer = torch.optim.Adam(layer.parameters(), lr=learning_rate, fused=True)
    batches = max(1, len(features) // batch_size)
    for _ in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for rows in order.split(batch_size)[:batches]:
            optimizer.zero_grad()
            loss(layer(features[rows]), labels[rows]).backward()
            optimizer.step()
    return layer
