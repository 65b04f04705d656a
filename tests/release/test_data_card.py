"""The data card of an exported bundle: what was learned from, and the list by which others find their images."""

from pathlib import Path

from test_export import finished_run

from medssl.data import SeenImages
from medssl.release import export_run


def test_the_data_card_counts_what_was_learned_from_and_the_list_may_stay_at_home(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    export_run(run, tmp_path / "old", archive=False)
    assert "left no list" in (tmp_path / "old" / "docs" / "data_card.md").read_text()
    before = SeenImages(3, 2, {"west": 3}, ["0" * 32])
    SeenImages(5, 4, {"north": 4, "": 1}, ["a" * 32, "b" * 32], before).write(run / "images.json")
    export_run(run, tmp_path / "new", archive=False)
    card = (tmp_path / "new" / "docs" / "data_card.md").read_text()
    for row in ("| images | 5 |", "| patients | 4 |", "| north | 4 |", "| west | 3 |"):
        assert row in card
    assert SeenImages.read(tmp_path / "new" / "docs" / "images.json") == SeenImages.read(run / "images.json")
    export_run(run, tmp_path / "new", archive=False, image_list=False)
    assert not (tmp_path / "new" / "docs" / "images.json").exists()
    assert "no list of hashes" in (tmp_path / "new" / "docs" / "data_card.md").read_text()
