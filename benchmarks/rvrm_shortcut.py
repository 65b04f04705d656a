"""What are RVRM's features worth, as the paper has it and with its shortcut taken away?

In the paper's form λ can be read off one pixel; with `disguise: 1` it cannot, nor in the siamese form (which
`rvrm_siamese.py` holds against SimCLR on radiographs). All are trained on phantoms in 2D and in 3D (or on the
radiographs of a datalist), with the same steps and three seeds. Beside the error on unseen images stands
the mean AUROC of a linear probe (logistic regression on the frozen, folded features), with that of the untrained
backbone of the same seed. `python benchmarks/rvrm_shortcut.py` writes `results/rvrm_shortcut.json` and `.md` beside
this file, half an hour on two idle cores; `--arms` measures some arms anew and keeps the others' rows.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import environment
from phantom_shortcut import linear, make_splits
from torch import Tensor
from tqdm import trange

from medssl.data import Datalist
from medssl.evaluation import partial_auroc
from medssl.networks import Backbone, build_backbone, fold_input_copies
from medssl.pretext import RVRM, build_task
from medssl.transforms import LoadRadiograph, ResizeRadiograph

RESULTS = Path(__file__).parent / "results"
ARMS: dict[str, dict[str, Any] | None] = {
    "untrained": None,
    "rvrm": {},
    "rvrm, disguise 1": {"disguise": 1.0},
    "rvrm, siamese": {"form": "siamese"},
}
PROBE_STRENGTH = 0.01
"""C of the logistic regression, the same for all."""
Split = tuple[Tensor, np.ndarray]


def normalise(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    shape = [-1, *[1] * (images.ndim - 1)]
    return (images - flat.mean(dim=1).view(shape)) / flat.std(dim=1).clamp(min=1e-6).view(shape)


def phantom_splits(dims: int) -> tuple[Split, Split]:
    """Normalised phantoms ``[N, 1, *spatial]`` and their findings, patients apart."""
    kind, counts, size = ("chest", (1200, 600), (64, 64)) if dims == 2 else ("head", (600, 300), (32, 32, 16))
    splits = make_splits(kind, *counts, size, seed=5, workers=2)  # type: ignore[arg-type]
    train, test = ((normalise(torch.from_numpy(s.images.astype(np.float32))[:, None]), s.labels) for s in splits)
    return train, test


def datalist_splits(path: Path, size: int) -> tuple[Split, Split]:
    """The radiographs of a fully labelled datalist, without the findings that few have."""
    load, resize = LoadRadiograph(), ResizeRadiograph((size, size))
    parts = []
    for name in ("training", "test"):
        items = Datalist.read(path).items(name)
        images = torch.stack([torch.as_tensor(resize(load(item["image"]))) for item in items])
        parts.append((normalise(images), np.array([item["label"] for item in items], dtype=float)))
    enough = np.logical_and.reduce([np.nansum(labels, axis=0) >= 8 for _, labels in parts])
    print("findings:", [name for name, keep in zip(Datalist.read(path).labels, enough, strict=True) if keep])
    train, test = ((images, labels[:, enough]) for images, labels in parts)
    return train, test


def pretrain(
    images: Tensor, values: dict[str, Any] | None, seed: int, steps: int, batch: int
) -> tuple[Any, float | None]:
    """A backbone after some steps of RVRM (None: as it was built) and the task's error on held-out images."""
    torch.manual_seed(seed)
    size = images.shape[2:]
    backbone = build_backbone("resnet18", len(size), in_channels=RVRM.copies_for(values or {}))
    if values is None:
        return backbone, None
    train, unseen = images[: -len(images) // 8], images[-len(images) // 8 :]
    task = build_task("rvrm", backbone, size, **values)
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in trange(steps, leave=False):
        optimizer.zero_grad()
        task(backbone, train[torch.randperm(len(train))[:batch]]).loss.backward()
        optimizer.step()
        schedule.step()
    backbone.eval()
    with torch.no_grad():
        errors = [task(backbone, unseen).metrics["error"] for _ in range(4)]
    return backbone, torch.stack(errors).mean().item()


def features(backbone: Backbone, images: Tensor) -> np.ndarray:
    """Pooled features of single images, through the folded network."""
    plain = build_backbone(backbone.name, backbone.spatial_dims).eval()
    plain.network.load_state_dict(fold_input_copies(backbone.network, copies=backbone.in_channels))
    with torch.no_grad():
        return torch.cat([plain.pool(plain(part)) for part in images.split(64)]).numpy()


def probe(backbone: Backbone, train: Split, test: Split) -> float:
    """Mean AUROC over the findings of a linear probe."""
    scores = linear(features(backbone, train[0]), features(backbone, test[0]), train[1], PROBE_STRENGTH)
    return float(
        np.nanmean(np.asarray(partial_auroc(torch.as_tensor(scores), torch.as_tensor(test[1], dtype=torch.float))))
    )


def as_markdown(report: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "# RVRM: the paper's form, the disguised one and the siamese",
        "",
        f"{report['machine']}; {versions}. ResNet-18, Adam at 0.001; linear probe: logistic regression, C = "
        f"{PROBE_STRENGTH}, on frozen features. Mean ± standard deviation over seeds; a constant answer has "
        "the error 0.083.",
        "",
        "| images | steps × batch | | error of λ, unseen images | probe, mean AUROC | over untrained, same seed |",
        "|---|---|---|---|---|---|",
    ]
    for data, runs in report["data"].items():
        for arm in ARMS:
            if not (rows := [row for row in runs["rows"] if row["arm"] == arm]):
                continue
            aurocs = np.array([row["auroc"] for row in rows])
            plain = np.array([row["auroc"] for row in runs["rows"] if row["arm"] == "untrained"])
            gain = "" if arm == "untrained" else spread(aurocs - plain, "+.3f")
            error = "" if arm == "untrained" else spread(np.array([row["error"] for row in rows]))
            lines.append(
                f"| {data} | {runs['steps']} × {runs['batch']} | {arm} | {error} | {spread(aurocs)} | {gain} |"
            )
    return "\n".join(lines) + "\n"


def spread(values: np.ndarray, form: str = ".3f") -> str:
    return f"{values.mean():{form}} ± {values.std(ddof=1):.3f}" if len(values) > 1 else f"{values.mean():{form}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--datalist", type=Path, help="fully labelled radiographs instead of the phantoms")
    parser.add_argument("--name", default="radiographs", help="what the table calls those of --datalist")
    arguments = parser.parse_args()
    results = RESULTS / "rvrm_shortcut.json"
    report = json.loads(results.read_text()) if results.exists() else {"data": {}}
    report.update(environment())
    for name in [arguments.name] if arguments.datalist else ["chest phantoms, 64²", "head phantoms, 32 × 32 × 16"]:
        dims = 3 if name.startswith("head") else 2
        train, test = datalist_splits(arguments.datalist, 64) if arguments.datalist else phantom_splits(dims)
        runs: dict[str, Any] = {"steps": arguments.steps, "batch": 32 if dims == 2 else 16, "rows": []}
        before = report["data"].get(name, {})
        if all(before.get(key) == runs[key] for key in ("steps", "batch")):
            runs["rows"] = [row for row in before["rows"] if row["arm"] not in arguments.arms]
        report["data"][name] = runs
        for seed in range(arguments.seeds):
            for arm in arguments.arms:
                backbone, error = pretrain(train[0], ARMS[arm], seed, runs["steps"], runs["batch"])
                runs["rows"].append({"arm": arm, "seed": seed, "error": error, "auroc": probe(backbone, train, test)})
                print(name, runs["rows"][-1], flush=True)
        results.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        (RESULTS / "rvrm_shortcut.md").write_text(as_markdown(report))


if __name__ == "__main__":
    main()
