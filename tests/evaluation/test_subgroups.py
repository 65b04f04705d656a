"""The AUROC within groups of images."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medssl.evaluation import MaskRow, Predictions, mask_subgroups, segmentation_figures, subgroups

NAN = np.nan


def test_each_group_is_judged_by_its_own_images_and_patients() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (80, 2)).astype(float)
    labels[:40, 1] = np.arange(40) < 4  # too few have the second class in the first group
    labels[random.random(labels.shape) < 0.2] = np.nan
    scores = random.random(labels.shape) + 0.3 * np.nan_to_num(labels)
    group = ["a"] * 40 + ["b"] * 40
    patients = [str(number // 2) for number in range(80)]
    predictions = Predictions([f"{number}.png" for number in range(80)], patients, ["x", "y"], scores, labels)
    found = subgroups(predictions, group, resamples=100)
    assert list(found) == ["a", "b"]
    assert (found["a"]["images"], found["a"]["patients"]) == (40, 20)
    for name, rows in {"a": slice(0, 40), "b": slice(40, 80)}.items():
        known = ~np.isnan(labels[rows, 0])
        value, low, high = found[name]["per_class"]["x"]
        assert value == pytest.approx(roc_auc_score(labels[rows, 0][known], scores[rows, 0][known]))
        assert low < value < high
    assert found["a"]["per_class"]["y"] is None
    assert found["a"]["mean"] == found["a"]["per_class"]["x"]
    assert found["b"]["mean"][0] == pytest.approx(np.mean([each[0] for each in found["b"]["per_class"].values()]))
    with pytest.raises(ValueError, match="80 images"):
        subgroups(predictions, group[:3])


def test_masks_are_judged_within_each_group() -> None:
    dice = {"a.b2nd": 0.9, "b.b2nd": 0.5, "c.b2nd": 0.7}
    rows = [MaskRow(image, image, "", "lung", value, *[NAN] * 7) for image, value in dice.items()]
    found = mask_subgroups(rows, {"a.b2nd": "F", "b.b2nd": "M", "c.b2nd": "F"}, ["lung"], resamples=50)
    assert found["F"]["per_class"]["lung"][0] == found["F"]["mean"][0] == pytest.approx(0.8)
    assert (found["F"]["images"], found["M"]["patients"]) == (2, 1)
    alone = segmentation_figures([rows[0], rows[2]], ["lung"], resamples=50)
    assert found["F"]["mean"][1:] == alone["mDice_interval"]
