"""What all tests share: every test draws the same random numbers, whichever tests ran before it."""

import random

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 -- MONAI's transforms draw from the global generator
    torch.manual_seed(0)
