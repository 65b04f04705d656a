import json
from pathlib import Path

import pytest

from medssl.data import store_settings
from medssl.data.store import check_settings, remove_unnamed, write_settings
from medssl.errors import UserError


def test_settings_are_kept_beside_the_datalist(tmp_path: Path) -> None:
    datalist = tmp_path / "datalist.json"
    with pytest.raises(FileNotFoundError, match=r"datalist\.json"):
        store_settings(datalist)
    datalist.write_text(json.dumps({"labels": []}))
    with pytest.raises(FileNotFoundError, match=r"store\.json"):
        store_settings(datalist)
    for settings in (check_settings(2, [224, 200], [1, 1, 1]), check_settings(3, [8], [1, -1, 2])):
        write_settings(tmp_path, settings)
        assert store_settings(datalist) == settings
    assert settings == {"spatial_dims": 3, "spacing": [1.0, -1.0, 2.0]}


def test_images_of_other_axes_and_a_folder_for_a_datalist_are_named(tmp_path: Path) -> None:
    datalist = tmp_path / "datalist.json"
    datalist.write_text(json.dumps({"labels": []}))
    write_settings(tmp_path, check_settings(2, [224, 200], []))
    assert store_settings(datalist, 2)["size"] == [224, 200]
    with pytest.raises(UserError, match=r"is of 2D images, and volumes are needed.*--dims 3"):
        store_settings(datalist, 3)
    with pytest.raises(UserError, match=r"is a folder: .*/datalist\.json"):
        store_settings(tmp_path)
    for damaged in ("", "{", "[]", "{}", '{"spatial_dims": 2}', '{"spatial_dims": 3, "size": [8, 8]}'):
        (tmp_path / "store" / "store.json").write_text(damaged)
        with pytest.raises(UserError, match=r"store\.json is damaged"):
            store_settings(datalist)


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
