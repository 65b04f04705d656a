"""What a benchmark was measured on, for its result file."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def processor() -> str:
    """Name of the processor, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def environment() -> dict[str, Any]:
    """``machine`` (processor, cores, GPU) and ``versions`` (Python and the packages that matter)."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    packages = ("torch", "monai", "numpy", "scikit-learn")
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores{gpu}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }
