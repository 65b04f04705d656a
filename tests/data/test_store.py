import json
from pathlib import Path

import pytest

from medssl.data import Datalist
from medssl.data.store import check_settings, remove_unnamed, write_settings
from medssl.errors import MissingFileError, UserError
from medssl.transforms import View


def datalist(folder: Path) -> Path:
    path = folder / "datalist.json"
    path.write_text(json.dumps({"labels": []}))
    return path


def test_settings_are_kept_beside_the_datalist_and_needed_only_when_asked_for(tmp_path: Path) -> None:
    path = datalist(tmp_path)
    without_store = Datalist.read(path)
    assert without_store.items("training") == []
    with pytest.raises(MissingFileError, match=r"store\.json"):
        without_store.settings  # noqa: B018
    for settings in (check_settings(2, [224, 200], [1, 1, 1]), check_settings(3, [8], [1, -1, 2])):
        write_settings(tmp_path, settings)
        assert Datalist.read(path).settings == Datalist.read(tmp_path).settings == settings
    assert settings == {"spatial_dims": 3, "spacing": [1.0, -1.0, 2.0]}


@pytest.mark.parametrize("damaged", ["", "{", "[]", "{}", '{"spatial_dims": 2}', '{"spatial_dims": 3, "size": [8, 8]}'])
def test_damaged_settings_are_named(damaged: str, tmp_path: Path) -> None:
    write_settings(tmp_path, check_settings(2, [224, 200], []))
    (tmp_path / "store" / "store.json").write_text(damaged)
    with pytest.raises(UserError, match=r"store\.json is damaged"):
        Datalist.read(datalist(tmp_path)).view()


def test_the_view_is_what_prepare_proposed(tmp_path: Path) -> None:
    view = View(3, (64, 64, 16), (0.0, 80.0), (1.0, 1.0, 2.0), "CT")
    settings = {**check_settings(3, [8], [1, 1, 2]), "modality": "CT", "view": view.to_dict()}
    write_settings(tmp_path, settings)
    assert Datalist.read(datalist(tmp_path)).view() == view


@pytest.mark.parametrize(
    ("settings", "view"),
    [
        ({"spatial_dims": 2, "size": [224, 200]}, View(2, (224, 200))),
        ({"spatial_dims": 2, "size": [32, 32], "modality": "DX"}, View(2, (32, 32), modality="DX")),
        ({"spatial_dims": 3, "spacing": [1, 1, 3]}, View(3, (128, 128, 32), (-200, 300), (1, 1, 3))),
        (
            {"spatial_dims": 3, "spacing": [-1, -1, 2], "modality": "CT"},
            View(3, (128, 128, 32), (-200, 300), (-1, -1, 2), "CT"),
        ),
        ({"spatial_dims": 3, "spacing": [1, 1, 1], "modality": "MR"}, View(3, (128, 128, 32), None, (1, 1, 1), "MR")),
    ],
)
def test_a_store_of_the_first_edition_has_the_view_of_its_bundles(settings: dict, view: View, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text(json.dumps(settings))
    assert Datalist.read(datalist(tmp_path)).view() == view


@pytest.mark.parametrize(
    ("dims", "size", "spacing"),
    [(4, [8, 8], [1, 1, 1]), (2, [8], []), (2, [8, 7], []), (3, [], [1, 1]), (3, [], [1, 1, 0]), (3, [], [1, -2, 1])],
)
def test_settings_that_make_no_store_are_refused(dims: int, size: list[int], spacing: list[float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        check_settings(dims, size, spacing)


def test_only_what_nobody_needs_is_removed(tmp_path: Path) -> None:
    kept = ["store/ab/1.b2nd", "store/store.json", "datalist.json", ".mine", "notes/.4-mine"]
    gone = ["store/ab/2.b2nd", "store/cd/.12-345.3.b2nd", ".12-345.datalist.json", "store/.1-2.journal.jsonl"]
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_unnamed(tmp_path, {"store/ab/1.b2nd"})
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
