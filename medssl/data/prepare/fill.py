"""Fill the store: examine many inputs side by side, with a journal, so that it can be stopped and gone on with."""

import os
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from medssl.progress import watched
from medssl.readers import Unit

from ..store import STORE, StoreSettings, remove_unnamed, write_contents
from .examine import Outcome, examine, fingerprint
from .journal import Journal
from .mask_files import MaskFile

_JOURNAL = "journal.jsonl"


def fill_store(
    units: Sequence[Unit],
    names: Sequence[str],
    settings: StoreSettings,
    output: Path,
    salt: str,
    workers: int | None = None,
    keep_masks: Collection[str] = (),
    masks: Sequence[Sequence[MaskFile]] | None = None,
    classes: Sequence[str] = (),
) -> list[list[Outcome]]:
    """Examine every unit that was not examined before, or has changed since, or whose prepared image is gone.

    Args:
        units: the inputs.
        names: a name for each that stays the same from run to run.
        settings: of the store; another size or spacing makes everything anew.
        output: folder of the datalist.
        salt: for the hash of a patient.
        workers: threads (decoders, torch and blosc2 release Python's lock); by default one a core, at most eight, for
            volumes four.
        keep_masks: names of the inputs that a table labels: what looks like a mask is an image all the same.
        masks: the files with the masks of each input.
        classes: of the masks; others, or in another order, make the masks anew.

    Returns:
        What became of each unit.
    """
    outcomes: dict[int, list[Outcome]] = {}
    with Journal(output / STORE / _JOURNAL) as journal:
        kept = [name in keep_masks for name in names]
        drawn = masks or [()] * len(units)
        told = zip(units, kept, drawn, strict=True)
        prints = [fingerprint(unit, settings, salt, keep, files, classes) for unit, keep, files in told]
        for number, name in enumerate(names):
            known = [Outcome(**fields) for fields in journal.find(name, prints[number]) or ()]
            if known and all((output / path).is_file() for each in known for path in each.files_stored):
                outcomes[number] = known
        left = [number for number in range(len(units)) if number not in outcomes]
        workers = workers or min(os.cpu_count() or 1, 8 if settings["spatial_dims"] == 2 else 4)
        more = (settings, output, salt)
        tasks = [partial(examine, units[number], *more, kept[number], drawn[number], classes) for number in left]
        with closing(_side_by_side(tasks, workers)) as examined:
            for number, found in examined:
                outcomes[left[number]] = found
                journal.add(names[left[number]], prints[left[number]], map(asdict, found))
        journal.compact(names)
    write_contents(output, {each.stored: each.content for found in outcomes.values() for each in found if each.stored})
    remove_unnamed(output, {path for found in outcomes.values() for each in found for path in each.files_stored})
    return [outcomes[number] for number in range(len(units))]


def _side_by_side(
    tasks: Sequence[Callable[[], list[Outcome]]], workers: int
) -> Generator[tuple[int, list[Outcome]], None, None]:
    """Number and outcomes of each unit, as they get ready."""
    if not tasks:
        return
    with _one_torch_thread(), ThreadPoolExecutor(workers) as pool:
        running: dict[Future[list[Outcome]], int] = {pool.submit(task): number for number, task in enumerate(tasks)}
        try:
            done = as_completed(running)
            for future in watched(done, "preparing images", total=len(running)):
                yield running[future], future.result()
        finally:  # on Ctrl-C or an error, what has not begun does not begin
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """The images are the parallel work; threads within each would fight over the cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
