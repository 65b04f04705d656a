"""Run a module as `python -m` does, in a process that ends when the one that started it has ended.

`python tethered.py MODULE ARGUMENTS…` with a pipe as standard input. Its other end closes when the starting process
is gone, even when that was killed: no training goes on unseen, beside the one that is begun again. (Run as a file, it
does not wait for the imports of this package.)
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_the_pipe() -> None:
    # Not sys.stdin: a thread that waits in it holds a lock, over which Python stumbles when it exits.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # torchrun passes it on to its workers


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    sys.path[0] = os.getcwd()  # as with -m, instead of this folder
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
