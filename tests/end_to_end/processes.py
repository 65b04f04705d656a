"""Processes for tests that kill them: forked in no time from a server that has imported everything once."""

import multiprocessing
import os
import runpy
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from medssl.studies import BundleRun

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["medssl.studies", "medssl.evaluation", "torch._dynamo", "torch.utils.tensorboard", "monai.bundle", __name__]
)


def start(function: Callable[..., None], log: Path, *values: Any) -> ForkServerProcess:
    """Begin ``function(*values)`` in a process of one thread, whose output goes into a file."""
    process = CONTEXT.Process(target=_run, args=(function, log, *values), daemon=False)
    process.start()
    return process


def _run(function: Callable[..., None], log: Path, *values: Any) -> None:
    import torch

    torch.set_num_threads(1)
    # Here the default is that of the process itself, by which a worker would take the time of all imports to begin.
    multiprocessing.set_start_method("fork", force=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    # The server's streams may be closed, or somebody else's.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    function(*values)


def command(run: BundleRun) -> None:
    """What ``python -m`` does with the words of a run, its exit code included."""
    sys.argv = run.words()
    code: Any = 0
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code
    except BaseException as error:
        code = 1
        try:
            sys.excepthook(type(error), error, error.__traceback__)
        except SystemExit as other:
            code = other.code
    sys.stderr.flush()
    os._exit(code or 0)


def wait_until(condition: Callable[[], Any], process: ForkServerProcess, seconds: float = 120) -> None:
    """Wait for something that a process does; it is an error when it ends before."""
    limit = time.monotonic() + seconds
    while not condition():
        if process.exitcode is not None or time.monotonic() > limit:
            pytest.fail(f"waited in vain; exit code of the process: {process.exitcode}")
        time.sleep(0.005)


def end_of(processes: Sequence[ForkServerProcess], log: Path, seconds: float = 120) -> list[int | None]:
    """The exit codes; processes that hang are killed, and fail the test."""
    limit = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, limit - time.monotonic()))
    hanging = [process for process in processes if process.exitcode is None]
    for process in hanging:
        process.kill()
    if hanging:
        pytest.fail(f"{len(hanging)} processes hung:\n{log.read_text()[-3000:]}")
    return [process.exitcode for process in processes]


def in_two_processes(function: Callable[..., None], log: Path, *values: Any) -> list[ForkServerProcess]:
    """Begin ``function(*values)`` in two processes, with the environment that torchrun gives to them."""
    with suppress(OSError), socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    return [start(_with_environment, log, environment, function, *values) for environment in ranks]


def _with_environment(environment: dict[str, str], function: Callable[..., None], *values: Any) -> None:
    os.environ.update(environment)
    function(*values)
