"""Each study becomes an item of the network's size, with a note or a reason; only faults of studies are taken so."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureTyped, NormalizeIntensityd
from PIL import Image

from medssl.errors import UnusableImageError
from medssl.readers import Reading, Study, examine_folder
from medssl.transforms import Accounted, LoadRadiographd, ResampleVolumed, ResizeRadiographd

SIZE = (6, 8)
AS_TRAINED = [
    ResizeRadiographd("image", SIZE),
    NormalizeIntensityd("image"),
    EnsureTyped("image", track_meta=False),
]


def given(reading: Reading) -> Reading:
    return reading


def item(name: str, reading: Reading) -> dict[str, Any]:
    return {"image": Study(Path(name), (Path(name),), partial(given, reading)), "file": name}


def picture(folder: Path, name: str = "a.png") -> Path:
    path = folder / name
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)).save(path)
    return path


def test_a_good_study_is_what_the_chain_makes_of_its_file(tmp_path: Path) -> None:
    expected = Compose([LoadRadiographd("image"), *AS_TRAINED])({"image": picture(tmp_path)})["image"]
    (study,) = examine_folder(tmp_path, 2).items()
    done = Accounted(Compose(AS_TRAINED), SIZE)(study)
    assert type(done["image"]) is torch.Tensor
    assert torch.equal(done.pop("image"), expected)
    assert done == {"file": str(tmp_path / "a.png"), "reason": "", "note": ""}


def test_what_was_put_right_is_the_note() -> None:
    reading = Reading(np.arange(20.0, dtype=np.float32).reshape(4, 5), notes=("turned", "a slice interpolated"))
    done = Accounted(Compose(AS_TRAINED), SIZE)(item("a", reading))
    assert (done["reason"], done["note"]) == ("", "turned; a slice interpolated")


def test_a_fault_that_only_the_chain_finds_is_a_reason() -> None:
    values = np.arange(60.0, dtype=np.float32).reshape(3, 4, 5)
    chain = Compose([ResampleVolumed("image", (1, 1, 1)), EnsureTyped("image", track_meta=False)])
    done = Accounted(chain, (2, 3, 4))(item("far/a.nii", Reading(values, np.diag([1e5, 1e5, 1e5, 1]))))
    assert done["reason"] == "too large"
    assert done["note"].startswith("At a spacing of 1 × 1 × 1 mm a.nii has ")
    assert torch.equal(done["image"], torch.zeros(1, 2, 3, 4))


def test_another_modality_than_the_networks_is_refused() -> None:
    for modality, trained, reason in (
        ("DX", "CR", ""),
        ("US", "CR", "other modality"),
        ("US", "", ""),
        ("", "CR", ""),
        ("OT", "CR", ""),
    ):
        reading = Reading(np.arange(20.0, dtype=np.float32).reshape(4, 5), modality=modality)
        done = Accounted(Compose(AS_TRAINED), SIZE, trained)(item("a.dcm", reading))
        assert done["reason"] == reason
        assert ("It is US, and the network was trained on CR." in done["note"]) == bool(reason)


def test_a_bug_is_no_fault_of_the_study() -> None:
    def bug(data: Mapping) -> Mapping:
        return {}[data["nowhere"]]

    reading = Reading(np.eye(4, dtype=np.float32))
    for chain in (bug, Compose([bug])):
        with pytest.raises((KeyError, RuntimeError)):
            Accounted(chain, SIZE)(item("a", reading))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_good_and_bad_ones_come_from_workers_in_one_batch(tmp_path: Path, method: str) -> None:
    if method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method} here")
    for name in ("a.png", "c.png"):
        picture(tmp_path, name)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n")
    data = Dataset(examine_folder(tmp_path, 2).items(), Accounted(Compose(AS_TRAINED), SIZE))
    (batch,) = DataLoader(data, batch_size=3, num_workers=1, multiprocessing_context=method)
    assert batch["image"].shape == (3, 1, *SIZE)
    assert batch["image"].flatten(1).any(dim=1).tolist() == [True, False, True]
    assert batch["reason"] == ["", "unreadable", ""]
    assert "b.png" in batch["note"][1]
    assert str(tmp_path) not in batch["note"][1]


def test_the_reason_survives_the_study(tmp_path: Path) -> None:
    def mask() -> Reading:
        raise UnusableImageError("mask", f"{tmp_path}/a.png holds two values.")

    study = Study(tmp_path / "a.png", (tmp_path / "a.png",), mask)
    done = Accounted(Compose(AS_TRAINED), SIZE)({"image": study, "file": "a.png"})
    assert (done["reason"], done["note"]) == ("mask", "a.png holds two values.")
