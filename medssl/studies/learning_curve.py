"""How a figure grows with the number of labelled images, and how many more a better one would need.

An inverse power law, `a − b·n^(−c)`, describes learning curves of many kinds of models (Hestness et al. 2017, Sec. 4;
of classifiers in medicine Figueroa et al. 2012). What does not follow one is not extrapolated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from medssl.errors import UserError

LEAST_SIZES = 4
"""A law of three numbers goes through any three points."""
MISFIT = 0.01
"""Points that deviate from the law as far as these with less than this probability refuse it."""
FARTHEST = 10
"""Beyond so many times the largest number of images nothing is said."""


@dataclass(frozen=True)
class PowerLaw:
    """`a − b·n^(−c)`: what no number of images exceeds, what is lacking with one image, and how fast that goes."""

    a: float
    b: float
    c: float

    def at(self, images: float | np.ndarray) -> float | np.ndarray:
        """The figure expected with so many images."""
        return self.a - self.b * np.power(images, -self.c)

    def images_for(self, value: float) -> float:
        """The number of images at which a figure is expected; infinite where none suffices."""
        if value >= self.a or not self.b:
            return 0.0 if value < self.a else float("inf")
        with np.errstate(over="ignore"):
            return float(np.exp(np.log(self.b / (self.a - value)) / self.c))

    def __str__(self) -> str:
        return f"{self.a:.3f} − {self.b:.3g}·n^(−{self.c:.3g})"


def fit_power_law(
    sizes: Sequence[float],
    values: Sequence[float] | np.ndarray,
    ceiling: float = 1.0,
    starts: Sequence[float] = (0.2, 0.5, 1.0, 2.0),
) -> PowerLaw:
    """The law nearest to points in the sense of least squares.

    Args:
        sizes: numbers of images, at least 3 different ones.
        values: the figure with each.
        ceiling: what the figure cannot exceed.
        starts: values of `c` to search from; from one alone a search may end at a bound.

    Raises:
        RuntimeError: when scipy finds none.
    """
    x, y = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    first = x.min()  # relative to which b is of the figure's own size
    best, least = None, np.inf
    for slope in starts:
        start = (min(y.max() + 0.01, ceiling), max(y.max() - y.min(), 1e-3), slope)
        bounds = ([0, 0, 0.01], [ceiling, ceiling, 4.0])
        found, _ = curve_fit(_law, x / first, y, p0=np.clip(start, *bounds), bounds=bounds, max_nfev=5000)
        squares = float(((_law(x / first, *found) - y) ** 2).sum())
        if squares < least:
            best, least = found, squares
    assert best is not None
    a, b, c = map(float, best)
    return PowerLaw(a, b * first**c, c)


def _law(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    return a - b * x**-c


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """The mean of independent values with its t-interval, whose ends are NaN of a single value."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, np.nan, np.nan
    half = float(t_distribution.ppf((1 + level) / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return mean, mean - half, mean + half


@dataclass(frozen=True)
class Extrapolation:
    """What a learning curve says of more images than were tried.

    Attributes:
        law: of the means over the draws; None where it was refused.
        refusal: why, as a sentence; "" where it was not.
        largest: number of images that were tried.
        others: laws of draws drawn with replacement, from which the intervals come; none of less than three draws.
    """

    law: PowerLaw | None
    refusal: str
    largest: int
    others: Sequence[PowerLaw] = ()

    @property
    def farthest(self) -> int:
        """The largest number of images that anything is said of."""
        return FARTHEST * self.largest

    def expected(self, images: float) -> tuple[float, float, float]:
        """The figure with so many images, and its 95 % interval over the draws (NaN where there is none)."""
        assert self.law is not None
        return (float(self.law.at(images)), *_ends([float(law.at(images)) for law in self.others]))

    def needed(self, value: float) -> tuple[float, float, float]:
        """The number of images for a figure, and its 95 % interval over the draws; infinite where none suffices."""
        assert self.law is not None
        return (self.law.images_for(value), *_ends([law.images_for(value) for law in self.others]))


def _ends(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return np.nan, np.nan
    # Of infinite ones there is no mean between two neighbours.
    low, high = np.quantile(values, (0.025, 0.975), method="nearest")
    return float(low), float(high)


def extrapolate(sizes: Sequence[int], values: np.ndarray, resamples: int = 200, seed: int = 0) -> Extrapolation:
    """Fit the law, or say why it does not fit.

    It is refused where there are too few sizes; where the figure does not rise from the smallest to the largest by more
    than the draws vary; where the means lie farther from the law than the draws explain (the F test for lack of fit,
    the draws' own levels taken out, for the subsets of a draw are nested); and where scipy finds none.

    Args:
        sizes: S numbers of images, rising.
        values: `[draws, S]`, the figure of each draw with each of them.
        resamples: of the draws, for the intervals.
        seed: of these.

    Raises:
        UserError: when the shapes do not fit.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.shape[1] != len(sizes):
        raise UserError(f"{len(sizes)} sizes do not fit values of the shape {list(values.shape)}.")
    if refusal := _does_not_rise(sizes, values):
        return Extrapolation(None, refusal, max(sizes))
    means = values.mean(axis=0)
    try:
        law = fit_power_law(sizes, means)
        if refusal := _misfit(means - law.at(np.asarray(sizes, dtype=float)), values):
            return Extrapolation(None, refusal, max(sizes))
        draws, generator = len(values), np.random.default_rng(seed)
        rows = generator.integers(draws, size=(resamples if draws > 2 else 0, draws))
        others = [fit_power_law(sizes, values[each].mean(axis=0), starts=[law.c]) for each in rows]
    except RuntimeError:
        return Extrapolation(None, "The search for a power law came to no end.", max(sizes))
    return Extrapolation(law, "", max(sizes), others)


def _does_not_rise(sizes: Sequence[int], values: np.ndarray) -> str:
    if not np.isfinite(values).all():
        return "The figure is undefined with some of the numbers of images."
    if len(set(sizes)) < LEAST_SIZES:
        return f"A power law needs at least {LEAST_SIZES} numbers of images, and there are {len(set(sizes))}."
    gain, low, _ = mean_interval(values[:, -1] - values[:, 0])
    if gain <= 0 or low <= 0:
        variation = f", 95 % interval from {low:+.3f}" if np.isfinite(low) else ""
        return (
            f"From {sizes[0]} to {sizes[-1]} images it changes by {gain:+.3f}{variation}: too little to tell a rise "
            "from chance. Try larger sizes, or more draws."
        )
    return ""


def _misfit(residuals: np.ndarray, values: np.ndarray) -> str:
    draws, sizes = values.shape
    if draws < 2:
        return ""
    noise = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    spread = float((noise**2).sum()) / ((draws - 1) * (sizes - 1))
    lack = draws * float((residuals**2).sum()) / (sizes - 3)
    p = float(f_distribution.sf(lack / max(spread, 1e-12), sizes - 3, (draws - 1) * (sizes - 1)))
    if p >= MISFIT:
        return ""
    return (
        f"The points lie up to {np.abs(residuals).max():.3f} from the nearest power law, farther than the draws "
        f"explain (p {p:.1g}): the curve has another form."
    )
