"""What all tests share: every test draws the same random numbers, whichever tests ran before it."""

import random
import signal

import numpy as np
import pytest
import torch

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background job: the processes that tests start and interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 -- MONAI's transforms draw from the global generator
    torch.manual_seed(0)
