"""Is RVRM's siamese form as a single task worth what SimCLR is, at the same cost? On radiographs of five hospitals.

Every arm pre-trains `resnet10_quarter` at 64 × 64 on the same images, and as many views pass the backbone in each:
what an arm shows more of in a step, it has fewer steps for. Then frozen features are probed (logistic regression, its
C chosen by folds) on patients who were in no pre-training, and at a hospital that was in none. Each seed deals the
patients, and draws weights and views, anew. Seconds are those of one core. Arms that the result file has already are
not measured again. `python benchmarks/rvrm_siamese.py --data FOLDER` (with `cxr_pool`, `nih_cxr` and `nih_cxr_64px`)
writes `results/rvrm_siamese.json` and `.md`; a quarter of an hour on one core.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from environment import environment
from torch import Tensor, nn
from tqdm import tqdm, trange

from medssl.evaluation import linear_probe, mean_partial_auroc
from medssl.losses import mixture_info_nce
from medssl.networks import Backbone, build_backbone
from medssl.pretext import PretextOutput, build_task
from medssl.pretext.rvrm import draw_coefficients, draw_pairs, mix
from medssl.transforms import ContrastiveView, LoadRadiograph, ResizeRadiograph

RESULTS = Path(__file__).parent / "results"
SIDE, BATCH, VIEWS = 64, 64, 200 * 128
LABELLED = 400
"""Images that a probe is fitted to, at most."""
NIH = ("Pneumonia", "Infiltration", "Atelectasis", "Edema", "Effusion")
REFERENCE = "simclr"


class Mixtures(nn.Module):
    """RVRM's siamese form with each choice open.

    Args:
        backbone, image_size: see `medssl.pretext.PretextTask`.
        every: as many mixtures as images, each image in two of them; or half as many, each image in one.
        of_views: mixtures of second views; or views of mixtures.
        both_ways: images look for their mixtures, too.
        alpha, temperature, view: see `medssl.pretext.RVRM`.
    """

    def __init__(
        self,
        backbone: Backbone,
        image_size: tuple[int, int],
        every: bool = True,
        of_views: bool = False,
        both_ways: bool = False,
        alpha: float = 1.0,
        temperature: float = 0.2,
        view: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.every, self.of_views, self.both_ways = every, of_views, both_ways
        self.alpha, self.temperature, self.view = alpha, temperature, ContrastiveView(**(view or {}))
        features = backbone.out_channels
        self.head = nn.Sequential(nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, 128))

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """The loss."""
        order = torch.randperm(len(images))
        pairs = torch.stack([order, order.roll(1)]) if self.every else draw_pairs(len(images), images.device)
        shares = draw_coefficients(pairs.shape[1], self.alpha, images.device)
        if self.of_views:
            views, others = self.view(torch.cat([images, images])).chunk(2)
            inputs = torch.cat([views, mix(others[pairs[0]], others[pairs[1]], shares)])
        else:
            inputs = self.view(torch.cat([images, mix(images[pairs[0]], images[pairs[1]], shares)]))
        embedded = self.head(backbone.pool(backbone(inputs)))
        loss, similarities = mixture_info_nce(
            embedded[len(images) :], embedded[: len(images)], pairs, shares, self.temperature
        )
        if self.both_ways:
            target = F.one_hot(pairs, len(images)).mul(torch.stack([shares, 1 - shares])[..., None]).sum(dim=0).T
            loss = (loss + F.cross_entropy(similarities.T, target / target.sum(dim=1, keepdim=True))) / 2
        return PretextOutput(loss, {})


Arm = Callable[[Backbone, tuple[int, int]], nn.Module]
ARMS: dict[str, tuple[Arm | None, float]] = {
    "untrained": (None, 0),
    REFERENCE: (partial(build_task, "simclr"), 2),
    "simclr, temperature 0.5": (partial(build_task, "simclr", temperature=0.5), 2),
    "half as many mixtures": (partial(Mixtures, every=False), 1.5),
    "half as many mixtures, alpha 0.3": (partial(Mixtures, every=False, alpha=0.3), 1.5),
    "half as many mixtures, both ways": (partial(Mixtures, every=False, both_ways=True), 1.5),
    "as many mixtures, both ways": (partial(Mixtures, both_ways=True), 2),
    "as many mixtures of views, both ways": (partial(Mixtures, of_views=True, both_ways=True), 2),
}
"""What is trained, and its passes of the backbone an image."""


@dataclass
class Hospital:
    """Images ``[N, 1, *spatial]``, labels ``[N, K]`` (1, 0, NaN) and patients of one hospital."""

    images: Tensor
    labels: np.ndarray
    patients: np.ndarray


def load(folder: Path, names: list[str]) -> Tensor:
    """Normalised radiographs."""
    read, resize = LoadRadiograph(), ResizeRadiograph(SIDE)
    images = torch.stack(
        [torch.as_tensor(resize(read(folder / name))) for name in tqdm(names, folder.parent.name, leave=False)]
    )
    deviation, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
    return (images - mean) / deviation.clamp(min=1e-6)


def hospitals(data: Path) -> dict[str, Hospital]:
    """Every hospital; those without labels to probe have none."""
    found = {}
    for path in sorted(data.glob("cxr_pool/*/labels.csv")):
        table = pd.read_csv(path, dtype={"patient": str})
        name = path.parent.name
        labels = {"kermany": ["Pneumonia", "Bacterial"]}.get(name, [c for c in table if c == "Tuberculosis"])
        values = table[labels].to_numpy(dtype=float)
        if name == "kermany":
            values[values[:, 0] == 0, 1] = np.nan  # bacterial or viral, of those with pneumonia
        own = [
            f"{name} {row}" if patient != patient else f"{name.split('_')[0]} {patient}"
            for row, patient in enumerate(table["patient"])
        ]
        found[name] = Hospital(load(path.parent, list(table["image"])), values, np.array(own))
    for name in ("nih_cxr", "nih_cxr_64px"):
        table = pd.read_csv(data / name / "Data_Entry_2017.csv")
        findings = table["Finding Labels"].str.split("|")
        values = np.array([[float(finding in cell) for finding in NIH] for cell in findings])
        own = np.array([f"nih {patient}" for patient in table["Patient ID"]])
        found[name] = Hospital(load(data / name / "images", list(table["Image Index"])), values, own)
    return found


def deal(hospital: Hospital, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images are to train on and which to test: half of the patients each."""
    patients = np.unique(hospital.patients)
    kept = np.random.default_rng(seed).permutation(patients)[: len(patients) // 2]
    test = np.isin(hospital.patients, kept)
    return np.flatnonzero(~test), np.flatnonzero(test)


def pretrain(images: Tensor, arm: Arm | None, passes: float, seed: int) -> tuple[Backbone, float]:
    """A backbone, and the seconds of one core that its training took."""
    torch.manual_seed(seed)
    backbone = build_backbone("resnet10_quarter", 2)
    if arm is None:
        return backbone.eval(), 0.0
    task = arm(backbone, (SIDE, SIDE))
    steps = round(VIEWS / (passes * BATCH))
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    started = time.process_time()
    for _ in trange(steps, leave=False):
        optimizer.zero_grad()
        task(backbone, images[torch.randperm(len(images))[:BATCH]]).loss.backward()
        optimizer.step()
        schedule.step()
    return backbone.eval(), time.process_time() - started


def probe(backbone: Backbone, all_hospitals: dict[str, Hospital], seed: int) -> dict[str, float]:
    """AUROC within NIH, Shenzhen and Guangzhou, and from Shenzhen to Montgomery."""

    def features(hospital: Hospital, rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return torch.cat([backbone.pool(backbone(part)) for part in hospital.images[rows].split(256)]).numpy()

    aurocs = {}
    for name in ("nih_cxr", "shenzhen_tb", "kermany"):
        hospital = all_hospitals[name]
        train, test = deal(hospital, seed)
        train = np.random.default_rng(seed).permutation(train)[:LABELLED]
        judged = {name: (hospital, test)}
        if name == "shenzhen_tb":
            other = all_hospitals["montgomery_dev"]
            judged["montgomery_dev"] = (other, np.arange(len(other.labels)))
        for place, (judge, rows) in judged.items():
            scores = linear_probe(
                features(hospital, train), hospital.labels[train], features(judge, rows), list(hospital.patients[train])
            )
            aurocs[place] = float(mean_partial_auroc(torch.as_tensor(scores), torch.as_tensor(judge.labels[rows])))
    return aurocs


def as_markdown(report: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    places = ("nih_cxr", "shenzhen_tb", "kermany", "montgomery_dev")
    lines = [
        "# RVRM's siamese form beside SimCLR, a frozen probe on radiographs",
        "",
        f"{report['machine']}; {versions}. `resnet10_quarter`, {SIDE} × {SIDE}, {VIEWS} views through the backbone in "
        f"mini-batches of {BATCH} images, Adam at 0.001, cosine; temperature 0.2 unless another is named. AUROC of a "
        f"logistic regression on frozen features of at most {LABELLED} images, mean ± standard deviation over "
        "seeds. To the right of it the mean of the first three (the fourth has 60 images), the same minus that of "
        "SimCLR of the same seed, and seconds of one core.",
        "",
        "| | NIH, five findings | Shenzhen, tuberculosis | Guangzhou, pneumonia and its kind | Shenzhen → Montgomery "
        "| mean | over SimCLR | seconds | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows = {(row["arm"], row["seed"]): row for row in report["rows"]}
    means = {key: np.mean([row["auroc"][place] for place in places[:3]]) for key, row in rows.items()}
    for arm in dict.fromkeys(row["arm"] for row in report["rows"]):
        seeds = [seed for name, seed in rows if name == arm]
        cells = [spread([rows[arm, seed]["auroc"][place] for seed in seeds]) for place in places]
        cells.append(spread([means[arm, seed] for seed in seeds]))
        gains = [means[arm, seed] - means[REFERENCE, seed] for seed in seeds if (REFERENCE, seed) in rows]
        cells.append("" if arm == REFERENCE else spread(gains, "+.3f"))
        cells.append(f"{np.mean([rows[arm, seed]['seconds'] for seed in seeds]):.0f}")
        cells.append(", ".join(map(str, sorted(seeds))))
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float], form: str = ".3f") -> str:
    return (
        f"{np.mean(values):{form}} ± {np.std(values, ddof=1):.3f}"
        if len(values) > 1
        else f"{np.mean(values or [np.nan]):{form}}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the radiographs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = arguments.output / "rvrm_siamese.json"
    report = json.loads(path.read_text()) if path.exists() else {"rows": []}
    report.update(environment())
    known = hospitals(arguments.data)
    for seed in arguments.seeds:
        kept = [known[name].patients[deal(known[name], seed)[1]] for name in ("nih_cxr", "shenzhen_tb", "kermany")]
        kept.append(known["montgomery_dev"].patients)
        pool = torch.cat([each.images[~np.isin(each.patients, np.concatenate(kept))] for each in known.values()])
        for arm in arguments.arms:
            if any((row["arm"], row["seed"]) == (arm, seed) for row in report["rows"]):
                continue
            backbone, seconds = pretrain(pool, *ARMS[arm], seed)
            row = {
                "arm": arm,
                "seed": seed,
                "images": len(pool),
                "seconds": seconds,
                "auroc": probe(backbone, known, seed),
            }
            print(row, flush=True)
            report["rows"].append(row)
            path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
            path.with_suffix(".md").write_text(as_markdown(report))


if __name__ == "__main__":
    main()
