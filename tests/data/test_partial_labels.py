import warnings

import numpy as np
import pytest

from medssl.data import label_counts, simulate_partial_labels


def full_labels(images: int = 4000, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.random((images, 5)) < [0.3, 0.2, 0.1, 0.05, 0.05]).astype(np.float32)


def test_protocol_of_dong_6_1() -> None:
    labels = full_labels()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        partial = simulate_partial_labels(labels, labelled_per_class=200, seed=3)
    positive, negative = label_counts(partial)
    np.testing.assert_array_equal(positive, [100] * 5)
    np.testing.assert_array_equal(negative, [100] * 5)
    known = np.isfinite(partial)
    assert known.sum(axis=1).max() == 1
    np.testing.assert_array_equal(partial[known], labels[known])
    np.testing.assert_array_equal(partial, simulate_partial_labels(labels, 200, 3))
    assert (np.isfinite(simulate_partial_labels(labels, 200, 4)) != known).any()


def test_every_image_is_as_likely_as_any_other() -> None:
    labels = np.repeat([[1.0], [0.0]], 20, axis=0)
    drawn = np.stack([np.isfinite(simulate_partial_labels(labels, 20, seed))[:, 0] for seed in range(300)])
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=0.12)


def test_rare_classes_get_all_there_are_and_it_is_said() -> None:
    labels = full_labels(1000)
    labels[:, 4] = 0
    labels[:7, 4] = 1
    labels[:7, 0] = 1  # a common class must not take them away
    with pytest.warns(UserWarning, match="Mass 7"):
        partial = simulate_partial_labels(labels, 100, names=["Edema", "Effusion", "Nodule", "Hernia", "Mass"])
    positive, negative = label_counts(partial)
    assert positive[4] == 7
    np.testing.assert_array_equal(positive, negative)


def test_scarce_images_are_shared_among_classes() -> None:
    with pytest.warns(UserWarning, match="Too few"):
        partial = simulate_partial_labels(full_labels(200), 100)
    positive, negative = label_counts(partial)
    np.testing.assert_array_equal(positive, negative)
    assert positive.min() >= 3
    assert np.isfinite(partial).sum(axis=1).max() == 1


def clinic(images: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.random((images, 5)) < [0.2, 0.12, 0.1, 0.08, 0.06]).astype(np.float32)


def share_of_other_findings(labels: np.ndarray, negative: np.ndarray) -> float:
    """Of how many negatives of a class another finding is known, over all classes."""
    return (labels == 1).any(axis=1)[np.nonzero(negative)[0]].mean()


def test_negatives_have_other_findings_as_often_as_in_the_whole_split_in_a_small_one_too() -> None:
    gaps: dict[int, list[float]] = {400: [], 4000: []}
    for seed in range(10):
        for images, found in gaps.items():
            labels = clinic(images, seed)
            labels[:20, 4] = 1  # enough of the rarest
            wanted = np.mean([share_of_other_findings(labels, labels[:, [column]] == 0) for column in range(5)])
            found.append(share_of_other_findings(labels, simulate_partial_labels(labels, 40, seed) == 0) - wanted)
    for found in gaps.values():
        assert abs(np.mean(found)) < 0.01


def test_where_the_positives_leave_too_few_images_with_other_findings_a_warning_says_so() -> None:
    with pytest.warns(UserWarning, match="other findings for the negatives.* A 0 of"):
        simulate_partial_labels(clinic(300, 0), 80, names=["A", "B", "C", "D", "E"])


def test_unknown_stays_unknown_and_is_not_counted() -> None:
    labels = full_labels(400)
    labels[::2, 0] = np.nan
    partial = simulate_partial_labels(labels, 20)
    assert np.isnan(partial[::2, 0]).all()
    positive, negative = label_counts(labels)
    for column in range(5):
        assert positive[column] == sum(value == 1 for value in labels[:, column])
        assert negative[column] == sum(value == 0 for value in labels[:, column])


def test_wrong_arguments_are_refused() -> None:
    for count in (0, 7, -2):
        with pytest.raises(ValueError, match="even"):
            simulate_partial_labels(full_labels(10), count)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        simulate_partial_labels(np.ones(3), 2)
