"""Tables of the rows of `real_trials`: every arm with its own best recipe, chosen on validation patients alone."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from real_trials import PIXELS, RANDOM, Rows, mean_and_deviation, rows_of
from scipy import stats

PROBE = "probe"
CHOSEN_ON = {
    "tuberculosis": "validation",
    "nih": "validation_within",
    "pneumonia": "validation",
    "sarcoma": "validation",
}
"""The split that a recipe is chosen on."""
SHOWN = {
    "tuberculosis": ("within", "other"),
    "nih": ("all", "within", "small"),
    "pneumonia": ("within", "other"),
    "sarcoma": ("within",),
}
Key = tuple[str, ...]


def by_tuple(rows: Rows, **wanted: str) -> dict[Key, float]:
    """(trial, draw) → AUROC, of the rows with these values."""
    return {
        (row["trial"], row["draw"]): float(row["auroc"])
        for row in rows
        if all(row[name] == value for name, value in wanted.items())
    }


def best_recipe(rows: Rows, question: str, n: str, arm: str) -> str:
    """The fine-tuning of an arm with the best mean on validation patients; the probe where there is none."""
    means = {}
    for recipe in {row["recipe"] for row in rows if (row["question"], row["n"], row["arm"]) == (question, n, arm)}:
        if recipe != PROBE and "mirrored" not in recipe:
            values = by_tuple(rows, question=question, n=n, arm=arm, recipe=recipe, split=CHOSEN_ON[question])
            means[recipe] = np.mean(list(values.values()))
    return max(sorted(means), key=lambda recipe: means[recipe]) if means else PROBE


def paired(values: dict[Key, float], base: dict[Key, float]) -> str:
    """The mean difference over tuples with its 95 % t-interval; draws of one trial are averaged first."""
    of_trial: dict[str, list[float]] = defaultdict(list)
    for key in values.keys() & base.keys():
        of_trial[key[0]].append(values[key] - base[key])
    means = np.array([np.mean(each) for each in of_trial.values()])
    if len(means) < 2:
        return f"{means.mean():+.3f}" if len(means) else "–"
    half = stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / len(means) ** 0.5
    return f"{means.mean():+.3f} ({means.mean() - half:+.3f} to {means.mean() + half:+.3f})"


def _numbers(values: Iterable[str]) -> list[str]:
    return sorted(set(values), key=lambda n: int(n) or 10**9)


def write_tables(path: Path, title: str) -> Path:
    """Write `NAME.md` beside a CSV: a table for each question and n."""
    rows = rows_of(path)
    trials = len({row["trial"] for row in rows})
    lines = [
        f"# {title}",
        "",
        f"Up to {trials} tuples of patient split, pre-training, labels and fine-tuning, all drawn anew (AUROC, mean "
        "± SD over them and their draws of labels). Each arm has its own best fine-tuning, chosen on validation "
        "patients of the training hospital. "
        "Differences are paired, to random weights under their own best fine-tuning, with 95 % t-intervals over them.",
    ]
    for question, splits in SHOWN.items():
        of_question = [row for row in rows if row["question"] == question]
        for n in _numbers(row["n"] for row in of_question):
            here = [row for row in of_question if row["n"] == n]
            lines += ["", f"## {question}, n = {n if n != '0' else 'all'}", ""]
            lines += ["| arm | fine-tuning | tuples | " + " | ".join(f"{split} | − random" for split in splits) + " |"]
            lines += ["|---" * (3 + 2 * len(splits)) + "|"]
            for arm in dict.fromkeys(row["arm"] for row in here):
                chosen = best_recipe(here, question, n, arm)
                for recipe in dict.fromkeys((PROBE, chosen)):
                    cells = []
                    for split in splits:
                        values = by_tuple(here, arm=arm, recipe=recipe, split=split)
                        base = by_tuple(here, arm=RANDOM, recipe=best_recipe(here, question, n, RANDOM), split=split)
                        cells += [mean_and_deviation(values.values()), paired(values, base)]
                    of = len({trial for trial, _ in by_tuple(here, arm=arm, recipe=recipe, split=splits[0])})
                    lines.append(f"| {arm} | {recipe} | {of} | " + " | ".join(cells) + " |")
    return _write(path, lines)


def write_recipes(path: Path) -> Path:
    """Write `NAME.md` beside a CSV: every recipe of every arm."""
    rows = rows_of(path)
    lines = ["# Fine-tuning recipes on real radiographs: ResNet-10 of a quarter of the channels, 96 pixels", ""]
    lines += [
        "AdamW, warm-up and cosine, batches of 32; `1e-03x500`: learning rate and steps; `b0.1`: the backbone at a "
        "tenth of the rate; `probe`: begun with a probe's head; `norm`: statistics of batch normalisation kept; `a0`: "
        "without augmentation; `share0.5`: weights half-way between those it began with and those it ended with; "
        "`mirrored`: the mean with the mirrored image. Mean ± SD over tuples. Recipes are chosen on validation."
    ]
    for question, splits in SHOWN.items():
        here = [row for row in rows if row["question"] == question]
        shown = (CHOSEN_ON[question], *splits)
        for arm in dict.fromkeys(row["arm"] for row in here):
            lines += ["", f"## {question}, {arm}", "", "| recipe | " + " | ".join(shown) + " |"]
            lines += ["|---" * (1 + len(shown)) + "|"]
            for recipe in dict.fromkeys(row["recipe"] for row in here if row["arm"] == arm):
                cells = [
                    mean_and_deviation(by_tuple(here, arm=arm, recipe=recipe, split=split).values()) for split in shown
                ]
                lines.append(f"| {recipe} | " + " | ".join(cells) + " |")
    return _write(path, lines)


def _write(path: Path, lines: list[str]) -> Path:
    table = path.with_suffix(".md")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


__all__ = ["PIXELS", "best_recipe", "by_tuple", "paired", "write_recipes", "write_tables"]
