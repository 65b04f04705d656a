"""A head from a probe answers as scikit-learn's regression on standardised features does."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from medssl.evaluation.logistic import choose_strength
from medssl.networks import build_classifier, classifier_features, output_layer
from medssl.training import fit_head
from medssl.training.probe_head import probe_weights

NAN = float("nan")


def case(exclusive: bool, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(1)
    features = numbers.normal(size=(80, 6)) * [1, 10, 0.1, 1, 1, 1] + [0, 50, 0, 0, 0, 0]
    scores = features @ numbers.normal(size=(6, classes)) + numbers.normal(size=(80, classes))
    if exclusive:
        labels = np.eye(classes)[(scores - scores.mean(0)).argmax(1)]
        labels[::7] = NAN
    else:
        labels = (scores > np.median(scores, axis=0)).astype(float)
        labels[::3, 1] = NAN
        labels[:, 2] = 1.0  # of one outcome
    return features, labels


def test_each_finding_has_its_own_regression_over_the_images_where_it_is_known() -> None:
    features, labels = case(False)
    weights, biases, fitted = probe_weights(features, labels)
    assert fitted.tolist() == [True, True, False]
    for k in (0, 1):
        known = ~np.isnan(labels[:, k])
        scaler = StandardScaler().fit(features[known])
        regression = LogisticRegression(C=choose_strength(features, labels), class_weight="balanced", max_iter=1000)
        regression.fit(scaler.transform(features[known]), labels[known, k])
        expected = regression.decision_function(scaler.transform(features))
        np.testing.assert_allclose(features @ weights[k] + biases[k], expected, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_exclusive_classes_have_one_regression(classes: int) -> None:
    features, labels = case(True, classes)
    weights, biases, fitted = probe_weights(features, labels, exclusive=True)
    assert fitted.all()
    known = ~np.isnan(labels[:, 0])
    scaler = StandardScaler().fit(features[known])
    regression = LogisticRegression(C=choose_strength(features, labels), class_weight="balanced", max_iter=1000)
    regression.fit(scaler.transform(features[known]), labels[known].argmax(1))
    expected = regression.predict_proba(scaler.transform(features))
    found = torch.softmax(torch.from_numpy(features @ weights.T + biases), dim=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_network_begins_with_what_the_probe_says_of_its_features(spatial_dims: int) -> None:
    torch.manual_seed(0)
    network: Any = build_classifier("resnet10_quarter", spatial_dims, in_channels=1, num_classes=3)
    before = output_layer(network).weight[2].clone()
    images = torch.randn(12, 1, *[32] * spatial_dims) + torch.arange(12).view(-1, *[1] * (1 + spatial_dims)) / 4
    labels = np.array([[number % 2, NAN if number % 3 else number > 5, NAN] for number in range(12)])
    items = [{"image": image, "label": label, "patient": "p"} for image, label in zip(images, labels, strict=True)]
    state = torch.get_rng_state()
    fit_head(network, items, lambda item: item, batch_size=5)
    assert torch.equal(state, torch.get_rng_state())
    network.eval()
    with torch.no_grad():
        features = classifier_features(network, images).double().numpy()
        logits = network(images).numpy()
    weights, biases, _ = probe_weights(features, labels, ["p"] * 12)
    np.testing.assert_allclose(logits[:, :2], (features @ weights.T + biases)[:, :2], rtol=1e-2, atol=1e-2)
    assert torch.equal(output_layer(network).weight[2], before)  # no label of it is known
