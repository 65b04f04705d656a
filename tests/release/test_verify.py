"""Verify passes what we export and our own bundles, and names every damage in a sentence of its own."""

import json
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, verify_metadata
from monai.networks.nets import DenseNet

from medssl.data import write_datalist
from medssl.files import write_json, write_text
from medssl.networks import build_classifier
from medssl.release import export_run
from medssl.release.checks import schema_file
from medssl.release.verify import Verification, verify_bundle
from medssl.studies.bundle_runs import bundle_folder

LABELS = ["Effusion", "Mass"]
PATIENT, IMAGE = "5e0c17af90b2d3c4", "images/00000013_005.png"
BUNDLES = ("cxr_pretrain", "cxr_finetune", "ct_pretrain", "ct_finetune")


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
    write_text(
        folder / "data" / "report.csv", "source,file,named\nnorth,Miller_Anna/scan.dcm,\nnorth,00000013_005.png,\n"
    )
    run = folder / "run"
    write_text(run / "config.yaml", yaml.safe_dump({"datalist": str(folder / "data" / "datalist.json")}))
    description: dict[str, Any] = {
        "architecture": "resnet18",
        "spatial_dims": spatial_dims,
        "in_channels": 1,
        "image_size": [32] * spatial_dims,
        "intensity": "as in the training",
        "labels": LABELS,
        "exclusive": False,
        **({"spacing": [1.0, 1.0, 1.0], "window": [-200.0, 300.0]} if spatial_dims == 3 else {}),
    }
    write_json(run / "model.json", description)
    torch.save(build_classifier("resnet18", spatial_dims, 1, len(LABELS)).state_dict(), run / "model.pt")
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
    assert len(verified.passed) == 23
    assert any("placeholder as the address of models/model.pt" in note for note in verified.notes)
    assert sorted(bundle.rglob("*")) == before
    assert str(verified).endswith("Nothing is wrong.")


def test_without_the_run_the_search_for_its_patients_is_left_out_and_said(small: tuple[Path, Path]) -> None:
    verified = verify_bundle(small[0])
    assert verified.ok, str(verified)
    assert verified.left_out == ["no patient and no image of the run is named (give the run with --run)"]


@pytest.mark.parametrize("name", BUNDLES)
def test_our_training_bundles_pass(name: str) -> None:
    verified = verify_bundle(bundle_folder(name))
    assert verified.ok, str(verified)
    assert verified.kind == "training"
    assert "every _target_ is there" in verified.passed
    assert any("no weights in the bundle" in reason for reason in verified.left_out)


@pytest.mark.parametrize("name", BUNDLES)
def test_monai_verifies_our_metadata_with_the_local_schema(name: str, tmp_path: Path) -> None:
    metadata = bundle_folder(name) / "configs" / "metadata.json"
    verify_metadata(meta_file=str(metadata), filepath=str(schema_file()))
    write_json(tmp_path / "metadata.json", {**json.loads(metadata.read_text()), "authors": ["us"]})
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(schema_file()))


# Each damage takes the folder of a bundle and spoils it.
Damage = Callable[[Path], None]


def config(**changes: Any) -> Damage:
    """Change the inference config; ``a__b`` is the id ``a#b``, None takes it away."""

    def damage(folder: Path) -> None:
        parser = ConfigParser(yaml.safe_load((folder / "configs" / "inference.yaml").read_text()))
        for name, value in changes.items():
            *path, last = name.split("__")
            place = parser["#".join(path)] if path else parser.config
            if value is None:
                del place[last]
            else:
                place[last] = value
        content = {key: value for key, value in parser.get().items() if key != "_meta_"}
        write_text(folder / "configs" / "inference.yaml", yaml.safe_dump(content, sort_keys=False))

    return damage


def metadata(*path: str, value: Any) -> Damage:
    """Change a value of the metadata; None takes it away."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / "configs" / "metadata.json").read_text())
        place = content
        for name in path[:-1]:
            place = place[name]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        write_json(folder / "configs" / "metadata.json", content)

    return damage


def weights(change: Callable[[dict], Any]) -> Damage:
    """Change what ``model.pt`` holds."""

    def damage(folder: Path) -> None:
        path = folder / "models" / "model.pt"
        content = change(torch.load(path, weights_only=True))
        path.unlink()
        torch.save(content, path)

    return damage


def remove(file: str) -> Damage:
    return lambda folder: (folder / file).unlink()


def append(file: str, text: str) -> Damage:
    return lambda folder: write_text(folder / file, (folder / file).read_text() + text)


def write(file: str, content: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).unlink(missing_ok=True)
        (folder / file).write_bytes(content)

    return damage


def both(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


def first(state: dict, change: Callable[[torch.Tensor], torch.Tensor]) -> dict:
    name = next(iter(state))
    return {**state, name: change(state[name])}


class Harmful:
    def __reduce__(self) -> tuple[type[Exception], tuple[str]]:
        return RuntimeError, ("code of the file was run",)


def half(file: str) -> Damage:
    return lambda folder: write(file, (folder / file).read_bytes()[:5000])(folder)


def archive(file: str, member: str, text: str, spoil: bool = False) -> Damage:
    def damage(folder: Path) -> None:
        with zipfile.ZipFile(folder / file, "w") as written:
            written.writestr(member, text)
        if spoil:
            content = (folder / file).read_bytes()
            (folder / file).write_bytes(content.replace(text.encode(), text.upper().encode()))

    return damage


def other_torchscript(folder: Path) -> None:
    torch.jit.save(
        torch.jit.script(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 2))), folder / "m.ts"
    )
    with zipfile.ZipFile(folder / "m.ts") as made, zipfile.ZipFile(folder / "models" / "model.ts", "w") as written:
        for member in made.namelist():
            if not member.endswith(".debug_pkl"):  # these name this machine's folders
                written.writestr(member, made.read(member))
    (folder / "m.ts").unlink()


def big(folder: Path) -> None:
    with (folder / "docs" / "film.bin").open("wb") as stream:
        stream.truncate(26_000_000)


LARGE = (
    "large_files:\n- {path: models/model.pt, url: 'https://example.org/model.pt', hash_val: '0', hash_type: sha256}\n"
)
THREE = {"0": "Effusion", "1": "Mass", "2": "Nodule"}
OUTPUT = ("network_data_format", "outputs", "pred")

DAMAGES: dict[str, tuple[Damage, str]] = {
    "no licence": (remove("LICENSE"), r"^LICENSE is missing"),
    "empty licence": (write("LICENSE", b" \n"), r"^LICENSE is empty"),
    "no metadata": (remove("configs/metadata.json"), r"^configs/metadata\.json is missing"),
    "no inference": (remove("configs/inference.yaml"), r"^configs/inference\.yaml \(or \.json\) is missing"),
    "no weights": (remove("models/model.pt"), r"^models/model\.pt is missing: put the weights there"),
    "no data licence": (remove("docs/data_license.txt"), r"^docs/data_license\.txt is missing"),
    "no sections": (
        write("docs/README.md", b"# Model\n## Authors\n"),
        "lacks the sections Tags, .*, License of the zoo",
    ),
    "outcome of a run": (write("eval/note.txt", b"-"), r"^eval/note\.txt is data or the outcome of a run"),
    "an image": (write("docs/lung.dcm", b"-"), r"^docs/lung\.dcm is an image or made of images"),
    "a link": (lambda folder: os.symlink("LICENSE", folder / "COPYING"), "^COPYING is a link"),
    "big file": (big, r"^docs/film\.bin has 26 MB, .*name its address and hash in large_files\.yml"),
    "wrong hash": (write("large_files.yml", LARGE.encode()), r"large_files\.yml gives models/model\.pt another sha256"),
    "no hash": (write("large_files.yml", LARGE.replace("'0'", "''").encode()), r'gives no "hash_val"'),
    "no list": (write("large_files.yml", b"- a\n"), 'large_files.yml is no list "large_files"'),
    "damaged zip": (
        archive("docs/more.zip", "a.txt", "some words", spoil=True),
        r"docs/more\.zip is a damaged archive",
    ),
    "cut zip": (
        both(archive("docs/more.zip", "a.txt", "words"), write("docs/more.zip", b"PK")),
        "is a damaged archive",
    ),
    "invalid JSON": (append("configs/metadata.json", "}"), r"metadata\.json is no valid JSON: Extra data: line"),
    "no key": (metadata("copyright", value=None), r"metadata\.json lacks copyright\.$"),
    "wrong type": (metadata("authors", value=["us"]), r"metadata\.json, authors, is \['us'\], and must be text\.$"),
    "no key of a tensor": (metadata(*OUTPUT, "dtype", value=None), r"outputs → pred, lacks dtype\.$"),
    "no intended use": (metadata("intended_use", value=""), r'lacks "intended_use", which the zoo shows'),
    "unknown version": (metadata("version", value="0.9.0"), "has the version 0.9.0, which its changelog does not name"),
    "older version": (metadata("changelog", "0.3.0", value="more"), "and its changelog a newer one, 0.3.0"),
    "local version": (
        metadata("pytorch_version", value="2.13.0+cpu"),
        r"asks for torch 2\.13\.0\+cpu, which no index has",
    ),
    "channel without name": (metadata(*OUTPUT, "num_channels", value=3), "gives pred 3 channels, and names 2 of them"),
    "figure in words": (metadata("eval_metrics", "mAUROC", value="good"), "has the figure mAUROC as 'good'"),
    "wrong number of channels": (
        both(metadata(*OUTPUT, "num_channels", value=3), metadata(*OUTPUT, "channel_def", value=THREE)),
        r"network and network_data_format in .* do not fit: output channel number `2` doesn't match: `3`",
    ),
    "invalid YAML": (
        append("configs/inference.yaml", "a: [1\n"),
        r"inference\.yaml is no valid YAML: line \d+: expected",
    ),
    "named twice": (
        append("configs/inference.yaml", "device: cpu\n"),
        "Duplicate key: `device`; the earlier value is lost",
    ),
    "missing id": (
        config(inferer=None),
        r"lacks inferer, or does not refer to it|refers to @inferer, which is not there",
    ),
    "missing id of the zoo": (config(run=None), r"inference\.yaml lacks run, which the zoo asks for"),
    "other root": (config(bundle_root="../other"), r"has another bundle_root than '\.'"),
    "missing reference": (config(postprocessing__keys="@outputs"), "postprocessing#keys, refers to @outputs"),
    "no Python": (config(batch_size="$1 +"), r"batch_size: \$1 \+ is no Python expression"),
    "a lambda": (config(postprocessing__sigmoid="$lambda x: x"), "a lambda cannot be sent to worker processes"),
    "number as text": (append("configs/inference.yaml", "\nrate: 1e-3\n"), "rate: YAML reads 1e-3 as text"),
    "medssl in a config": (
        config(inferer___target_="medssl.training.Inferer"),
        r"inference\.yaml imports medssl, which those who use the bundle do not have",
    ),
    "medssl in a script": (
        append("scripts/__init__.py", "\nfrom medssl.data import read_datalist\n"),
        r"scripts/__init__\.py imports medssl, which those who use the bundle do not have",
    ),
    "medssl required": (metadata("required_packages_version", "medssl", value="0.1.0"), "requires medssl, which those"),
    "package not listed": (
        append("scripts/__init__.py", "\nimport blosc2\n"),
        "imports blosc2, which required_packages_",
    ),
    "script that is no Python": (append("scripts/__init__.py", "\ndef\n"), r"scripts/__init__\.py is no valid Python"),
    "misspelt part": (config(inferer___target_="SimplInferer"), "names SimplInferer, which is not there"),
    "no network": (config(network_def__block_config="$[1 / 0]"), "network_def cannot be built: division by zero"),
    "inference breaks off": (config(postprocessing__keys="prediction"), "The inference does not run on drawn images"),
    "path in a config": (config(dataset_dir="/data"), r"inference\.yaml, line \d+, holds the absolute path /data:"),
    "path in a document": (
        append("docs/README.md", "\nsee `/mnt/store/chest`\n"),
        r"README\.md, line \d+, .* /mnt/store/chest",
    ),
    "path of Windows": (
        append("docs/README.md", "\nC:\\Users\\anna\\x.png\n"),
        r"holds the absolute path C:\\Users\\anna",
    ),
    "path in the weights": (
        weights(lambda state: {**state, "/home/anna/run": torch.ones(1)}),
        r"models/model\.pt \(.*data\.pkl\) holds the absolute path /home/anna/run",
    ),
    "patient in a document": (
        append("docs/README.md", f"\nthanks to patient {PATIENT}.\n"),
        r"^docs/README\.md, line \d+, holds 5e…, the name of a patient or an image of the run: take it out\.$",
    ),
    "image in a document": (
        append("docs/README.md", "\n![](00000013_005.png)\n"),
        r"README\.md, line \d+, holds 00…, the",
    ),
    "folder of an image": (
        append("scripts/__init__.py", "\n# Miller_Anna\n"),
        r"__init__\.py, line \d+, holds mi…, the",
    ),
    "patient in an archive": (
        archive("docs/more.zip", "notes.txt", f"see {PATIENT}"),
        r"^docs/more\.zip \(notes\.txt\), line 1, holds 5e…, the name of a patient",
    ),
    "patient in the weights": (
        weights(lambda state: {**state, f"of_{PATIENT}": torch.ones(1)}),
        r"^models/model\.pt \(.*data\.pkl\) holds 5e…, the name of a patient",
    ),
    "patient as a file": (
        write(f"docs/{PATIENT}.txt", b"-"),
        rf"the name 'docs/{PATIENT}\.txt' is the name of a patient",
    ),
    "pickled object": (
        weights(lambda state: {"model": Harmful(), **state}),
        r"models/model\.pt cannot be read as weights \(UnpicklingError\): it is damaged, or holds more than tensors",
    ),
    "nested weights": (weights(lambda state: {"model": state}), r"models/model\.pt is no plain state dict"),
    "cut weights": (half("models/model.pt"), r"models/model\.pt cannot be read as weights"),
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
    (bundle / "large_files.yml").unlink()
    return bundle, run


@pytest.mark.parametrize("name", list(DAMAGES))
def test_each_damage_is_named(name: str, small: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, run = small
    damage, words = DAMAGES[name]
    shutil.copytree(bundle, tmp_path / "bundle")
    damage(tmp_path / "bundle")
    verified = verify_bundle(tmp_path / "bundle", run)
    said = [finding.message for finding in verified.findings]
    assert said, str(verified)
    for sentence in said:
        assert_sentence(sentence, words)
    assert str(verified).endswith(f"{len(said)} thing{' is' if len(said) == 1 else 's are'} wrong.")


def assert_sentence(sentence: str, words: str) -> None:
    assert re.search(words, sentence), sentence
    assert sentence.endswith((".", "?")), sentence
    assert "\n" not in sentence


def test_configs_run_only_when_nothing_else_is_wrong(small: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, run = small
    shutil.copytree(bundle, tmp_path / "bundle")
    mark = "ran.txt"
    config(network_def__out_channels=f"$open('{mark}', 'w').write('22') and 2")(tmp_path / "bundle")
    (tmp_path / "bundle" / "LICENSE").unlink()

    def verified() -> Verification:
        return verify_bundle(tmp_path / "bundle", run)

    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert any("the configs are code" in reason for reason in verified().left_out)
        assert not (tmp_path / mark).exists()
        write_text(tmp_path / "bundle" / "LICENSE", "Apache License 2.0")
        assert verified().ok
        assert (tmp_path / mark).exists()  # so the mark would have told
    finally:
        os.chdir(before)


def test_garbage_in_a_file_of_any_kind_is_never_a_traceback(small: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, run = small
    shutil.copytree(bundle, tmp_path / "bundle")
    one_of_each = {path.suffix: path for path in sorted((tmp_path / "bundle").rglob("*.*"))}
    for path in one_of_each.values():
        whole = path.read_bytes()
        path.write_bytes(b"\xff\xfe\0garbage: [")
        verified = verify_bundle(tmp_path / "bundle", run)
        assert all("broke off" not in finding.message for finding in verified.findings), str(verified)
        path.write_bytes(whole)


def test_what_is_no_bundle_or_no_run_is_refused(small: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, _ = small
    with pytest.raises(FileNotFoundError, match=r"There is no bundle .*nowhere: give its folder"):
        verify_bundle(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"There is no run .*nowhere"):
        verify_bundle(bundle, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty is no run: it has neither config\.yaml nor metrics\.json"):
        verify_bundle(bundle, tmp_path / "empty")
    assert "LICENSE is missing" in " ".join(map(str, verify_bundle(tmp_path / "empty").findings))


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "metadata.json",
            '"medssl"',
            '"other"',
            r"evaluate\.yaml, .*train\.yaml import medssl, which required_packages_version in",
        ),
        (
            "multi_gpu_train.yaml",
            "finalize:",
            "final:",
            r"multi_gpu_train\.yaml lacks finalize, which the zoo asks for",
        ),
        ("train.yaml", "  max_epochs:", "  epochs:", r"train\.yaml .*lacks train#trainer#max_epochs"),
        (
            "train.yaml",
            "medssl.losses.label_loss",
            "medssl.losses.no_loss",
            r"names medssl\.losses\.no_loss, which is not",
        ),
    ],
)
def test_a_training_bundle_is_held_to_its_own_rules(file: str, old: str, new: str, words: str, tmp_path: Path) -> None:
    shutil.copytree(bundle_folder("cxr_finetune"), tmp_path / "bundle")
    path = tmp_path / "bundle" / "configs" / file
    assert old in path.read_text()
    write_text(path, path.read_text().replace(old, new))
    verified = verify_bundle(tmp_path / "bundle")
    for finding in verified.findings:
        assert_sentence(finding.message, words)
    assert verified.findings
