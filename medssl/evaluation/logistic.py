"""Logistic regressions on features, regularised as strongly as folds over patients say, and the gain of more features.

How strongly decides more than anything else about a probe: on real radiographs a `C` of 0.01 gave every network, and
plain pixels, about 0.02 more AUROC than scikit-learn's 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from .partial_metrics import mean_of_defined, partial_auroc

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""The values of scikit-learn's `C` that folds choose from; the smaller, the more is regularised."""
USUAL = 0.01
"""The `C` where there are too few labels for folds."""
FOLDS = 3
MOST = 2000
"""Images that the folds look at, at most: what they choose depends little on more."""


def deal_folds(
    labels: np.ndarray, patients: Sequence[str] | None = None, folds: int = FOLDS, seed: int = 0
) -> np.ndarray:
    """Deal patients to folds, for each class apart, so that every fold has its share of those with a positive image.

    (scikit-learn's `StratifiedGroupKFold` deals the same way and takes a second a class for 5000 patients.)

    Args:
        labels: `[N, K]` of 1, 0, NaN (unknown).
        patients: of each image; None where each is of another.
        folds: fewer where fewer patients have a positive or a negative image.
        seed: of the order in which patients are dealt.

    Returns:
        The fold of each image in each class, `[N, K]` whole numbers from 0; −1 for an unknown label, and for a class in
        which fewer than two patients have a positive, or a negative image.
    """
    images = np.arange(len(labels))
    patient = images if patients is None else np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(int(patient.max(initial=-1)) + 1)
    dealt = np.full(labels.shape, -1)
    for k, column in enumerate(labels.T):
        has = {value: np.isin(order, patient[column == value]) for value in (0, 1)}
        count = min(folds, *(int(each.sum()) for each in has.values()))
        if count < 2:
            continue
        # Those with a positive image first, then those with negative ones only; the unknown are left out below.
        turn = np.concatenate([order[has[1]], order[~has[1] & has[0]]])
        fold = np.full(len(order), -1)
        fold[turn] = np.arange(len(turn)) % count
        dealt[:, k] = np.where(np.isnan(column), -1, fold[patient])
    return dealt


def fold_aurocs(features: np.ndarray, labels: np.ndarray, folds: np.ndarray, strength: float) -> np.ndarray:
    """The AUROC of probes on patients that they were not fitted to.

    Only images of one fold, which one probe judged, are compared with each other.

    Args:
        features: `[N, D]`.
        labels: `[N, K]` of 1, 0, NaN.
        folds: `[N, K]`, of `deal_folds`.
        strength: `C` of scikit-learn.

    Returns:
        `[K]`: the mean over the folds, each weighted by its pairs of a positive and a negative image; NaN for a
        class without folds.
    """
    areas, pairs = np.zeros((2, labels.shape[1]))
    for k, (column, fold) in enumerate(zip(labels.T, folds.T, strict=True)):
        for number in range(fold.max() + 1):
            fitted, judged = (fold >= 0) & (fold != number), fold == number
            truth = column[judged]
            count = int((truth == 1).sum() * (truth == 0).sum())
            if count and len(np.unique(column[fitted])) == 2:
                fit = _fitted(features[fitted], column[fitted], strength, tolerance=1e-3)
                scores = fit.decision_function(features[judged])
                areas[k] += count * partial_auroc(scores[:, None], truth[:, None])[0]
                pairs[k] += count
    with np.errstate(invalid="ignore"):
        return areas / pairs


def best_strength(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> tuple[float, float]:
    """The `C` whose probes have the best mean AUROC in folds, and that mean.

    They are tried from the smallest on until the mean falls, as what comes then takes longest and is seldom better.

    Args:
        features: `[N, D]`, as they are: every fold standardises anew.
        labels: `[N, K]` of 1, 0, NaN.
        folds: `[N, K]`, of `deal_folds`.

    Returns:
        One of `STRENGTHS`, of equally good ones the smallest, and its mean; `USUAL` and NaN where no class has folds.
    """
    best, mean = USUAL, np.nan
    for strength in STRENGTHS if (folds >= 0).any() else ():
        tried = float(mean_of_defined(fold_aurocs(features, labels, folds, strength)))
        if tried < mean or np.isnan(tried):
            break
        if not tried <= mean:
            best, mean = strength, tried
    return best, mean


def choose_strength(features: np.ndarray, labels: np.ndarray, patients: Sequence[str] | None = None) -> float:
    """The value of `STRENGTHS` whose probes have the best mean AUROC in folds over the patients, one for all classes.

    Args:
        features: `[N, D]`, as they are: every fold standardises anew.
        labels: `[N, K]` of 1, 0, NaN.
        patients: of each image; None where each is of another.

    Returns:
        `C`; of equally good ones the smallest, and `USUAL` where no class has folds (see `deal_folds`).
    """
    looked_at = np.linspace(0, len(labels) - 1, min(MOST, len(labels))).astype(int)
    some = None if patients is None else [patients[place] for place in looked_at]
    return best_strength(features[looked_at], labels[looked_at], deal_folds(labels[looked_at], some))[0]


def linear_probe(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    features: np.ndarray,
    patients: Sequence[str] | None = None,
    strength: float | None = None,
) -> np.ndarray:
    """Probabilities by a logistic regression for each class, fitted to its known labels.

    The features are standardised, and positive and negative cases weigh the same in sum.

    Args:
        train_features: `[M, D]`.
        train_labels: `[M, K]` of 1, 0, NaN (unknown).
        features: `[N, D]` of the images to judge.
        patients: of the M images; None where each is of another.
        strength: `C` of scikit-learn; None for that of `choose_strength`.

    Returns:
        `[N, K]` probabilities, 0.5 throughout for a class that is not known both positive and negative in training.
    """
    strength = strength or choose_strength(train_features, train_labels, patients)
    scores = np.full((len(features), train_labels.shape[1]), 0.5)
    for k, labels in enumerate(train_labels.T):
        known = ~np.isnan(labels)
        if len(np.unique(labels[known])) == 2:
            scores[:, k] = _fitted(train_features[known], labels[known], strength).predict_proba(features)[:, 1]
    return scores


def feature_gains(
    first: np.ndarray,
    others: Mapping[str, np.ndarray],
    labels: np.ndarray,
    patients: Sequence[str] | None = None,
    folds: int = 5,
    repeats: int = 3,
) -> dict[str, float | None]:
    """What other features add to the first: the mean AUROC of probes on both side by side, minus that on the first.

    Each probe judges patients that it was not fitted to, and has the `C` that is best there: on either side of the
    difference, so that what this flatters cancels. Both sides have the same folds.

    Args:
        first: `[N, D]`.
        others: name → `[N, E]`, of the same images.
        labels: `[N, K]` of 1, 0, NaN.
        patients: of each image; None where each is of another.
        folds: that the patients are dealt to.
        repeats: times that they are dealt, over which the gain is the mean.

    Returns:
        The gain of each, in AUROC; None where no class has folds (see `deal_folds`).
    """
    gains: dict[str, list[float]] = {name: [] for name in others}
    for seed in range(repeats):
        dealt = deal_folds(labels, patients, folds, seed)
        _, alone = best_strength(first, labels, dealt)
        for name, other in others.items():
            _, both = best_strength(np.concatenate([first, other], axis=1), labels, dealt)
            gains[name].append(both - alone)
    means = {name: float(mean_of_defined(np.array(values))) for name, values in gains.items()}
    return {name: None if np.isnan(mean) else mean for name, mean in means.items()}


def _fitted(features: np.ndarray, labels: np.ndarray, strength: float, tolerance: float = 1e-4) -> Pipeline:
    regression = LogisticRegression(C=strength, tol=tolerance, class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), regression).fit(features, labels)
