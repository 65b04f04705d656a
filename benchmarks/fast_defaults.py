"""Which is faster, channels_last or not, bfloat16 or float32? For each architecture, in 2D and 3D, on this device.

A training step (forward, backward, Adam) of `build_classifier` in four settings that take turns. A setting that takes
twice as long as float32 on a small crop is measured on that alone, in one step: bfloat16 on a processor that only
imitates it takes minutes. The logits of the first step, in evaluation mode, agree with those of plain float32. `python
benchmarks/fast_defaults.py` writes `results/fast_defaults_<device>.json` and `.md`; nine minutes on two cores that
imitate bfloat16.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from measuring import DEVICE, Result, compare, parser, ratio_cell, take_turns
from torch import Tensor, nn

from medssl.networks import ARCHITECTURES, build_classifier
from medssl.phantoms.batch import draw_batch

SHAPES = {2: (224, 224), 3: (64, 64, 32)}
BATCHES = {"cpu": {2: 4, 3: 4}, "cuda": {2: 64, 3: 16}}
SETTINGS = {
    "float32": (False, False),
    "float32, channels_last": (False, True),
    "bfloat16": (True, False),
    "bfloat16, channels_last": (True, True),
}
"""Whether in bfloat16, whether channels_last."""
PLAIN = "float32"
CROP, TOO_SLOW = 32, 2.0
TOLERANCE = {False: 1e-3, True: 6e-2}
"""Of the logits over the largest of them, without and with bfloat16, whose numbers have three digits."""


class Training:
    """A network and its optimiser in one of the settings; every one starts from the same weights.

    Args:
        architecture: see ``build_classifier``.
        images: ``[B, 1, *spatial]``.
        setting: a key of ``SETTINGS``.
    """

    def __init__(self, architecture: str, images: Tensor, setting: str) -> None:
        self.half, channels_last = SETTINGS[setting]
        dims = images.ndim - 2
        layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dims] if channels_last else torch.contiguous_format
        torch.manual_seed(0)
        self.network: nn.Module = build_classifier(architecture, dims, 1, 11).to(DEVICE, memory_format=layout)
        self.images = images.to(DEVICE, memory_format=layout)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4, fused=True)
        self.network.eval()  # in the first step: batch statistics of a few small crops would blow rounding up
        self.logits: Tensor | None = None  # of the first step

    def step(self) -> None:
        """One step of training."""
        self.optimizer.zero_grad()
        with self._autocast():
            logits = self.network(self.images).float()
        if self.logits is None:
            self.logits = logits.detach()
            self.network.train()
        logits.square().mean().backward()
        self.optimizer.step()

    def _autocast(self) -> AbstractContextManager:
        return torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.half)


def measure(
    architecture: str, images: Tensor, settings: Iterable[str], repeats: int, warm_up: bool
) -> dict[str, dict[str, Any]]:
    """Each setting beside plain float32; their first logits agree."""
    trainings = {name: Training(architecture, images, name) for name in settings}
    times = take_turns({name: training.step for name, training in trainings.items()}, repeats, warm_up=warm_up)
    plain = trainings[PLAIN].logits
    assert plain is not None
    for name, training in trainings.items():
        assert training.logits is not None
        difference = ((training.logits - plain).abs().max() / plain.abs().max()).item()
        assert difference < TOLERANCE[training.half], (architecture, name, difference)
    return {name: compare(times[name], times[PLAIN]) for name in trainings}


def main() -> None:
    options = parser(__doc__, 5)
    options.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES))
    options.add_argument("--dims", nargs="+", type=int, default=list(SHAPES), choices=list(SHAPES))
    chosen = options.parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "network": lambda row: row["architecture"],
        "images": lambda row: row["images"],
        "setting": lambda row: row["setting"],
        "ms a step": lambda row: f"{row['milliseconds']:.0f}",
        "over float32 (quartiles)": ratio_cell,
        "fastest": lambda row: "**yes**" if row["fastest"] else "",
    }
    text = (
        f"A training step on {DEVICE.type}; {chosen.repeats} turns, medians. The setting of the lowest median is the "
        "fastest; differences of a few hundredths are noise."
    )
    name = f"fast_defaults_{DEVICE.type}"
    result = Result(chosen, name, "channels_last and bfloat16: where they help", text, columns)
    for dims in chosen.dims:
        count = BATCHES[DEVICE.type][dims]
        images = draw_batch(SHAPES[dims], count)
        crop = images[(..., *[slice(CROP)] * dims)]
        for architecture in chosen.architectures:
            on_crop = measure(architecture, crop, SETTINGS, 1, warm_up=False)
            quick = [name for name in SETTINGS if on_crop[name]["ratio"] < TOO_SLOW or name == PLAIN]
            rows = measure(architecture, images, quick, chosen.repeats, warm_up=True)
            fastest = min(rows, key=lambda name: rows[name]["milliseconds"])
            shape = f"{count} of {'×'.join(map(str, SHAPES[dims]))}"
            for name, row in (on_crop | rows).items():
                on = shape if name in rows else f"{count} of {'×'.join(map(str, crop.shape[2:]))}"
                result.add(architecture=architecture, images=on, setting=name, **row, fastest=name == fastest)


if __name__ == "__main__":
    main()
