"""Can the hospital be read from the features? A probe of the source, on patients that it was not fitted to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .logistic import FOLDS, USUAL, deal_folds, fold_aurocs
from .probes import evenly

MOST = 5000
"""Images that are looked at, at most, evenly spread."""
READABLE, WEAK = 0.75, 0.6
"""The AUROC from which a source is plainly there to be read, and from which it is there at all."""


@dataclass(frozen=True)
class SourceProbe:
    """How well the source of an image can be read from its features.

    Attributes:
        images: of each source, by name.
        auroc: of each source against the others, out of folds over patients; None where it has too few patients (two
            of it and two of others are needed). Of two sources both have the same.
        mean: over the sources; None where none has one.
    """

    images: dict[str, int]
    auroc: dict[str, float | None] = field(default_factory=dict)
    mean: float | None = None

    def __str__(self) -> str:
        """In one sentence, for the screen."""
        if len(self.images) < 2:
            return "All images are of one source, so there is no hospital to be told from the features."
        if self.mean is None:
            return "Too few patients are of each source to see whether the features tell it."
        each = [f"{name} {value:.2f}" for name, value in self.auroc.items() if value is not None]
        shown = f"{', '.join(each)}; " if len(self.images) > 2 else ""
        figure = f"AUROC {self.mean:.2f} ({shown}chance is 0.50; probe in folds over patients)"
        if self.mean >= READABLE:
            return (
                f"The hospital can be read from the features, {figure}: a finding that is more frequent in one of "
                "them can then be guessed from the hospital, so look at the AUROC within each source."
            )
        if self.mean >= WEAK:
            return f"The hospital can be read from the features to some degree, {figure}."
        return f"The hospital can hardly be read from the features, {figure}."


def probe_sources(
    features: np.ndarray, sources: Sequence[str], patients: Sequence[str] | None = None, most: int = MOST
) -> SourceProbe:
    """Fit a logistic regression for each source against the others, and judge it on other patients.

    How strongly it is regularised is fixed (`C` = 0.01), not chosen by the figure that is shown.

    Args:
        features: `[N, D]`, as they are: every fold standardises anew.
        sources: of each image, `N` names; "" where nobody says: such an image does not count.
        patients: of each image; None where each is of another.
        most: images at most, evenly spread over those that count.
    """
    places = evenly([place for place, source in enumerate(sources) if source], most)
    of_image = np.array([sources[place] for place in places], dtype=str)
    counts = dict(sorted(Counter(of_image.tolist()).items()))
    if len(counts) < 2:
        return SourceProbe(counts)
    names = list(counts)
    asked = names[:1] if len(names) == 2 else names
    labels = (of_image[:, None] == np.array(asked)).astype(np.float64)
    folds = deal_folds(labels, None if patients is None else [patients[place] for place in places], FOLDS)
    found = fold_aurocs(np.asarray(features, np.float64)[places], labels, folds, USUAL)
    values = [None if np.isnan(value) else float(value) for value in found]
    known = [value for value in values if value is not None]
    auroc = dict(zip(names, values * (2 if len(names) == 2 else 1), strict=True))
    return SourceProbe(counts, auroc, float(np.mean(known)) if known else None)
