"""MT-ASSL: which pretext tasks go together? The greedy search of Zhu et al. 2020 (Sec. 3) over runs of the bundles."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from medssl.data import Datalist, is_auroc_defined
from medssl.errors import UserError
from medssl.evaluation import backbone_gains, similarity_matrix, write_similarity
from medssl.files import write_json
from medssl.progress import duration
from medssl.runs import BACKBONE, MODEL

from .bundle_runs import BundleRun, say
from .greedy_search import GUIDES, Comparison, Guide, Pool, Row, greedy_search
from .search_table import draw_table, search_table, write_table
from .trainings import Announce, Training, run_trainings

Figures = dict[str, float | None]
"""Candidate → a figure, None where it is undefined."""


@dataclass(frozen=True)
class Choice:
    """What a search came to.

    Attributes:
        pool: the tasks that were chosen.
        metric: what the scores are: `mAUROC`, or `accuracy` of exclusive classes.
        score: of the pool, on the validation split.
        guide: that was asked which candidate to add.
        rows: of the table.
        test: [value, low, high] of the pool, and of the best single task beside it, on the test split, which the
            search never saw; empty where the datalist has none.
    """

    pool: Pool
    metric: str
    score: float
    guide: Guide
    rows: list[Row]
    test: dict[str, list[float | None]]


@dataclass(frozen=True)
class MTASSL:
    """A search for the tasks that make the best backbone together; see `greedy_search` for what it does.

    Every pool is pre-trained, fine-tuned, and scored on the validation split by the epoch that is best there. Networks
    are compared as pre-trained, before fine-tuning, by the pooled features of the last layer, in two ways: what a probe
    on both features gains over one on the pool's, on labelled training images of patients it was not fitted to; and
    linear CKA, as in the paper. The guide says which of the two the search goes by; the table shows both. All
    pre-trainings begin with the same random weights and take the same number of epochs, whatever the pool; of its tasks
    one is drawn for each mini-batch.

    Each training is an ordinary run of a bundle, in `output/pretrain` and `output/finetune`. Whoever stops the
    search, at any moment, and calls `run` again gets what an undisturbed one gives: no training that has ended is
    repeated, and one that was interrupted goes on from its checkpoint. No training depends on the guide: with another
    one, the same output serves, and what it lacks is trained.

    A validation split of few images decides little between pools whose scores are close, and the best of many scores is
    too good to be true; therefore the test split has the last word.

    Args:
        output: folder of the runs, the tables and the pictures.
        data: the prepared images: their folder or datalist.
        candidates: task → its values, such as `{"rotation": {}, "rvrm": {"disguise": 1.0}}`.
        pretrain: ids and values for the pre-training bundle, such as `epochs`.
        finetune: likewise for the fine-tuning bundle.
        seed: of all runs.
        parallel: trainings at a time, where the search knows of several to do; see `run_trainings`.
        processes: of each training; with more than one, by `torchrun`.
        full_table: train every candidate with the pool, not only the guide's choice. The choice stays the same; the
            table then tells whether it was a good guide.
        guide: `gain` or `lcka`, see `greedy_search`.

    Raises:
        UserError: when there are fewer than two candidates, or a value is out of range.
    """

    output: Path
    data: Path
    candidates: Mapping[str, Mapping[str, Any]]
    pretrain: Mapping[str, Any] = field(default_factory=dict)
    finetune: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    parallel: int = 1
    processes: int = 1
    full_table: bool = False
    guide: Guide = "gain"

    def __post_init__(self) -> None:
        if len(self.candidates) < 2:
            raise UserError("A search needs at least two candidates: name more pretext tasks.")
        if self.parallel < 1 or self.processes < 1:
            raise UserError(f"parallel and processes must be at least 1, got {self.parallel} and {self.processes}.")
        if self.guide not in GUIDES:
            raise UserError(f"There is no guide {self.guide!r}: use {' or '.join(GUIDES)}.")

    def run(self, announce: Announce) -> Choice:
        """Search; after each iteration `table.csv` and `table.png` are written, in the end `results.json`.

        Args:
            announce: called with what begins, how far the search is, and the run that does it.

        Raises:
            UserError: when the output holds another study, an option is mistyped, a task cannot be trained on these
                images, or the validation split has no label to score by.
        """
        datalist = Datalist.read(self.data)
        self._check(datalist)
        self._keep_settings(datalist)
        metric = "accuracy" if datalist.exclusive else "mAUROC"

        def train_and_score(pools: Sequence[Pool]) -> dict[Pool, float]:
            chains = [self.trainings(pool) for pool in pools]
            run_trainings(chains, lambda what, run: announce(f"{what} ({self._progress()})", run), self.parallel)
            return {pool: self._score(pool, metric) for pool in pools}

        rows: list[Row] = []
        search = greedy_search(list(self.candidates), train_and_score, self._compare, self.full_table, self.guide)
        for iteration in search:
            rows += iteration
            write_table(self.output / "table.csv", rows)
            draw_table(self.output / "table.png", rows, f"{metric} on validation")
        result = next(row for row in reversed(rows) if row.taken)
        assert result.score is not None
        has_test = bool(datalist.items("test", check_files=False))
        test = self._test([result.tasks, result.tasks[:1]], metric, announce) if has_test else {}
        choice = Choice(result.tasks, metric, result.score, self.guide, rows, test)
        write_json(self.output / "results.json", asdict(choice))
        return choice

    def pretraining(self, pool: Pool) -> BundleRun:
        """The pre-training on a pool, of whose tasks each mini-batch is given one (Zhu et al. 2020, Sec. 3)."""
        tasks: dict[str, Any] = {"tasks": {name: dict(self.candidates[name]) for name in pool}}
        schedule = {"schedule": "alternate"} if len(pool) > 1 else {}
        return self._run("pretrain", pool, {**tasks, **schedule, **self.pretrain})

    def finetuning(self, pool: Pool) -> BundleRun:
        """The fine-tuning of what was pre-trained on a pool."""
        return self._run("finetune", pool, self.finetune).with_options(pretrained=self._backbone(pool))

    def trainings(self, pool: Pool) -> list[Training]:
        """Both, one after the other."""
        name = " + ".join(pool)
        return [
            Training(f"Pre-training on {name}", [self.pretraining(pool)]),
            Training(f"Fine-tuning after {name}", [self.finetuning(pool)]),
        ]

    def minutes(self) -> float:
        """What all trainings that have ended took."""
        return sum(map(sum, self._seconds())) / 60

    def _run(self, bundle: str, pool: Pool, options: Mapping[str, Any]) -> BundleRun:
        folder = self.output / bundle / "+".join(pool)
        shared = {"data": self.data, "output_dir": folder, "seed": self.seed, "resume": True}
        return BundleRun(bundle, {**shared, **options, **shared}, processes=self.processes)

    def _backbone(self, pool: Pool) -> Path:
        return self.pretraining(pool).folder / BACKBONE

    def _check(self, datalist: Datalist) -> None:
        """Find what would stop the search hours later."""
        if not is_auroc_defined(datalist.items("validation")):
            raise UserError(
                f"{datalist.path}: no label has both a positive and a negative image in the validation split, so "
                "there is nothing to choose by. Give validation more images."
            )
        replace(self.pretraining(tuple(self.candidates)), processes=1).check("network_def")
        replace(self.finetuning(tuple(self.candidates)), processes=1).check()

    def _keep_settings(self, datalist: Datalist) -> None:
        """Keep what the figures depend on, so that no study goes on with those of another."""
        settings = {
            "data": hashlib.sha256(datalist.path.read_bytes()).hexdigest(),
            "seed": self.seed,
            "processes": self.processes,
            "pretrain": self.pretrain,
            "finetune": self.finetune,
            "candidates": self.candidates,
        }
        settings = json.loads(json.dumps(settings))  # as they are read again: lists for tuples
        path = self.output / "study.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else settings
        others = {**before["candidates"], **settings["candidates"]}  # candidates may join or leave
        if any(others[name] != values for name, values in before["candidates"].items()):
            raise UserError(f"{self.output} holds a study with other values of its candidates: take another output.")
        for key in set(settings) - {"candidates"}:
            if before.get(key) != settings[key]:
                raise UserError(
                    f"{self.output} holds a study with another {key}: take another output, or what {path} says."
                )
        write_json(path, {**settings, "candidates": others})

    def _progress(self) -> str:
        """Trainings that have ended, of those that there may be, and how long the others may take."""
        count = len(self.candidates)
        most = count + (count * (count - 1) // 2 if self.full_table else count - 1)
        ended = self._seconds()
        progress = f"{sum(map(len, ended))} of at most {2 * most} trainings done"
        if not all(ended):
            return progress
        left = sum((most - len(seconds)) * sum(seconds) / len(seconds) for seconds in ended) / self.parallel
        return f"{progress}, at most {duration(left)} left"

    def _seconds(self) -> list[list[float]]:
        """Seconds of the pre-trainings and of the fine-tunings that have ended."""
        marks = [sorted((self.output / kind).glob("*/ended")) for kind in ("pretrain", "finetune")]
        return [[json.loads(mark.read_text(encoding="utf-8"))["seconds"] for mark in kind] for kind in marks]

    def _score(self, pool: Pool, metric: str) -> float:
        score = self._figure(pool, "validation", metric)[0]
        assert score is not None  # the validation split has labels to score by
        return score

    def _figure(self, pool: Pool, split: str, metric: str) -> list[float | None]:
        figures = self.finetuning(pool).figures(split)
        if metric == "mAUROC":
            return [figures["mAUROC"], *(figures["mAUROC_interval"] or [None, None])]
        return figures["accuracy"] or [None] * 3

    def _compare(self, pool: Pool, rest: Sequence[str]) -> dict[str, Comparison]:
        """The pool's features and those of each other candidate, from the files of earlier searches where they know."""
        similarities = self._kept(pool, "to_pool.json", rest, self._similarities)
        gains = self._kept(pool, "gains.json", rest, self._gains)
        return {name: Comparison(similarities[name], gains[name]) for name in rest}

    def _kept(
        self, pool: Pool, file: str, rest: Sequence[str], measure: Callable[[Pool, Sequence[str]], Figures]
    ) -> Figures:
        path = self._comparisons(pool) / file
        if path.exists():
            figures: Figures = json.loads(path.read_text(encoding="utf-8"))
            if set(rest) <= set(figures):
                return figures
        figures = measure(pool, rest)
        write_json(path, figures)
        return figures

    def _similarities(self, pool: Pool, rest: Sequence[str]) -> Figures:
        """Linear CKA of the pool's features and those of each other candidate, on the images of the pre-training."""
        backbones = {"+".join(each): self._backbone(each) for each in (pool, *((name,) for name in rest))}
        names, matrix = similarity_matrix(backbones, self.data, **self._loading())
        write_similarity(self._comparisons(pool), names, matrix)
        return {
            name: None if math.isnan(value) else float(value)
            for name, value in zip(rest, matrix[0, 1:], strict=True)  # of features that do not vary it is NaN
        }

    def _gains(self, pool: Pool, rest: Sequence[str]) -> Figures:
        """What the features of each other candidate add to the pool's, on the labelled training images."""
        others = {name: self._backbone((name,)) for name in rest}
        return backbone_gains(self._backbone(pool), others, self.data, **self._loading())

    def _comparisons(self, pool: Pool) -> Path:
        return self.output / "similarity" / "+".join(pool)

    def _loading(self) -> dict[str, Any]:
        return {name: self.pretrain[name] for name in ("batch_size", "workers") if name in self.pretrain}

    def _test(self, pools: Sequence[Pool], metric: str, announce: Announce) -> dict[str, list[float | None]]:
        """Figures of fine-tuned pools on the test split."""
        named = {" + ".join(pool): pool for pool in pools}
        chains = [
            [Training(f"Evaluating {name} on the test split", [self.finetuning(pool).evaluation()], mark="evaluated")]
            for name, pool in named.items()
        ]
        run_trainings(chains, announce, self.parallel)
        return {name: self._figure(pool, "test", metric) for name, pool in named.items()}


def run_mt_assl(study: MTASSL) -> Choice:
    """Run a study; print each command, the table, what was chosen, and where it lies."""
    console = Console(markup=False, emoji=False)  # a user's names may hold brackets
    choice = study.run(lambda what, run: say(console, what, run))
    console.print(
        search_table(
            choice.rows, f"\nMT-ASSL: {choice.metric} on the validation split, guided by {choice.guide}; bold: taken"
        )
    )
    compared = [row for row in choice.rows if row.task]
    if study.guide == "gain" and all(row.gain is None for row in compared) and compared:
        console.print(
            "No label is known positive in two training patients and negative in two, so there was no gain to go by: "
            "the least similar candidate was tried.",
            soft_wrap=True,
        )
    console.print(f"\n{' + '.join(choice.pool)}: {choice.metric} {choice.score:.3f} on validation", style="bold")
    for name, (value, low, high) in choice.test.items():
        interval = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
        figure = "undefined" if value is None else f"{value:.3f}{interval}"
        console.print(f"On the test split, which the search never saw: {name} {figure}")
    folders = [str(study.finetuning(pool).folder) for pool in dict.fromkeys([choice.pool, choice.pool[:1]])]
    lines = [
        f"The pre-trained backbone: {study.pretraining(choice.pool).folder / BACKBONE}",
        f"The fine-tuned model: {folders[0]}/{MODEL}. As a page: medssl report {' '.join(folders)}",
        f"The table: {study.output}/table.csv and table.png. Gains and similarities: {study.output}/similarity",
        f"All trainings took {study.minutes():.1f} minutes.",
    ]
    console.print("\n" + "\n".join(lines), soft_wrap=True)
    return choice
