"""Verify passes what we export and our own bundles, and names every damage in a sentence of its own."""

import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import verify_metadata
from monai.networks.nets import DenseNet

from medssl.data import write_datalist
from medssl.files import write_json, write_text
from medssl.networks import build_classifier
from medssl.release import export_run
from medssl.release.checks.configs import SCHEMA_FILE
from medssl.release.verify import verify_bundle

LABELS = ["Effusion", "Mass"]
PATIENT, IMAGE = "5e0c17af90b2d3c4", "Miller_Anna/00000013_005.png"
BUNDLES = [Path(str(files("medssl.bundles"))) / name for name in ("pretrain", "finetune", "segment")]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is checked is checked offline."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a check went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def finished_run(folder: Path, spatial_dims: int) -> Path:
    """What a fine-tuning leaves behind, as far as an export needs it, with random weights."""
    item = {"image": IMAGE, "patient": PATIENT, "label": [1, None]}
    other = {"image": "images/00000014_000.png", "patient": "0f1e2d3c4b5a6978", "label": [0, 1]}
    write_datalist(folder / "data" / "datalist.json", LABELS, {"training": [item], "test": [other]})
    run = folder / "run"
    write_text(run / "config.yaml", yaml.safe_dump({"datalist": str(folder / "data" / "datalist.json")}))
    description: dict[str, Any] = {
        "architecture": "resnet10_quarter",
        "spatial_dims": spatial_dims,
        "in_channels": 1,
        "image_size": [32] * spatial_dims,
        "intensity": "as in the training",
        "labels": LABELS,
        "exclusive": False,
        **({"spacing": [1.0, 1.0, 1.0], "window": [-200.0, 300.0]} if spatial_dims == 3 else {}),
    }
    write_json(run / "model.json", description)
    torch.save(build_classifier("resnet10_quarter", spatial_dims, 1, len(LABELS)).state_dict(), run / "model.pt")
    return run


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An exported bundle and its run."""
    folder = tmp_path_factory.mktemp("exported")
    run = finished_run(folder, request.param)
    export_run(run, folder / "bundle", archive=False)
    return folder / "bundle", run


def test_what_we_export_passes(exported: tuple[Path, Path]) -> None:
    bundle, run = exported
    before = sorted(bundle.rglob("*"))
    verified = verify_bundle(bundle, run)
    assert verified.ok, str(verified)
    assert verified.kind == "exported"
    assert not verified.left_out
    assert len(verified.passed) == 16
    assert sorted(bundle.rglob("*")) == before
    assert str(verified).endswith("Nothing is wrong.")


def test_without_the_run_the_search_for_its_patients_is_left_out_and_said(small: tuple[Path, Path]) -> None:
    verified = verify_bundle(small[0])
    assert verified.ok, str(verified)
    assert verified.left_out == ["no patient and no image of the run is named (give the run with --run)"]


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_our_training_bundles_pass(folder: Path) -> None:
    verified = verify_bundle(folder)
    assert verified.ok, str(verified)
    assert verified.kind == "training"
    assert "every _target_ is there" in verified.passed
    assert any("no weights in the bundle" in reason for reason in verified.left_out)


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_monai_verifies_our_metadata_with_the_local_schema(folder: Path, tmp_path: Path) -> None:
    metadata = folder / "configs" / "metadata.json"
    verify_metadata(meta_file=str(metadata), filepath=str(SCHEMA_FILE))
    write_json(tmp_path / "metadata.json", {**json.loads(metadata.read_text()), "authors": ["us"]})
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA_FILE))


# Each damage takes the folder of a bundle and spoils it.
Damage = Callable[[Path], Any]


def changed(content: Any, changes: dict[str, Any]) -> Any:
    """A nested dictionary with other values; the key `a__b` is `b` of `a`, the value None takes it away."""
    for name, value in changes.items():
        *path, last = name.split("__")
        place = content
        for part in path:
            place = place[part]
        place[last] = value
        if value is None:
            del place[last]
    return content


def config(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "configs" / "inference.yaml"
        write_text(path, yaml.safe_dump(changed(yaml.safe_load(path.read_text()), changes), sort_keys=False))

    return damage


def metadata(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "configs" / "metadata.json"
        write_json(path, changed(json.loads(path.read_text()), changes))

    return damage


def weights(change: Callable[[dict], Any]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "models" / "model.pt"
        torch.save(change(torch.load(path, weights_only=True)), path)

    return damage


def first(state: dict, change: Callable[[torch.Tensor], torch.Tensor]) -> dict:
    name = next(iter(state))
    return {**state, name: change(state[name])}


def remove(file: str) -> Damage:
    return lambda folder: (folder / file).unlink()


def append(file: str, text: str) -> Damage:
    return lambda folder: write_text(folder / file, (folder / file).read_text() + text)


def write(file: str, content: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(content)

    return damage


class Harmful:
    def __reduce__(self) -> tuple[type[Exception], tuple[str]]:
        return RuntimeError, ("code of the file was run",)


def other_torchscript(folder: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 2))
    torch.jit.save(torch.jit.script(network), folder / "models" / "model.ts")


LARGE = (
    "large_files:\n- {path: models/model.pt, url: 'https://example.org/model.pt', hash_val: '0', hash_type: sha256}\n"
)
OUTPUT = "network_data_format__outputs__pred__"
THREE = {f"{OUTPUT}num_channels": 3, f"{OUTPUT}channel_def": {"0": "Effusion", "1": "Mass", "2": "Nodule"}}

DAMAGES: dict[str, tuple[Damage, str]] = {
    "no licence": (remove("LICENSE"), r"^LICENSE is missing"),
    "empty licence": (write("LICENSE", b" \n"), r"^LICENSE is empty"),
    "no metadata": (remove("configs/metadata.json"), r"^configs/metadata\.json is missing"),
    "no inference": (remove("configs/inference.yaml"), r"^configs/inference\.yaml \(or \.json\) is missing"),
    "no weights": (remove("models/model.pt"), r"^models/model\.pt is missing: put the weights there"),
    "no data licence": (remove("docs/data_license.txt"), r"^docs/data_license\.txt is missing"),
    "no sections": (write("docs/README.md", b"# Model\n## Authors\n"), "lacks the sections Tags, .*, License of"),
    "outcome of a run": (write("eval/note.txt", b"-"), r"^eval/note\.txt is data or the outcome of a run"),
    "an image": (write("docs/lung.dcm", b"-"), r"^docs/lung\.dcm is an image or made of images"),
    "a link": (lambda folder: os.symlink("LICENSE", folder / "COPYING"), "^COPYING is a link"),
    "big file": (write("docs/film.bin", bytes(26_000_000)), r"film\.bin has 26 MB, .* in large_files\.yml"),
    "wrong hash": (write("large_files.yml", LARGE.encode()), r"large_files\.yml gives models/model\.pt another sha256"),
    "no hash": (write("large_files.yml", LARGE.replace("'0'", "''").encode()), r'gives no "hash_val"'),
    "no list": (write("large_files.yml", b"- a\n"), 'large_files.yml is no list "large_files"'),
    "invalid JSON": (append("configs/metadata.json", "}"), r"metadata\.json is no valid JSON: Extra data: line"),
    "invalid YAML": (append("configs/inference.yaml", "a: [1\n"), r"inference\.yaml is no valid YAML: .*line \d+"),
    "named twice": (append("configs/inference.yaml", "device: cpu\n"), "Duplicate key: `device`; the earlier value"),
    "no key": (metadata(copyright=None), r"metadata\.json, at the top: 'copyright' is a required property"),
    "wrong type": (metadata(authors=["us"]), r"metadata\.json, authors: \['us'\] is not of type 'string'"),
    "no key of a tensor": (metadata(**{f"{OUTPUT}dtype": None}), r"outputs → pred: 'dtype' is a required property"),
    "no intended use": (metadata(intended_use=""), "intended_use: .*the zoo shows it"),
    "version of two": (metadata(version="1.0"), "version: '1.0' .*three numbers"),
    "unknown version": (metadata(version="0.9.0"), r"version 0\.9\.0, and its changelog ends with 0\.1\.0"),
    "local version": (metadata(pytorch_version="2.13.0+cpu"), r"pytorch_version: '2\.13\.0\+cpu' .*plain version"),
    "unnamed channel": (metadata(**{f"{OUTPUT}num_channels": 3}), "gives pred 3 channels, and names 2 of them"),
    "figure in words": (metadata(eval_metrics={"mAUROC": "good"}), "mAUROC: 'good' is not of type 'number'"),
    "other channels": (metadata(**THREE), r"do not fit: output channel number `2` doesn't match: `3`"),
    "missing id": (config(inferer=None), r"lacks inferer, or does not refer to it"),
    "missing id of the zoo": (config(run=None), r"inference\.yaml lacks run, or"),
    "other root": (config(bundle_root="../other"), r"has another bundle_root than '\.'"),
    "missing reference": (config(postprocessing__keys="@outputs"), "inference does not run .*outputs"),
    "no Python": (config(postprocessing__keys="$1 +"), "inference does not run"),
    "medssl in a config": (config(inferer___target_="medssl.losses.Inferer"), "yaml imports medssl, which those who"),
    "medssl in an expression": (config(more="$import medssl.data"), "yaml imports medssl, which those who"),
    "medssl in a script": (
        append("scripts/__init__.py", "\nfrom medssl.data import x\n"),
        "imports medssl, which those",
    ),
    "medssl required": (metadata(required_packages_version__medssl="0.1.0"), "requires medssl, which those"),
    "unlisted package": (
        append("scripts/__init__.py", "\nimport nibabel\n"),
        "imports nibabel, which required_packages_",
    ),
    "misspelt part": (config(inferer___target_="SimplInferer"), "names SimplInferer, which is not there"),
    "no network": (config(network_def__block_config="$[1 / 0]"), "network_def cannot be built: division by zero"),
    "inference breaks off": (config(postprocessing__keys="prediction"), "The inference does not run on drawn images"),
    "path in a config": (config(dataset_dir="/data"), r"inference\.yaml, line \d+, holds the absolute path /data:"),
    "path in a document": (append("docs/README.md", "\nsee `/mnt/x/y`\n"), r"README\.md, line \d+, .* /mnt/x/y"),
    "path in the weights": (
        weights(lambda state: {**state, "/home/anna/run": torch.ones(1)}),
        r"^models/model\.pt, in the name of a weight, holds the absolute path /home/anna/run",
    ),
    "patient in a document": (
        append("docs/README.md", f"\nthanks to patient {PATIENT}.\n"),
        r"^docs/README\.md, line \d+, holds 5e…: the name of a patient or image",
    ),
    "patient in Latin-1": (write("docs/notes.txt", f"für {PATIENT}".encode("latin-1")), r"^docs/notes\.txt, line 1, h"),
    "image in a document": (append("docs/README.md", "\n![](00000013_005.png)\n"), r"README\.md, line \d+, holds 00…"),
    "folder of an image": (append("scripts/__init__.py", "\n# Miller_Anna\n"), r"__init__\.py, line \d+, holds mi…"),
    "patient in the weights": (
        weights(lambda state: {**state, f"of_{PATIENT}": torch.ones(1)}),
        r"^models/model\.pt, in the name of a weight, holds 5e…",
    ),
    "patient as a file": (write(f"docs/{PATIENT}.txt", b"-"), rf"^The name 'docs/{PATIENT}\.txt' is that of a patient"),
    "pickled object": (
        weights(lambda state: {"model": Harmful(), **state}),
        r"models/model\.pt cannot be read as weights \(UnpicklingError\)",
    ),
    "nested weights": (weights(lambda state: {"model": state}), r"models/model\.pt is no plain state dict"),
    "cut weights": (write("models/model.pt", b"PK\3\4" * 100), r"models/model\.pt cannot be read as weights"),
    "NaN weights": (
        weights(lambda state: first(state, lambda value: value * np.nan)),
        r"models/model\.pt is not finite in 1 of its \d+ weights, the first is features\.conv0\.weight",
    ),
    "wrong shape": (
        weights(lambda state: first(state, lambda value: value[:-1])),
        r"models/model\.pt does not fit this DenseNet: 1 of its \d+ weights .* features\.conv0\.weight",
    ),
    "weight missing": (
        weights(lambda state: dict(list(state.items())[:-1])),
        r"models/model\.pt lacks 1 weights of the network, the first is class_layers\.out\.bias",
    ),
    "other TorchScript": (other_torchscript, r"models/model\.ts gives something else than network_def"),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An exported 2D bundle with a network of 20 kB in place of its own, and its run."""
    folder = tmp_path_factory.mktemp("small")
    run, bundle = finished_run(folder, 2), folder / "bundle"
    export_run(run, bundle, archive=False)
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "init_features": 8, "growth_rate": 4}
    network = {"block_config": [1, 1], **arguments}
    config(network_def={"_target_": "monai.networks.nets.DenseNet", **network})(bundle)
    torch.save(DenseNet(**network).state_dict(), bundle / "models" / "model.pt")
    return bundle, run


@pytest.mark.parametrize("name", list(DAMAGES))
def test_each_damage_is_named(name: str, small: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, run = small
    damage, words = DAMAGES[name]
    shutil.copytree(bundle, tmp_path / "bundle")
    damage(tmp_path / "bundle")
    verified = verify_bundle(tmp_path / "bundle", run)
    assert verified.findings, str(verified)
    for sentence in verified.findings:
        assert re.search(words, sentence), sentence
        assert sentence.endswith((".", "?")), sentence
        assert "\n" not in sentence
    count = len(verified.findings)
    assert str(verified).endswith(f"{count} thing{' is' if count == 1 else 's are'} wrong.")


def test_configs_run_only_when_nothing_else_is_wrong(
    small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, mark = tmp_path / "bundle", tmp_path / "ran.txt"
    shutil.copytree(small[0], bundle)
    monkeypatch.chdir(tmp_path)
    config(network_def__out_channels="$open('ran.txt', 'w').write('22') and 2")(bundle)
    licence = (bundle / "LICENSE").read_text()
    (bundle / "LICENSE").unlink()
    assert any("the configs are code" in reason for reason in verify_bundle(bundle).left_out)
    assert not mark.exists()
    write_text(bundle / "LICENSE", licence)
    assert verify_bundle(bundle).ok
    assert mark.exists()  # so the mark would have told


def test_a_placeholder_as_address_is_noted_and_no_fault(small: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(small[0], tmp_path / "bundle")
    entry = LARGE.replace("example.org", "fill-in.invalid").replace("models/model.pt", "models/elsewhere.pt")
    write_text(tmp_path / "bundle" / "large_files.yml", entry)
    verified = verify_bundle(tmp_path / "bundle")
    assert verified.ok, str(verified)
    assert any("placeholder as the address of models/elsewhere.pt" in note for note in verified.notes)


def test_garbage_in_a_file_of_any_kind_is_never_a_traceback(small: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, run = small
    shutil.copytree(bundle, tmp_path / "bundle")
    one_of_each = {path.suffix: path for path in sorted((tmp_path / "bundle").rglob("*.*"))}
    for path in one_of_each.values():
        whole = path.read_bytes()
        path.write_bytes(b"\xff\xfe\0garbage: [")
        verified = verify_bundle(tmp_path / "bundle", run)
        assert not any("broke off" in sentence for sentence in verified.findings), str(verified)
        path.write_bytes(whole)


def test_what_is_no_bundle_or_no_run_is_refused(small: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, _ = small
    with pytest.raises(FileNotFoundError, match=r"There is no bundle .*nowhere: give its folder"):
        verify_bundle(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"There is no run .*nowhere"):
        verify_bundle(bundle, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty is no run"):
        verify_bundle(bundle, tmp_path / "empty")
    assert "LICENSE is missing" in " ".join(verify_bundle(tmp_path / "empty").findings)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("metadata.json", '"medssl"', '"other"', r"train\.yaml imports? medssl, which required_packages_version in"),
        ("train.yaml", "  max_epochs:", "  epochs:", r"train\.yaml .*lacks train#trainer#max_epochs"),
        ("train.yaml", "medssl.losses.label_loss", "medssl.losses.no_loss", r"names medssl\.losses\.no_loss, which is"),
    ],
)
def test_a_training_bundle_is_held_to_its_own_rules(file: str, old: str, new: str, words: str, tmp_path: Path) -> None:
    shutil.copytree(BUNDLES[1], tmp_path / "bundle")
    path = tmp_path / "bundle" / "configs" / file
    assert old in path.read_text()
    write_text(path, path.read_text().replace(old, new))
    verified = verify_bundle(tmp_path / "bundle")
    assert any(re.search(words, sentence) for sentence in verified.findings), str(verified)
