"""One head a source: what is saved is an ordinary network that answers with the mean of the heads that learned."""

import numpy as np
import pytest
import torch

from medssl.data import label_counts, labels_by_source
from medssl.errors import UserError
from medssl.losses import label_loss
from medssl.networks import SourceHeads, build_classifier, give_heads, output_layer, plain_state

NAN = np.nan
ITEMS = [
    {"source": "south", "label": np.array([1, NAN, 0], dtype=np.float32)},
    {"source": "north", "label": np.array([1, 1, NAN], dtype=np.float32)},
    {"source": "north", "label": np.array([0, 1, NAN], dtype=np.float32)},
    {"source": "south", "label": np.array([0, NAN, 0], dtype=np.float32)},
    {"source": "west", "label": np.array([1, NAN, NAN], dtype=np.float32)},
]


def test_an_image_is_known_at_its_own_source_only() -> None:
    wide = labels_by_source(ITEMS)
    for before, item in zip(ITEMS, wide, strict=True):
        rows = item["label"].reshape(3, 3)
        own = ["north", "south", "west"].index(before["source"])
        np.testing.assert_array_equal(rows[own], before["label"])
        assert np.isnan(np.delete(rows, own, axis=0)).all()
    merged = labels_by_source(ITEMS, "merged")
    assert all(item["label"] is before["label"] for before, item in zip(ITEMS, merged, strict=True))


@pytest.mark.parametrize("items", [ITEMS[1:3], ITEMS])
def test_what_has_no_several_heads_is_refused(items: list[dict]) -> None:
    with pytest.raises(UserError, match="heads source"):
        labels_by_source(items, exclusive=len(items) > 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_saved_network_is_ordinary_and_gives_the_mean_of_the_heads_that_learned(dims: int) -> None:
    counts = label_counts(np.array([item["label"] for item in labels_by_source(ITEMS)]))
    network = give_heads(build_classifier("resnet10_quarter", dims, 1, 3), *counts)
    heads = output_layer(network)
    assert isinstance(heads, SourceHeads)
    images = torch.randn(4, 1, *[32] * dims)
    # Steps of a training, so that no weight is what it began with.
    optimizer, loss = torch.optim.SGD(network.parameters(), 0.1), label_loss(*counts)
    labels = torch.tensor(np.array([item["label"] for item in labels_by_source(ITEMS)]))
    for _ in range(2):
        optimizer.zero_grad()
        loss(network(images), labels[:4]).backward()
        optimizer.step()
    network.eval()
    heads.train()  # its own logits, of the other layers as they are in evaluation
    with torch.no_grad():
        each = network(images).view(4, 3, 3)
        heads.eval()
        ordinary = build_classifier("resnet10_quarter", dims, 1, 3).eval()
        ordinary.load_state_dict(plain_state(network))  # strict
        found = ordinary(images)
    # Class 0: north and south know both outcomes, west one only; class 1: only north knows any, positives; class 2:
    # only south, negatives.
    expected = torch.stack([each[:, :2, 0].mean(dim=1), each[:, 0, 1], each[:, 1, 2]], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, network(images).detach(), rtol=1e-5, atol=1e-6)


def test_labels_of_all_sources_together_leave_a_network_as_it_is() -> None:
    network = build_classifier("resnet10_quarter", 2, 1, 3)
    layer = output_layer(network)
    assert output_layer(give_heads(network, [1, 2, 3], [3, 2, 1])) is layer
    assert plain_state(network).keys() == network.state_dict().keys()
