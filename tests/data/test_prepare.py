"""`prepare` as a whole: through the command line and on real files; its parts are tested in ``prepare/``."""

import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import rich
from bad_inputs import (
    MISTAKES,
    Said,
    grey,
    save_radiograph,
    save_series,
    write_bad_radiographs,
    write_bad_volumes,
    write_mistakes,
)
from filelock import FileLock
from PIL import Image

from medssl.commands import main
from medssl.data import Datalist, Source, read_sources
from medssl.data.prepare import Summary, prepare
from medssl.errors import UserError

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder of real images at {SHARED}")
SPLITS = ("training", "validation", "test", "unlabeled")


def draw(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        grey().save(path)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def command(*arguments: object) -> int:
    """A command of the command line; the exit code."""
    return main(list(map(str, arguments)))


def report_of(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "report.csv", keep_default_na=False, dtype={"row": int})


def split_of_files(output: Path) -> dict[str, str]:
    """File → split, of what is used."""
    report = report_of(output)
    used = report[report["status"] == "used"]
    names = used["file"].where(used["file"] != "", used["named"])
    return dict(zip(names, used["split"], strict=True))


def items_by_file(summary: Summary, split: str) -> dict[str, dict]:
    """File → item of the datalist."""
    stored = {item["image"]: item for item in Datalist.read(summary.datalist).items(split)}
    report = report_of(summary.datalist.parent)
    folder = summary.datalist.parent
    here = report[report["split"] == split].drop_duplicates("stored")
    return {row.file: stored[str(folder / row.stored)] for row in here.itertuples()}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the folder holds pipes")
@pytest.mark.parametrize(("write_bad", "dims"), [(write_bad_radiographs, 2), (write_bad_volumes, 3)])
def test_every_bad_input_is_accounted_for(tmp_path: Path, write_bad: Callable[[Path], list[Said]], dims: int) -> None:
    said = write_bad(tmp_path)
    faults = {one.reason for one in said} - {""}
    assert len([one for one in said if one.reason]) >= 40
    assert len(faults) >= 19
    arguments = [tmp_path / "out", "--sources", tmp_path / "sources.yaml", "--dims", str(dims), "--size", "32"]
    prepare_it = [sys.executable, "-m", "medssl", "prepare", *arguments]
    run = subprocess.run(prepare_it, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0
    assert "Traceback" not in run.stderr
    report = report_of(tmp_path / "out")
    told = [Said(row.source, row.file, row.row, row.status, row.reason) for row in report.itertuples()]
    assert Counter(told) == Counter(said)
    # Nothing is lost, nothing told of twice: from the disk and the tables themselves.
    folders = {source.images: source.name for source in read_sources(tmp_path / "sources.yaml")}
    files = Counter(
        (folder, os.fsencode(path.relative_to(folder)).decode(errors="surrogateescape"))
        for folder in folders
        for place, _, names in os.walk(folder)
        for path in (Path(place, name) for name in names)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    written = Counter(
        (tmp_path / row.source, row.file.replace(r"\udcfc", "\udcfc")) for row in report.itertuples() if row.file
    )
    assert written == files
    for source in read_sources(tmp_path / "sources.yaml"):
        if source.csv:
            own = report[(report["source"] == source.name) & (report["row"] > 0)]
            with source.csv.open(encoding="utf-8-sig", newline="") as file:
                count = sum(1 for _ in csv.reader(file))
            assert sorted(set(own["row"])) == list(range(2, count + 1))
            if dims == 2:
                assert own["row"].is_unique
    assert (report.loc[report["status"] != "used", "detail"] != "").all()
    assert not report["detail"].str.contains(f"\n|0x|{tmp_path}").any()
    # The good ones are all there, and each can be read.
    used = set(report.loc[report["status"] == "used", "stored"])
    datalist = Datalist.read(tmp_path / "out")
    listed = [item["image"] for split in SPLITS for item in datalist.items(split)]
    assert sorted(listed) == sorted(str(tmp_path / "out" / stored) for stored in used)
    notes = {2: {"monochrome1.dcm": "MONOCHROME1 was inverted"}, 3: NOTES_3D}[dims]
    details = report.drop_duplicates("file").set_index("file")["detail"]
    assert [file for file, note in notes.items() if note not in details[file]] == []


NOTES_3D = {
    "tilted/0.dcm": "gantry tilt of 16.7° straightened",
    "one missing/0.dcm": "1 missing slice interpolated",
    "two orientations/s0.dcm": "one of 2 orientations",
    "two phases/p2 0.dcm": "volume 2 of 2 in its series, told apart by AcquisitionNumber",
    "beside/1.dcm": "1 duplicate slice left out",
}


def test_several_sources_share_a_folder_and_their_labels_are_joined(tmp_path: Path) -> None:
    draw(*(tmp_path / "images" / f"{number}.png" for number in range(9)))
    one = write(tmp_path / "one.csv", "image,patient,Edema,Mass\n" + "".join(f"{n}.png,{n},1,0\n" for n in range(6)))
    two = write(tmp_path / "two.csv", "image,patient,Mass,TB\n" + "".join(f"{n}.png,x{n},0,1\n" for n in range(4, 8)))
    sources = [
        Source(tmp_path / "images", one),
        Source(tmp_path / "images", two),
        Source(tmp_path / "images", name="all"),
    ]
    summary = prepare(sources, tmp_path / "out", size=(16, 16))
    assert Datalist.read(summary.datalist).labels == ["Edema", "Mass", "TB"]
    expected = (
        {n: [1, 0, np.nan] for n in range(4)} | {n: [1, 0, 1] for n in (4, 5)} | {n: [np.nan, 0, 1] for n in (6, 7)}
    )
    labels = {
        int(Path(file).stem): item["label"]
        for split in SPLITS[:3]
        for file, item in items_by_file(summary, split).items()
    }
    np.testing.assert_equal({n: labels[n].tolist() for n in sorted(labels)}, expected)
    assert list(items_by_file(summary, "unlabeled")) == ["8.png"]
    report = report_of(tmp_path / "out")
    assert report.loc[report["file"] != "", "file"].is_unique
    assert report.loc[report["reason"] != "", ["source", "row", "named", "reason"]].values.tolist() == [
        ["two", 2, "4.png", "same image twice"],
        ["two", 3, "5.png", "same image twice"],
    ]
    write(two, "image,patient,Mass\n4.png,x,1\n")  # what one says is not there
    with_contradiction = prepare(sources, tmp_path / "out", size=(16, 16))
    assert with_contradiction.set_aside == {"same image, contradiction": 2}


def test_given_splits_are_kept_and_no_patient_leaks_into_pretraining(tmp_path: Path) -> None:
    draw(*(tmp_path / "images" / f"{name}.png" for name in ("t", "v", "e", "e2", "u", "x", "follows")))
    for name, patient in (("stranger", "9"), ("known", "e")):
        (tmp_path / "more").mkdir(exist_ok=True)
        save_radiograph(tmp_path / "more" / f"{name}.dcm", PatientID=patient)
    table = (
        "image,patient,split,source,Edema,age\nt.png,p,train,A,1,50\nv.png,q,val,A,0,50\ne.png,e,test,,1,50\n"
        "e2.png,e,unlabeled,,1,50\nu.png,p,unlabeled,,1,50\nx.png,e,test,,,50\nfollows.png,q,valid,,1,50\n"
    )
    site = write(tmp_path / "site.csv", table)
    sources = [Source(tmp_path / "images", site), Source(tmp_path / "more")]
    summary = prepare(sources, tmp_path / "out", size=(16, 16))
    splits = {split: list(items_by_file(summary, split)) for split in SPLITS}
    assert splits == {
        "training": ["t.png"],
        "validation": ["v.png", "follows.png"],
        "test": ["e.png"],
        "unlabeled": ["u.png", "stranger.dcm"],
    }
    assert summary.set_aside == {"patient in test": 2, "no label": 1}
    assert [item["source"] for item in Datalist.read(summary.datalist).items("pretrain")] == ["A", "site", "more"]
    torn = [("t", "p", "training"), ("v", "p", "test"), ("x", "q", "")]
    tables = [
        Source(
            tmp_path / "images",
            write(tmp_path / f"{image}.csv", f"image,patient,Edema\n{image}.png,{patient},1\n"),
            split=split,
        )
        for image, patient, split in torn
    ]
    with pytest.raises(UserError, match=r"1 patient.* cannot fill"):
        prepare(tables, tmp_path / "torn", size=(16, 16))
    assert report_of(tmp_path / "torn")["reason"].tolist().count("patient in two splits") == 2
    held_out = prepare(
        [Source(tmp_path / "images", site, split="test")], tmp_path / "out", labels=["Edema"], size=(16, 16)
    )
    assert held_out.images == {"training": 0, "validation": 0, "test": 6, "unlabeled": 0}


def test_folds_share_the_test_split_and_tear_no_patient(tmp_path: Path) -> None:
    names = [f"{patient}_{number}" for patient in range(24) for number in range(3)]
    draw(*(tmp_path / "images" / f"{name}.png" for name in names))
    rows = [f"{name}.png,{name.split('_')[0]},{'' if name.endswith('2') else len(name) % 2}\n" for name in names]
    source = Source(tmp_path / "images", write(tmp_path / "a.csv", "image,patient,A\n" + "".join(rows)))
    summary = prepare([source], tmp_path / "out", size=(8, 8), folds=5)
    whole = json.loads(summary.datalist.read_text())
    labelled = {item["image"] for split in ("training", "validation") for item in whole[split]}
    times: Counter[str] = Counter()
    for fold in range(5):
        content = json.loads((tmp_path / "out" / f"datalist_fold{fold}.json").read_text())
        assert content["test"] == whole["test"]
        assert {item["image"] for split in ("training", "validation") for item in content[split]} == labelled
        times.update(item["image"] for item in content["validation"])
        patients = {split: {item["patient"] for item in content[split]} for split in SPLITS}
        assert not patients["training"] & patients["validation"]
        assert not patients["unlabeled"] & (patients["validation"] | patients["test"])
        assert patients["unlabeled"] <= patients["training"]
        assert content["unlabeled"]
    assert times == Counter(labelled)
    prepare([source], tmp_path / "out", size=(8, 8), folds=2)
    assert sorted(path.name for path in (tmp_path / "out").glob("*fold*")) == [
        "datalist_fold0.json",
        "datalist_fold1.json",
    ]


def test_a_second_run_does_only_what_is_new_or_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[str] = []
    monkeypatch.setattr("medssl.data.prepare.fill.examine", _watched(examined))
    draw(*(tmp_path / "a" / f"{number}.png" for number in range(12)), tmp_path / "b" / "more.png")
    (tmp_path / "a" / "broken.png").write_bytes(b"none")
    table = write(tmp_path / "a.csv", "image,patient,A\n" + "".join(f"{n}.png,{n},{n % 2}\n" for n in range(12)))
    sources = [Source(tmp_path / "a", table), Source(tmp_path / "b"), Source(tmp_path / "a", name="rest")]

    def run(count: int = 3, salt: str | None = None, size: int = 16) -> set[str]:
        examined.clear()
        summary = prepare(sources[:count], tmp_path / "out", size=(size, size), salt=salt)
        stored = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.b2nd")}
        listed = json.loads(summary.datalist.read_text())
        assert stored == {item["image"] for split in SPLITS for item in listed[split]}
        return set(examined)

    everything = {*(f"{number}.png" for number in range(12)), "more.png", "broken.png"}
    assert run() == everything
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    times = {path: path.stat().st_mtime_ns for path in before if path.suffix == ".b2nd"}
    assert run() == set()
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    draw(tmp_path / "a" / "3.png", tmp_path / "a" / "new.png")
    assert run() == {"3.png", "new.png"}
    os.utime(tmp_path / "a" / "4.png", ns=(1, 1))
    next((tmp_path / "out").rglob("*.b2nd")).unlink()
    assert len(run() - {"4.png"}) <= 1
    assert run(count=1) == set()
    assert run() == {"more.png", "new.png", "broken.png"}
    assert run(size=24) == everything | {"new.png"}
    assert run(size=24, salt="another") == everything | {"new.png"}  # for patients' names in headers are hashed with it


def _watched(examined: list[str]) -> Callable:
    from medssl.data.prepare.examine import examine

    def watched(unit, *rest):  # type: ignore[no-untyped-def]
        examined.append(unit.path.name)
        return examine(unit, *rest)

    return watched


def _noise(folder: Path, dims: int) -> Source:
    """Radiographs, or volumes, that take a while."""
    random_values = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    names = [f"{number:03}.{'png' if dims == 2 else 'nii'}" for number in range(150 if dims == 2 else 16)]
    for name in names:
        if dims == 2:
            Image.fromarray(random_values.integers(0, 255, (160, 160), np.uint8)).save(folder / "images" / name)
        else:
            volume = nibabel.Nifti1Image(random_values.integers(0, 999, (40, 40, 30)).astype(np.int16), np.eye(4))
            nibabel.save(volume, folder / "images" / name)
    rows = "".join(f"{name},{number // 3},{number % 2}\n" for number, name in enumerate(names))
    return Source(folder / "images", write(folder / "labels.csv", "image,patient,A\n" + rows))


def _files(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows knows no SIGKILL")
@pytest.mark.parametrize(
    ("dims", "kills"), [(2, 3), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((2, 10), (3, 4)))]
)
def test_killed_at_any_moment_it_ends_in_the_same_files(tmp_path: Path, dims: int, kills: int) -> None:
    source = _noise(tmp_path, dims)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["medssl.data.prepare.pictures", "medssl.transforms", "monai.transforms"])
    draws = random.Random(dims)

    def start(name: str) -> multiprocessing.process.BaseProcess:
        output = tmp_path / name
        output.mkdir(exist_ok=True)
        write(output / "patient_salt.txt", "secret\n")
        values = {"spatial_dims": dims, "size": (96, 96), "spacing": (1.0, 1.5, 2.0), "folds": 2}
        process = context.Process(target=prepare, args=([source], output), kwargs=values)
        process.start()
        return process

    for _ in range(2):  # the first time the server has to import all
        shutil.rmtree(tmp_path / "whole", ignore_errors=True)
        began = time.monotonic()
        undisturbed = start("whole")
        undisturbed.join(100)
        duration = time.monotonic() - began
        assert undisturbed.exitcode == 0
    whole = _files(tmp_path / "whole")
    assert len(whole) > (150 if dims == 2 else 16) + 8
    struck, ended = 0, 0
    while struck < kills or not ended:
        process = start("killed")
        process.join(draws.uniform(0, duration / 3) if struck < kills else None)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
            process.join()
        if process.exitcode == 0:
            assert _files(tmp_path / "killed") == whole
            shutil.rmtree(tmp_path / "killed")
            ended += 1
        else:
            assert process.exitcode == -signal.SIGKILL
            struck += 1


def test_a_user_who_stops_it_sees_a_sentence(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "0.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (1500, 1500), np.uint8)).save(
        tmp_path / "images" / "0.png"
    )
    for number in range(1, 120):
        os.link(tmp_path / "images" / "0.png", tmp_path / "images" / f"{number}.png")
    prepare_it = [sys.executable, "-m", "medssl", "prepare", tmp_path / "out", "--unlabeled", tmp_path / "images"]
    process = subprocess.Popen(prepare_it, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "out" / "store" / "journal.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (journal.is_file() and journal.read_text().count("input") >= 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.strip().endswith("medssl: Stopped.")
    assert "Traceback" not in said
    assert 3 <= journal.read_text().count("input") < 100  # what had not begun did not begin


def test_no_patient_can_be_found_in_what_is_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dicom").mkdir()
    for number in range(6):
        save_radiograph(tmp_path / "dicom" / f"{number}.dcm", PatientID=f"DOE-{4711 + number // 2}")
        save_radiograph(tmp_path / "dicom" / f"more{number}.dcm", PatientID=f"DOE-{4711 + number}")
    rows = "".join(f"{number}.dcm,SMITH-{number // 2},{number % 2}\n" for number in range(6))
    table = write(tmp_path / "labels.csv", "image,patient,A\n" + rows)
    images = ["--images", tmp_path / "dicom", "--csv", table, "--unlabeled", tmp_path / "dicom", "--size", 16]
    for name in ("out", "out", "other"):
        assert command("prepare", tmp_path / name, *images) == 0
    (tmp_path / "volumes").mkdir()
    save_series(tmp_path / "volumes")
    save_series(tmp_path / "volumes", name="again", PatientID="DOE-4711")
    assert command("prepare", tmp_path / "out 3D", "--unlabeled", tmp_path / "volumes", "--dims", 3) == 0
    secrets = ("Doe", "DOE", "Jane", "SMITH", "4711", "1961", "19610203", "20190405")
    assert not any(secret in "".join(capfd.readouterr()) for secret in secrets)
    for path in (*(tmp_path / "out").rglob("*"), *(tmp_path / "out 3D").rglob("*")):
        found = [
            secret for secret in secrets if path.is_file() and secret.encode() in path.read_bytes() and len(secret) > 4
        ]
        assert not found
    salt = (tmp_path / "out" / "patient_salt.txt").read_text().strip()
    assert (tmp_path / "out" / "patient_salt.txt").stat().st_mode & 0o077 == 0
    assert not any(
        salt.encode() in data for name, data in _files(tmp_path / "out").items() if name != "patient_salt.txt"
    )
    first, other = (json.loads((tmp_path / name / "datalist.json").read_text()) for name in ("out", "other"))
    patients = [{item["patient"] for split in SPLITS for item in content[split]} for content in (first, other)]
    assert not patients[0] & patients[1]
    same = prepare(
        [
            Source(tmp_path / "dicom", table, name=first["training"][0]["source"]),
            Source(tmp_path / "dicom", name="all"),
        ],
        tmp_path / "third",
        size=(16, 16),
        salt=salt,
    )
    assert json.loads(same.datalist.read_text())["training"] == first["training"]
    assert not (tmp_path / "third" / "patient_salt.txt").exists()


def test_what_cannot_be_right_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mistakes(tmp_path)
    monkeypatch.chdir(tmp_path)
    for options, message in [*MISTAKES, ("--unlabeled images", "cannot be made")]:
        output = "t.csv/below a file" if message == "cannot be made" else "out"
        assert command("prepare", output, *options.split(" ")) == 1, options
        said = capsys.readouterr().err
        assert message in said, options
        assert "Traceback" not in said
        assert not (tmp_path / "out" / "datalist.json").exists()
    assert command("prepare", "images", "--unlabeled", "images") == 1
    assert "holds the images" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        command("prepare", "out", "--dims", 5)


def test_one_process_prepares_into_a_folder_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "images" / "a.png")
    arguments = ["prepare", tmp_path / "out", "--unlabeled", tmp_path / "images", "--size", 16]
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        assert command(*arguments) == 1
    (said,) = capsys.readouterr().err.split("\n\n")[-1].strip().splitlines()
    assert "Another `medssl prepare`" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    assert command(*arguments) == 0  # the lock ends with the process, which the tests with kills show


def test_names_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["[bold]A", "[/red]", "[x]", "$\\foo$", ":smile:"]
    tables = []
    for name in ("[north]", "[/south]"):
        where = tmp_path / name.replace("/", "")
        draw(*(where / f"[red]{number}.png" for number in range(10)))
        rows = [f"[red]{n}.png,p{n},{n % 2},{n % 2},{n % 2},{n % 2},{n % 2}" for n in range(10)]
        tables.append(
            Source(where, write(where / "t.csv", "\n".join([f"image,patient,{','.join(labels)}", *rows])), name=name)
        )
    summary = prepare(tables, tmp_path / "[out]", size=(16, 16))
    rich.print(summary)
    shown = capsys.readouterr().out
    for text in (*labels, "[north]", "[/south]"):
        assert text in shown
    assert "/[out]/datalist.json" in shown.replace("\n", "")
    assert command("prepare", tmp_path / "out", "--unlabeled", tmp_path / "[/gone]") == 1
    assert "[/gone]" in capsys.readouterr().err


def test_views_are_taken_as_asked_for(tmp_path: Path) -> None:
    views = {"PA": "PA", "AP": "AP", "front": "frontal", "side": "lateral", "none": ""}
    draw(*(tmp_path / "images" / f"{name}.png" for name in views))
    rows = "".join(f"{name}.png,p {name},1,{view}\n" for name, view in views.items())
    source = Source(tmp_path / "images", write(tmp_path / "t.csv", "image,patient,A,view\n" + rows), split="training")
    for wanted, names in (
        (["frontal"], ["AP", "PA", "front", "none"]),
        (["pa"], ["PA", "front", "none"]),
        (["lateral"], ["none", "side"]),
        (["AP", "lateral"], ["AP", "front", "none", "side"]),
        (["all"], sorted(views)),
    ):
        summary = prepare([source], tmp_path / "out", size=(16, 16), views=wanted)
        assert sorted(split_of_files(tmp_path / "out")) == sorted(f"{name}.png" for name in names)
        assert summary.set_aside == ({"other view": 5 - len(names)} if len(names) < 5 else {})
    assert [item.get("view", "") for item in json.loads(summary.datalist.read_text())["training"]] == list(
        views.values()
    )


def test_a_store_holds_one_kind_of_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    draw(tmp_path / "images" / "a.png")
    for number, modality in enumerate(["MG", "MG", "MG", "DX", "DX", "CR", "RF", "OT"]):
        save_radiograph(tmp_path / "images" / f"{number}{modality}.dcm", Modality=modality)
    arguments = ["prepare", tmp_path / "out", "--unlabeled", tmp_path / "images", "--size", 16]
    assert command(*arguments) == 0
    assert "The store's images are DX, and 3 MG are set aside" in " ".join(capsys.readouterr().out.split())
    assert Datalist.read(tmp_path / "out" / "datalist.json").settings["modality"] == "DX"
    silent = {"a.png", "7OT.dcm"}
    assert set(split_of_files(tmp_path / "out")) == {"3DX.dcm", "4DX.dcm", "5CR.dcm", "6RF.dcm", *silent}
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.b2nd")}
    assert command(*arguments, "--modality", "mg") == 0
    assert set(split_of_files(tmp_path / "out")) == {"0MG.dcm", "1MG.dcm", "2MG.dcm", *silent}
    assert {path: path.stat().st_mtime_ns for path in times} == times  # no image is prepared anew
    assert command(*arguments, "--modality", "MR") == 0
    assert set(split_of_files(tmp_path / "out")) == silent
    source = Source(tmp_path / "images", name="x", modality="MG")  # what states nothing is what its source says
    assert prepare([source], tmp_path / "out", size=(16, 16)).images["unlabeled"] == 3 + len(silent)


@pytest.mark.parametrize(
    ("lowest", "wanted", "modality", "said"),
    [(-1000, "", "CT", "taken for CT"), (0, "", "", "--modality"), (0, "MR", "MR", ""), (-1000, "ct", "CT", "")],
)
def test_volumes_that_state_no_modality_are_judged_by_their_values(
    tmp_path: Path, lowest: int, wanted: str, modality: str, said: str
) -> None:
    (tmp_path / "images").mkdir()
    values = np.random.default_rng(0).integers(lowest, 1000, (9, 8, 7)).astype(np.int16)
    for number in range(3):
        nibabel.save(nibabel.Nifti1Image(values + np.int16(number), np.eye(4)), tmp_path / "images" / f"{number}.nii")
    summary = prepare([Source(tmp_path / "images")], tmp_path / "out", spatial_dims=3, modality=wanted)
    assert Datalist.read(summary.datalist).settings["modality"] == summary.modality == modality
    assert [note for note in summary.notes if "modality" in note.lower()] == [note for note in summary.notes if said][
        :1
    ]
    assert all(said in note for note in summary.notes if "modality" in note.lower())


def test_an_official_list_leaves_open_who_is_for_validation(tmp_path: Path) -> None:
    images = [f"{number:08}_{time:03}.png" for number in range(40) for time in range(2)]
    draw(*(tmp_path / "images_001" / "images" / image for image in images))
    rows = [
        f"{image},{'Mass' if number % 3 else 'No Finding'},0,{number // 2},050Y,M,PA\n"
        for number, image in enumerate(images)
    ]
    head = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    table = write(tmp_path / "Data_Entry_2017.csv", head + "".join(rows))
    write(tmp_path / "test_list.txt", "\n".join(images[60:]))
    write(tmp_path / "train_val_list.txt", "\n".join(images[:60]))
    for fractions, validation in ((None, 4), ((0.5, 0.5, 0), 15), ((0.8, 0, 0.2), 0)):
        summary = prepare(
            [Source(tmp_path, table)], tmp_path / "out", size=(16, 16), labels=["Mass"], fractions=fractions
        )
        splits = split_of_files(tmp_path / "out")
        assert {image for image, split in splits.items() if split == "test"} == {
            f"images_001/images/{image}" for image in images[60:]
        }
        assert summary.patients == {"training": 30 - validation, "validation": validation, "test": 10, "unlabeled": 0}
        assert any("needs a validation split" in note for note in summary.notes) == (not validation)


def test_validation_is_taken_out_of_training_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(*(tmp_path / "images" / f"{number}.png" for number in range(40)))
    rows = [f"{n}.png,{n // 2},{'test' if n < 8 else 'train'},{n % 2}\n" for n in range(40)]
    table = write(tmp_path / "t.csv", "image,patient,split,A\n" + "".join(rows))
    arguments = ["prepare", tmp_path / "out", "--images", tmp_path / "images", "--csv", table, "--size", 16]
    assert command(*arguments) == 0
    assert Counter(split_of_files(tmp_path / "out").values()) == {"training": 32, "test": 8}
    said = " ".join(capsys.readouterr().out.split())
    assert "no validation split" in said
    assert "--fractions 0.7 0.1 0.2" in said
    assert command(*arguments, "--fractions", 0.7, 0.1, 0.2) == 0
    assert Counter(split_of_files(tmp_path / "out").values()) == {"training": 28, "validation": 4, "test": 8}
    assert "2 patients of training" in " ".join(capsys.readouterr().out.split())
    assert command(*arguments, "--fractions", 0.8, 0, 0.2) == 0
    assert Counter(split_of_files(tmp_path / "out").values()) == {"training": 32, "test": 8}


def test_where_nothing_can_be_used_the_nearest_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a" / "scan 17.png")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4)), np.eye(4)), tmp_path / "images" / "volume.nii.gz")
    for row, said in (
        ("b/Scan18.png", r"Row 2 names 'b/Scan18\.png': .* Did you mean 'a/scan 17\.png'\? Check .*--dims \(now 2\)"),
        ("volume.nii.gz", r"1 × no such image.* volume\.nii\.gz is there, .*: --dims 3 takes it"),
    ):
        source = Source(tmp_path / "images", write(tmp_path / "t.csv", f"image,patient,A\n{row},1,1\n"))
        with pytest.raises(ValueError, match=said):
            prepare([source], tmp_path / "out")
    (tmp_path / "images" / "a" / "scan 17.png").unlink()
    with pytest.raises(ValueError, match=r"None of 1 files there is a radiograph .*--dims \(now 2\)"):
        prepare([Source(tmp_path / "images")], tmp_path / "out")


def test_importing_the_room_needs_neither_torch_nor_monai() -> None:
    code = "import sys, medssl.data.prepare; print({'torch', 'monai'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_chexpert_tree_with_uncertain_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [f"patient{number:05}/study1/view{number % 2}_frontal.jpg" for number in range(8)]
    draw(*(tmp_path / "data" / "train" / path for path in paths))
    cells = [f"Female,50,Frontal,AP,,{number % 2}.0,-1.0" for number in range(8)]
    rows = [f"CheXpert-v1.0-small/train/{path},{said}" for path, said in zip(paths, cells, strict=True)]
    head = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Fracture"
    table = write(tmp_path / "train.csv", "\n".join([head, *rows, ""]))
    arguments = ["--images", tmp_path / "data", "--csv", table, "--uncertain", "positive", "--size", 16, 24]
    assert command("prepare", tmp_path / "out", *arguments) == 0
    assert "8 uncertain entries (-1) of Fracture: positive" in " ".join(capsys.readouterr().out.split())
    datalist = Datalist.read(tmp_path / "out")
    assert datalist.labels == ["No Finding", "Edema", "Fracture"]
    assert datalist.settings["size"] == [16, 24]
    items = [item for split in SPLITS[:3] for item in datalist.items(split)]
    assert len({item["patient"] for item in items}) == len(items) == 8
    assert [item["label"][2] for item in items] == [1] * 8
    assert sorted(item["label"][1] for item in items) == [0] * 4 + [1] * 4


@needs_shared
@pytest.mark.parametrize(
    ("name", "dims", "labels", "size"),
    [("pneumoniamnist", 2, ["pneumonia"], [28, 28]), ("adrenalmnist3d_64", 3, ["hyperplasia"], [64, 64, 64])],
)
def test_medmnist_through_the_command_line(
    tmp_path: Path, name: str, dims: int, labels: list[str], size: list[int]
) -> None:
    from medssl.transforms import LoadStored

    parts = {"training": "train", "validation": "val", "test": "test"}
    with np.load(SHARED / "medmnist" / f"{name}.npz") as file:
        images, known = file["val_images"][:30], file["val_labels"][:30]
    places = {split: range(10 * number, 10 * number + 10) for number, split in enumerate(parts)}
    arrays = {f"{parts[split]}_images": images[place] for split, place in places.items()}
    np.savez(tmp_path / name, **arrays, **{f"{parts[split]}_labels": known[place] for split, place in places.items()})
    arguments = ["--npz", tmp_path / f"{name}.npz", "--dims", dims, "--size", 28, "--spacing", -1, -1, -1]
    assert command("prepare", tmp_path / "out", *arguments) == 0
    datalist = Datalist.read(tmp_path / "out")
    assert (datalist.labels, datalist.exclusive) == (labels, False)
    files = {row.file: tmp_path / "out" / row.stored for row in report_of(tmp_path / "out").itertuples()}
    for split, place in places.items():
        items = {item["image"]: item["label"].tolist() for item in datalist.items(split)}
        stored = {file: path for file, path in files.items() if file.startswith(f"{parts[split]}_")}
        assert len(items) == len(stored) == 10
        for file, path in stored.items():
            number = place[int(Path(file).stem.split("_")[1])]
            np.testing.assert_allclose(LoadStored(size)(path)[0].numpy(), images[number], atol=0.01)
            assert items[str(path)] == known[number].tolist()


@needs_shared
def test_chestxray14_from_its_official_table(tmp_path: Path) -> None:
    images, table = SHARED / "nih_cxr" / "images", SHARED / "nih_cxr" / "Data_Entry_2017.csv"
    labels = ["Pneumonia", "Infiltration", "Atelectasis"]
    full = prepare([Source(images, table)], tmp_path / "out", labels=labels, size=(16, 16))
    assert sum(full.images.values()) == 688
    assert full.set_aside == {}
    assert sum(counts[:, 0] for counts in full.counts.values()).tolist() == [349, 135, 78]  # type: ignore[union-attr]
    findings = pd.read_csv(table).set_index("Image Index")["Finding Labels"].str.split("|")
    for split in SPLITS[:3]:
        for file, item in items_by_file(full, split).items():
            assert item["label"].tolist() == [name in findings[file] for name in labels]
    partial = prepare([Source(images, table)], tmp_path / "out", labels=labels, size=(16, 16), labelled_per_class=40)
    assert partial.counts["training"][:, :2].tolist() == [[20, 20]] * 3
    assert partial.images["training"] == 120
    assert any(note.startswith("test: Too few images") for note in partial.notes)
    assert sum(partial.images.values()) + partial.set_aside["patient in test"] == 688


@needs_shared
def test_volumes_of_several_kinds_without_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loose").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), np.nan), np.eye(4)), tmp_path / "loose" / "nan.nii.gz")
    (tmp_path / "loose" / "up").symlink_to(tmp_path, target_is_directory=True)  # a circle, which leads to the output
    folders = [SHARED / "ct_dicom", tmp_path / "loose"]
    sources = [Source(folder) for folder in folders]
    summary = prepare(sources, tmp_path / "out", spatial_dims=3, spacing=(4, 4, 5))
    report = report_of(tmp_path / "out").set_index("file")
    used = report[report["status"] == "used"]
    assert used["stored"].nunique() == summary.images["unlabeled"] == 2  # head_tilted, trunk_20slices
    assert summary.modality == Datalist.read(summary.datalist).settings["modality"] == "CT"
    assert summary.set_aside["other modality"] > 0  # compressed_syntaxes is MR
    tilted = report[[file.startswith("head_tilted/") for file in report.index]]
    assert tilted["detail"].str.contains("gantry tilt").all()
    assert "NaN" in report.loc["nan.nii.gz", "detail"]
    assert prepare(sources, tmp_path / "out", spatial_dims=3, spacing=(4, 4, 5)).set_aside == summary.set_aside
    rich.print(summary)
    assert "not finite" in capsys.readouterr().out
    assert prepare(sources, tmp_path / "out", spatial_dims=3, spacing=(4, 4, 5), modality="mr").images["unlabeled"] == 1
