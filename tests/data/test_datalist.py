import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, load_decathlon_datalist

from medssl.data import Datalist, write_datalist

LABELS = ["Edema", "Mass"]


def make(folder: Path, **splits: list[dict]) -> Path:
    for item in [item for items in splits.values() for item in items]:
        (folder / item["image"]).touch()
    write_datalist(folder / "datalist.json", LABELS, splits)
    return folder / "datalist.json"


def test_what_is_written_is_read_and_batched(tmp_path: Path) -> None:
    path = make(
        tmp_path,
        training=[
            {"image": "a.png", "label": [1, None], "patient": "1", "source": "nih"},
            {
                "image": str(tmp_path / "b.png"),
                "label": np.array([math.nan, 0.0], np.float32),
                "patient": "1",
                "study": "s1",
            },
        ],
        test=[{"image": "c.png", "label": [0, 1], "patient": "2"}],
        unlabeled=[{"image": "d.png", "patient": "1"}],
    )
    stored = json.loads(path.read_text())
    assert stored["labels"] == LABELS
    assert stored["training"][1] == {"image": "b.png", "label": [None, 0], "patient": "1", "study": "s1"}
    assert Datalist.read(path).labels == LABELS
    batch = next(iter(DataLoader(Dataset(Datalist.read(path).items("training")), batch_size=2)))
    assert batch["label"].dtype == torch.float32
    np.testing.assert_array_equal(batch["label"], [[1, math.nan], [math.nan, 0]])
    assert batch["image"] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert batch["source"] == ["nih", ""]
    assert batch["study"] == ["", "s1"]
    everything = Datalist.read(path).items("pretrain")
    assert [Path(item["image"]).name for item in everything] == ["a.png", "b.png", "d.png"]
    assert all("label" not in item for item in everything)
    assert Datalist.read(path).items("validation") == []
    assert load_decathlon_datalist(path, False, "test")[0]["image"] == str(tmp_path / "c.png")


def test_a_datalist_moves_with_its_images(tmp_path: Path) -> None:
    (tmp_path / "old" / "lists").mkdir(parents=True)
    image = tmp_path / "old" / "a.png"
    image.touch()
    write_datalist(tmp_path / "old" / "lists" / "d.json", [], {"unlabeled": [{"image": str(image), "patient": "1"}]})
    (tmp_path / "old").rename(tmp_path / "new")
    item = Datalist.read(tmp_path / "new" / "lists" / "d.json").items("unlabeled")[0]
    assert item["image"] == str(tmp_path / "new" / "a.png")


ITEM = {"image": "a.png", "label": [1, 0], "patient": "1"}
OTHER = {"image": "b.png", "label": [1, 0], "patient": "2"}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"training": [ITEM, {**OTHER, "label": [1]}]}, r"training\[1\] has 1 label values, and there are 2"),
        ({"training": [{"image": "a.png", "patient": "1"}]}, r"training\[0\] has no label values"),
        ({"test": [{**ITEM, "label": [1, 0.5]}]}, r"test\[0\] has the label value 0\.5"),
        ({"test": [{**ITEM, "label": [1, "0"]}]}, r"test\[0\] has the label value '0'"),
        ({"training": [ITEM], "test": [{**OTHER, "patient": "1"}]}, r"training\[0\]: the patient '1' is in test"),
        ({"test": [ITEM], "unlabeled": [{**OTHER, "patient": "1"}]}, r"unlabeled\[0\]: the patient '1' is in test"),
        ({"training": [ITEM, {**ITEM, "patient": "3"}]}, r"training\[1\]: the image a\.png is listed already"),
        ({"training": [{**ITEM, "image": ""}]}, r'training\[0\] has no "image"'),
        ({"unlabeled": [{"image": "a.png"}]}, r'unlabeled\[0\] has no "patient"'),
    ],
)
def test_broken_datalists_are_refused_on_both_ways(tmp_path: Path, splits: dict, message: str) -> None:
    path = tmp_path / "datalist.json"
    with pytest.raises(ValueError, match=message):
        write_datalist(path, LABELS, splits)
    assert not path.exists()
    path.write_text(json.dumps({"labels": LABELS, **splits}))
    with pytest.raises(ValueError, match=message):
        Datalist.read(path).items("training", check_files=False)


def test_exclusive_labels_are_one_hot_or_unknown(tmp_path: Path) -> None:
    path = tmp_path / "datalist.json"
    good = [{"image": f"{i}.png", "label": label, "patient": f"{i}"} for i, label in enumerate(([1, 0], [0, 1]))]
    good.append({"image": "2.png", "label": [math.nan, None], "patient": "2"})
    write_datalist(path, LABELS, {"training": good, "unlabeled": [{"image": "3.png", "patient": "3"}]}, exclusive=True)
    assert Datalist.read(path).exclusive
    np.testing.assert_equal(Datalist.read(path).items("training", check_files=False)[2]["label"], [math.nan] * 2)
    write_datalist(path, LABELS, {"training": good})
    assert not Datalist.read(path).exclusive
    for label in ([0, 0], [1, 1], [1, None], [None, 0]):
        broken = {"training": good, "test": [{"image": "4.png", "label": label, "patient": "4"}]}
        with pytest.raises(ValueError, match=r"test\[0\]: labels exclude each other"):
            write_datalist(path, LABELS, broken, exclusive=True)
        write_datalist(path, LABELS, broken)
    content = json.loads(path.read_text())
    for value, message in ((True, r"test\[0\]: labels exclude each other"), ("yes", "exclusive is 'yes'")):
        path.write_text(json.dumps({**content, "exclusive": value}))
        with pytest.raises(ValueError, match=message):
            Datalist.read(path)


def test_other_mistakes_are_named(tmp_path: Path) -> None:
    path = make(tmp_path, training=[ITEM, OTHER])
    with pytest.raises(ValueError, match="'train'"):
        Datalist.read(path).items("train")
    with pytest.raises(ValueError, match="'train'"):
        write_datalist(path, LABELS, {"train": []})
    (tmp_path / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"training\[1\]: there is no image .*b\.png"):
        Datalist.read(path).items("training")
    assert len(Datalist.read(path).items("training", check_files=False)) == 2
    with pytest.raises(FileNotFoundError, match=r"other\.json"):
        Datalist.read(tmp_path / "other.json")
    for text in (
        '{"labels": [1]}',
        '{"labels": [""]}',
        "{",
        '{"labels": ["a"], "training": [{"label": [NaN]}]}',
        "[]",
        "\x00",
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"datalist\.json"):
            Datalist.read(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path, training=[ITEM])
    before = path.read_text()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_datalist(path, LABELS, {"training": [OTHER]})
    assert path.read_text() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.png", "datalist.json"]
