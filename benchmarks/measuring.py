"""What the benchmarks share: steps that take turns, their medians and ratios, memory, and the two files of a result."""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import environment

RESULTS = Path(__file__).parent / "results"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Row = Mapping[str, Any]


def parser(description: str | None, repeats: int) -> argparse.ArgumentParser:
    """The options of every benchmark: ``--repeats`` and ``--output``."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=repeats, help=f"turns of each step (default: {repeats})")
    options.add_argument("--output", type=Path, default=RESULTS, help="folder of the result files")
    return options


def seconds(run: Callable[[], Any]) -> float:
    """Time of one call, the GPU's work included."""
    _wait()
    started = time.perf_counter()
    run()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def take_turns(
    steps: Mapping[str, Callable[[], Any]], repeats: int, at_least: float = 0.02, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each step; the steps take turns, so that a change of the machine's pace meets all of them.

    Args:
        steps: what to call.
        repeats: turns of each.
        at_least: seconds that a turn lasts; a quick step is called several times in a row, and its mean taken.
        warm_up: whether a turn that does not count comes first.
    """
    calls = {name: max(1, round(at_least / max(seconds(step), 1e-6))) if warm_up else 1 for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            times[name].append(seconds(lambda step=step, name=name: [step() for _ in range(calls[name])]) / calls[name])
    return times


def compare(times: Iterable[float], base: Iterable[float]) -> dict[str, Any]:
    """Median of ``times`` in ms, and median and quartiles of their ratio to ``base``, turn by turn."""
    times, base = np.asarray(list(times)), np.asarray(list(base))
    low, ratio, high = np.quantile(times / base, [0.25, 0.5, 0.75]).tolist()
    return {"milliseconds": 1000 * float(np.median(times)), "ratio": ratio, "quartiles": [low, high]}


def ratio_cell(row: Row) -> str:
    """A ratio with its quartiles."""
    low, high = row["quartiles"]
    return f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module returns when a new process calls it, whose memory holds nothing of others yet."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_megabytes(run: Callable[[], Any]) -> float:
    """Memory that a call takes at its peak beyond what was there before; of the GPU, where there is one.

    On the CPU it is the process's (Linux only), so call it once in a fresh process.
    """
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1e3


def _status(name: str) -> int:
    """A line of the process's status, in kB."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])


@dataclass
class Result:
    """A table that grows row by row, kept as JSON and Markdown.

    Args:
        options: of :func:`parser`.
        name: of the two files.
        title: above the table.
        text: below the title: what was measured, and how.
        columns: heading of each column, and how a row fills it.
        facts: further entries of the JSON.
    """

    options: argparse.Namespace
    name: str
    title: str
    text: str
    columns: Mapping[str, Callable[[Row], str]]
    facts: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, **row: Any) -> None:
        """Another row: show it, and write the files."""
        self.rows.append(row)
        print(" · ".join(fill(row) for fill in self.columns.values()), flush=True)
        self.write()

    def write(self) -> None:
        """Write both files; ``notes`` come below the table."""
        measured = {**environment(), "device": str(DEVICE), "repeats": self.options.repeats, **self.facts}
        versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
        lines = [f"# {self.title}", "", f"{measured['machine']}; {versions}. {self.text}", ""]
        lines += [f"| {' | '.join(self.columns)} |", "|---" * len(self.columns) + "|"]
        lines += [f"| {' | '.join(fill(row) for fill in self.columns.values())} |" for row in self.rows]
        lines += [line for note in self.notes for line in ("", note)]
        path = self.options.output / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {**measured, "rows": self.rows, "notes": self.notes}
        path.with_suffix(".json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
