"""Targets and options of a training for segmentation."""

import pytest
import torch

from medssl.networks import build_segmenter
from medssl.training import PrepareSegmented, build_optimizer, freeze, mirror_axes
from medssl.transforms import ClinicalAugmentation, known_targets


@pytest.mark.parametrize("dims", [2, 3])
def test_images_and_masks_are_changed_alike(dims: int) -> None:
    shape = (3, 1, *(9, 8, 7)[:dims])
    bits, outlined = torch.randint(0, 8, shape, dtype=torch.uint8), torch.tensor([[1.0, 1, 0], [1, 0, 1], [1, 1, 1]])
    batch = {"image": torch.randn(shape), "mask": bits, "outlined": outlined}
    classes, contains = ["whole", "part", "other"], {"whole": ["part", "other"]}
    plain = PrepareSegmented(classes, contains)(batch)
    assert plain[0] is batch["image"]
    torch.testing.assert_close(plain[1], known_targets(bits, outlined, {0: [1, 2]}), equal_nan=True)
    augmentation = ClinicalAugmentation()
    torch.manual_seed(1)
    images, targets = PrepareSegmented(classes, contains, augmentation)(batch)
    torch.manual_seed(1)
    torch.testing.assert_close(images, augmentation(batch["image"]))
    torch.manual_seed(1)
    moved = augmentation.with_masks(batch["image"], bits)[1]
    torch.testing.assert_close(targets, known_targets(moved, outlined, {0: [1, 2]}), equal_nan=True)


@pytest.mark.parametrize(
    ("mirrored", "classes", "axes"),
    [
        ("auto", ["liver", "spleen"], None),
        ("auto", ["lung_left", "lung_right"], ()),
        ("auto", ["kidney_r"], ()),
        ("auto", ["Right ventricle"], ()),
        ("auto", ["bright", "cleft", "vessel"], None),
        (True, ["lung_left"], None),
        (False, ["liver"], ()),
    ],
)
def test_classes_of_one_side_are_not_mirrored(
    mirrored: bool | str, classes: list[str], axes: tuple[int, ...] | None
) -> None:
    assert mirror_axes(mirrored, classes) == axes


def test_the_backbone_of_a_segmenter_has_a_rate_of_its_own_or_is_frozen() -> None:
    network = build_segmenter("resnet10_quarter", 2, 1, 2)
    head, backbone = build_optimizer(network, learning_rate=0.1, backbone_rate=0.5).param_groups
    assert (head["lr"], backbone["lr"]) == (0.1, 0.05)
    assert set(map(id, backbone["params"])) == set(map(id, network.backbone.parameters()))
    assert len(head["params"]) + len(backbone["params"]) == len(list(network.parameters()))
    freeze(network, "backbone")
    assert not any(weight.requires_grad for weight in network.backbone.parameters())
    assert all(weight.requires_grad for part in (network.decoder, network.head) for weight in part.parameters())
