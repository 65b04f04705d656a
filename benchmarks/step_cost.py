"""What does a step of each pretext task cost, over the bare backbone's on the same number of pixels?

Forward and backward pass, without the optimiser, in the memory layout of the bundles; on CUDA in bfloat16. "The same
number of pixels" is the very tensor that the task feeds to the backbone: tiles, views and copies included; it is
checked that the bare backbone makes the very features of it that the task got, where nothing is masked. `mae` is
measured on a ViT-Tiny, of which it uses a quarter of the tokens; `distil` learns from a network of its own size.
`rvrm` needs a backbone of three channels; rotation is measured on such a one too. The task and the bare backbone take
turns. Where a step costs most, the profile says which operators take the time. `python benchmarks/step_cost.py`
writes `results/step_cost.json` and `.md` beside this file, perhaps half an hour on two idle cores; `--shapes
96x96x96 --name step_cost_96` takes thirteen more.
"""

from collections.abc import Callable
from typing import Any

import torch
from measuring import DEVICE, Result, compare, parser, ratio_cell, take_turns
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import profile

from medssl.networks import build_backbone, fast_layout
from medssl.phantoms.batch import draw_batch
from medssl.pretext import TASKS, build_task

BATCHES = {(224, 224): (4, 64), (96, 96, 96): (2, 8), (30, 128, 128): (2, 16), (128, 128, 32): (2, 16)}
"""Images a step, on the CPU and on CUDA; the last is what a CT bundle sees of a volume."""
SHAPES = ("224x224", "30x128x128")
BAR = 1.10
REASONS = {
    "mim": "decoder",
    "inpainting": "decoder",
    "models_genesis": "decoder, distortions",
    "simsiam": "augmentation, projector and predictor",
    "simclr": "augmentation, projector",
    "barlow_twins": "projector",
    "vicreg": "projector",
    "byol": "teacher, projectors",
    "moco": "teacher, projectors",
    "distil": "teacher",
    "dino": "teacher, heads",
    "spark": "decoder, masks",
    "mae": "decoder",
    "volume_fusion": "decoder",
}
OTHER_FEATURES = ("spark", "mae")
"""Tasks whose backbone makes other features of what it is fed than by itself: it is masked, or gets some tokens."""
PROFILED, OPERATORS = 3, 5


class Measured:
    """A task on a backbone, and the backbone alone on what the task fed it.

    Args:
        name: of the task.
        architecture: of the backbone.
        images: ``[B, 1, *spatial]``.
        copies: images on the backbone's channel axis.
    """

    def __init__(self, name: str, architecture: str, images: Tensor, copies: int) -> None:
        torch.manual_seed(0)
        self.images = images
        layout = fast_layout(architecture, images.ndim - 2)
        self.backbone = build_backbone(architecture, images.ndim - 2, copies).to(DEVICE, memory_format=layout)
        values = {"teacher": build_backbone(architecture, images.ndim - 2)} if name == "distil" else {}
        self.task = build_task(name, self.backbone, images.shape[2:], **values).to(DEVICE, memory_format=layout)
        looks = self._look()
        self.fed = [fed for fed, _ in looks]
        for fed, features in looks:
            with _autocast(), torch.no_grad():
                again = self.backbone(fed)
            if features is not None and name not in OTHER_FEATURES:
                torch.testing.assert_close(again, features, rtol=1e-3, atol=1e-3)

    def _look(self) -> list[tuple[Tensor, Tensor | None]]:
        """What the task fed the backbone in each pass, and the last map that it got; None where it took tokens."""
        seen: list[tuple[Tensor, Tensor | None]] = []

        def kept(call: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
            def keep(images: Tensor) -> Any:
                output = call(images)
                seen.append((images.detach(), output[-1].detach().clone() if isinstance(output, list) else None))
                return output

            return keep

        entrances = {"pyramid": kept(self.backbone.pyramid), "embed": kept(self.backbone.embed)}
        vars(self.backbone).update(entrances)
        self.step()
        for name in entrances:
            del vars(self.backbone)[name]
        return seen

    def step(self) -> None:
        """Forward and backward of the task."""
        self._backward(lambda: self.task(self.backbone, self.images).loss)

    def bare(self) -> None:
        """Forward and backward of the backbone alone."""
        self._backward(lambda: torch.stack([self.backbone(fed).mean() for fed in self.fed]).sum())

    def _backward(self, loss: Callable[[], Tensor]) -> None:
        self.backbone.zero_grad()
        self.task.zero_grad()
        with _autocast():
            value = loss()
        value.backward()


def _autocast() -> torch.autocast:
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda")


def profile_difference(measured: Measured) -> dict[str, float]:
    """The operators that take most of what the task's step takes beyond the bare one's, in ms."""
    totals = [_operators(step) for step in (measured.step, measured.bare)]
    more = {name: taken - totals[1].get(name, 0.0) for name, taken in totals[0].items()}
    return dict(sorted(more.items(), key=lambda item: -item[1])[:OPERATORS])


def _operators(step: Callable[[], None]) -> dict[str, float]:
    step()
    with profile() as profiled:
        step()
    on_gpu = DEVICE.type == "cuda"
    return {
        event.key: (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1000
        for event in profiled.key_averages()
        if event.device_type == (DeviceType.CUDA if on_gpu else DeviceType.CPU)
    }


def main() -> None:
    options = parser(__doc__, 5)
    options.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    options.add_argument("--shapes", nargs="+", default=SHAPES, choices=["x".join(map(str, size)) for size in BATCHES])
    options.add_argument("--architecture", default="resnet18", help="of the backbone (default: resnet18)")
    options.add_argument("--name", default="step_cost", help="of the result files")
    chosen = options.parse_args()
    sizes = {shape: tuple(map(int, shape.split("x"))) for shape in chosen.shapes}
    counts = {shape: BATCHES[size][DEVICE.type == "cuda"] for shape, size in sizes.items()}
    columns: dict[str, Callable[[Any], str]] = {
        "task": lambda row: row["task"],
        "images": lambda row: row["shape"].replace("x", "×"),
        "pixels fed, over the images'": lambda row: f"{row['pixels']:.2f}",
        "step, ms": lambda row: f"{row['milliseconds']:.0f}",
        "bare backbone, same pixels, ms": lambda row: f"{row['bare_milliseconds']:.0f}",
        "ratio": ratio_cell,
        f"why over {BAR:.2f}": lambda row: REASONS.get(row["task"], "") if row["ratio"] > BAR else "",
    }
    text = (
        f"{chosen.architecture}, {'bfloat16' if DEVICE.type == 'cuda' else 'float32'}, forward and backward; "
        + "; ".join(f"{counts[shape]} images of {shape.replace('x', ' × ')}" for shape in sizes)
        + f"; {chosen.repeats} turns, medians, quartiles of the ratio in brackets."
    )
    result = Result(chosen, chosen.name, "The cost of a step of each pretext task", text, columns)
    for shape, size in sizes.items():
        images = draw_batch(size, counts[shape]).to(DEVICE)
        for name, copies in [*((name, 3 if name == "rvrm" else 1) for name in chosen.tasks), ("rotation", 3)]:
            measured = Measured(name, architecture_for(name, chosen.architecture), images, copies)
            times = take_turns({"task": measured.step, "bare": measured.bare}, chosen.repeats, warm_up=False)
            result.add(
                task="rotation, three channels" if (name, copies) == ("rotation", 3) else name,
                name=name,
                copies=copies,
                shape=shape,
                pixels=sum(fed.numel() for fed in measured.fed) / copies_seen(measured) / images.numel(),
                **compare(times["task"], times["bare"]),
                bare_milliseconds=compare(times["bare"], times["bare"])["milliseconds"],
            )
    for row in sorted(result.rows, key=lambda row: -row["ratio"])[:PROFILED]:
        images = draw_batch(sizes[row["shape"]], counts[row["shape"]]).to(DEVICE)
        architecture = architecture_for(row["name"], chosen.architecture)
        more = profile_difference(Measured(row["name"], architecture, images, row["copies"]))
        found = ", ".join(f"{operator} {taken:.0f}" for operator, taken in more.items())
        result.notes.append(
            f"Beyond the bare backbone, ms, {row['task']} on {row['shape'].replace('x', '×')}: {found}."
        )
    result.write()


def architecture_for(task: str, chosen: str) -> str:
    """The smallest transformer where a task wants one, else what was chosen."""
    smallest = TASKS[task].smallest_backbone
    return smallest if smallest.startswith("vit") else chosen


def copies_seen(measured: Measured) -> int:
    """Channels that the task fed the backbone for each channel of an image."""
    return measured.fed[0].shape[1] // measured.images.shape[1]


if __name__ == "__main__":
    main()
