"""One head a source and self-training through the bundles: an ordinary model comes out, which says how it came."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from medssl.data import Datalist, Source
from medssl.data.prepare import prepare
from medssl.evaluation import read_predictions
from medssl.networks import build_classifier
from medssl.phantoms import write_phantoms
from medssl.release import export_run
from medssl.studies import BundleRun


def two_hospitals(folder: Path) -> Path:
    """Datalist of two sources of 32 × 32 pixels: Effusion is known at both, Mass at the second only."""
    sources = []
    for number, classes in enumerate((["Effusion"], ["Effusion", "Mass"])):
        table = write_phantoms(folder / f"phantoms{number}", "chest", 40, seed=number, size=48, progress=False)
        pd.read_csv(table)[["image", "patient", *classes]].to_csv(table, index=False)
        sources.append(Source(images=table.parent / "images", csv=table, name=f"hospital{number}"))
    prepare(sources, folder / "data", size=(32, 32), fractions=(0.5, 0.25, 0.25), labels=["Effusion", "Mass"])
    return folder / "data" / "datalist.json"


def test_a_head_a_source_and_self_training(tmp_path: Path) -> None:
    data, first, second = two_hospitals(tmp_path), tmp_path / "first", tmp_path / "second"
    options: dict[str, Any] = {"data": data, "workers": 0, "epochs": 2, "batch_size": 8, "learning_rate": 0.001}
    options |= {"architecture": "resnet10_quarter", "heads": "source"}
    BundleRun("finetune", {**options, "output_dir": first, "average": 0.9, "head": "probe", "mixup": 0.4}).run()
    network = build_classifier("resnet10_quarter", 2, 1, 2)
    network.load_state_dict(torch.load(first / "model.pt", weights_only=True))  # strict: there is nothing else in it
    trained = torch.load(first / "checkpoints" / "last.pt", weights_only=True)
    assert trained["network"]["fc.weight"].shape[0] == 4

    figures: dict[bool, Any] = {}
    for mirror in (False, True):
        options_of = {"data": data, "output_dir": first, "workers": 0, "split": "validation", "resamples": 0}
        BundleRun("finetune", {**options_of, "mirror": mirror}, "evaluate").run()
        figures[mirror] = read_predictions(first / "predictions_validation.csv").scores
    assert not np.allclose(figures[False], figures[True], atol=1e-6)

    # The thresholds on either side of the median, so that both outcomes are filled.
    limits = {"pseudo_positive": 0.5 + 1e-6, "pseudo_negative": 0.5}
    BundleRun("finetune", {**options, **limits, "output_dir": second, "pseudo": first}).run()
    told = json.loads((second / "model.json").read_text())["pseudo_labels"]
    unknown = np.isnan([item["label"] for item in Datalist.read(data).items("training")]).sum(axis=0)
    assert [sum(counts) for counts in told["filled"].values()] == unknown.tolist()
    metadata = export_run(second, tmp_path / "bundle", archive=False).folder / "configs" / "metadata.json"
    assert f"Mass {told['filled']['Mass'][0]} positive" in json.loads(metadata.read_text())["description"]
