"""What images are called."""

import pytest

from medssl.data import are_of_one_kind, image_word


@pytest.mark.parametrize(
    ("modality", "dims", "word"),
    [
        ("", 2, "image"),
        ("", 3, "volume"),
        ("CR", 2, "radiograph"),
        ("DX", 2, "radiograph"),
        ("MG", 2, "mammogram"),
        ("US", 2, "ultrasound image"),
        ("US", 3, "ultrasound volume"),
        ("CT", 2, "CT image"),
        ("CT", 3, "CT volume"),
        ("MR", 3, "MR volume"),
        ("DX", 3, "radiograph volume"),
        ("QQ", 2, "QQ image"),
    ],
)
def test_images_have_the_name_of_their_modality(modality: str, dims: int, word: str) -> None:
    assert image_word(modality, dims) == word


def test_modalities_of_one_kind_go_together_and_unstated_ones_with_all() -> None:
    assert are_of_one_kind("CR", "DX")
    assert are_of_one_kind("", "MR")
    assert not are_of_one_kind("CT", "MR")
    assert not are_of_one_kind("US", "CR")
