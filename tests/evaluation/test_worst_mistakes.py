"""What a network was surest of and wrong about."""

from pathlib import Path

import numpy as np

from medssl.evaluation import Mistake, Predictions, draw_mistakes, worst_mistakes
from medssl.transforms import write_stored

NAN = np.nan


def test_the_worst_mistakes_come_first_and_no_class_fills_the_list() -> None:
    scores = np.array([[0.99, 0.2], [0.98, 0.9], [0.97, 0.4], [0.1, 0.99]])
    labels = np.array([[0, 1], [0, 1], [0, 1], [NAN, NAN]])  # the last of which nothing is known
    predictions = Predictions(list("abcd"), list("abcd"), ["x", "y"], scores, labels)
    assert worst_mistakes(predictions) == [
        Mistake("a", "x", 0.99, False),
        Mistake("b", "x", 0.98, False),
        Mistake("a", "y", 0.2, True),
        Mistake("c", "y", 0.4, True),
    ]
    assert [each.image for each in worst_mistakes(predictions, count=2, most_of_class=1)] == ["a", "a"]
    right = Predictions(list("a"), list("a"), ["x"], np.array([[0.4]]), np.array([[0.0]]))
    assert worst_mistakes(right) == []


def test_a_volume_is_shown_by_its_middle_slice_the_front_above_and_the_right_side_left(tmp_path: Path) -> None:
    volume = np.zeros((4, 6, 5), np.float32)
    volume[3, 5, 2] = 1000  # in RAS at the right, in front
    write_stored(tmp_path / "v.b2nd", volume, [1, 1, 1])
    figure = draw_mistakes([Mistake("v", "a $b", 0.9, False)], [tmp_path / "v.b2nd"], window=(0, 500))
    image = figure.axes[0].images[0]
    assert image.get_array().shape == (6, 4)
    assert np.argwhere(image.get_array() > 0).tolist() == [[0, 0]]
    assert image.get_clim() == (0, 500)
    assert "absent, predicted 0.90" in figure.axes[0].get_title(loc="left")
