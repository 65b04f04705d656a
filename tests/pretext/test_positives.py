"""Positives from two images of a volume, study or patient: who is paired with whom, and told apart from whom."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import UserError
from medssl.losses import nt_xent, queue_info_nce
from medssl.networks import build_backbone
from medssl.pretext import PretextModel, build_task
from medssl.pretext.view_pairs import draw_partners, matching_metrics
from medssl.training import prepare_images

PAIRS = ("simsiam", "simclr", "moco", "byol", "barlow_twins", "vicreg", "lejepa")
SAME_VIEW: dict[str, Any] = {"scale": (1, 1), "ratio": (1, 1), "mirror_axes": (), "jitter": 0, "blur": 0}


def test_partners_are_others_of_the_group_each_once_and_all_of_them_in_time() -> None:
    groups = torch.tensor([5, 3, 5, 9, 3, 5, 7, 2**62])
    seen: dict[int, set[int]] = {image: set() for image in range(8)}
    for _ in range(60):
        partners = draw_partners(groups)
        assert sorted(partners.tolist()) == list(range(8))
        assert torch.equal(groups[partners], groups)
        for image, partner in enumerate(partners.tolist()):
            seen[image].add(partner)
    assert seen == {0: {2, 5}, 2: {0, 5}, 5: {0, 2}, 1: {4}, 4: {1}, 3: {3}, 6: {6}, 7: {7}}
    assert sorted(draw_partners(torch.zeros(4, dtype=torch.long)).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("kind", ["volume", "study", "patient"])
def test_the_second_view_is_of_another_image_of_the_group(kind: str, name: str, spatial_dims: int) -> None:
    backbone = build_backbone("resnet10_quarter", spatial_dims)
    size = [16] * spatial_dims
    two = {"views": 2} if name == "lejepa" else {}
    task = build_task(name, backbone, size, positives=kind, view=SAME_VIEW, **two)
    images, groups = torch.randn(6, 1, *size), {word: torch.zeros(6).long() for word in ("volume", "study", "patient")}
    groups[kind] = torch.tensor([1, 1, 2, 2, 3, 4])
    views, _ = task.puzzle(images, groups)
    torch.testing.assert_close(views, torch.cat([images, images[[1, 0, 3, 2, 4, 5]]]), rtol=0, atol=1e-4)
    output = PretextModel(backbone, {name: task})(images, groups)
    assert output.loss.isfinite()
    assert output.tasks[name].metrics["company"].item() == pytest.approx(4 / 6)
    del groups[kind]
    for unknown in (None, groups):
        with pytest.raises(UserError, match=f"positives: {kind} needs"):
            task(backbone, images, unknown)


@pytest.mark.parametrize("name", PAIRS)
def test_groups_change_nothing_where_views_of_an_image_belong_together(name: str) -> None:
    backbone = build_backbone("resnet10_quarter", 2)
    task = build_task(name, backbone, (16, 16))
    images, losses = torch.randn(4, 1, 16, 16), []
    for groups in (None, {"patient": torch.zeros(4, dtype=torch.long)}):
        torch.manual_seed(0)
        losses.append(task(backbone, images, groups).loss)
    assert torch.equal(*losses)


def cosine(one: Tensor, other: Tensor) -> float:
    return F.cosine_similarity(one, other, dim=0).item()


def test_nt_xent_does_not_tell_a_group_apart() -> None:
    first, second, groups = torch.randn(5, 3).double(), torch.randn(5, 3).double(), torch.tensor([1, 1, 2, 1, 3])
    views, losses = torch.cat([first, second]), []
    for view in range(10):
        own = (view + 5) % 10
        others = [one for one in range(10) if groups[one % 5] != groups[view % 5]]
        weight = {one: math.exp(cosine(views[view], views[one]) / 0.3) for one in (own, *others)}
        losses.append(-math.log(weight[own] / sum(weight.values())))
    assert nt_xent(first, second, 0.3, groups).item() == pytest.approx(sum(losses) / 10, rel=1e-9)
    torch.testing.assert_close(nt_xent(first, second, 0.3, torch.arange(5)), nt_xent(first, second, 0.3))


def test_moco_takes_no_embedding_of_the_same_patient_for_a_negative() -> None:
    backbone = build_backbone("resnet10_quarter", 2)
    task = build_task("moco", backbone, (16, 16), positives="patient", queue=6, variance=0)
    images, patients = torch.randn(4, 1, 16, 16), {"patient": torch.tensor([1, 1, 2, 3])}
    task(backbone, images, patients)
    task.after_step(backbone)
    assert task.groups.tolist() == [1, 1, 2, 3, -1, -1]
    torch.manual_seed(0)
    before = task(backbone, images, patients).loss
    task.queue[:4] = torch.randn(4, 128)  # of these patients, of whom one query each sees the others'
    task.groups[:4] = 1
    torch.manual_seed(0)
    assert task(backbone, images, patients).loss != before
    same, asked = {"patient": torch.ones(4, dtype=torch.long)}, []
    task.groups[:] = 1
    for queue in (torch.randn(6, 128), torch.randn(6, 128)):
        task.queue[:] = queue
        torch.manual_seed(0)
        asked.append(task(backbone, images, same).loss.item())
    assert asked == pytest.approx([0, 0], abs=1e-5)  # nobody is left to be told apart from


def test_the_queue_stands_beside_the_other_keys_of_the_mini_batch() -> None:
    query, keys, queue = (torch.randn(rows, 5).double() for rows in (3, 3, 7))
    candidates, excluded = torch.cat([keys, queue]), torch.rand(3, 10) < 0.3
    for out in (None, excluded):
        losses = []
        for b in range(3):
            weight = {
                number: math.exp(cosine(query[b], one) / 0.3)
                for number, one in enumerate(candidates)
                if number == b or out is None or not out[b, number]
            }
            losses.append(-math.log(weight[b] / sum(weight.values())))
        assert queue_info_nce(query, keys, queue, 0.3, out).item() == pytest.approx(sum(losses) / 3, rel=1e-9)


def test_accuracy_counts_no_image_of_the_same_patient_as_wrong() -> None:
    first = torch.eye(4)
    second = first[[1, 0, 2, 3]]  # the patient's two images found each other's view
    assert matching_metrics(first, second)[0]["accuracy"] == 0.5
    metrics, _ = matching_metrics(first, second, torch.tensor([1, 1, 2, 3]))
    assert metrics["accuracy"] > 0.5
    assert metrics["chance"].item() == pytest.approx((2 / 3 + 2 / 4) / 4)
    assert metrics["company"] == 0.5


def test_a_batch_says_of_what_its_images_are() -> None:
    patients, studies = ["a", "b", "a", "0f3c", "b", "b"], ["1", "1", "1", "", "", ""]
    batch = {"image": torch.zeros(6, 1, 8, 8), "patient": patients, "study": studies, "file": list("uvwxyy")}
    images, target, (groups,), options = prepare_images(batch)  # type: ignore[misc]
    assert (target, options, len(images)) == (None, {}, 6)
    # Studies count within a patient; where none is known, crops of a volume belong together.
    expected = {"patient": [0, 1, 0, 3, 1, 1], "volume": [0, 1, 2, 3, 4, 4], "study": [0, 1, 0, 3, 4, 4]}
    assert groups.keys() == expected.keys()
    for kind, numbers in groups.items():
        assert numbers.dtype == torch.int64
        assert (numbers >= 0).all()
        assert [numbers.tolist().index(number) for number in numbers.tolist()] == expected[kind]
    assert prepare_images({"image": images, "patient": patients})[2][0].keys() == {"patient"}  # type: ignore[misc]
    assert prepare_images({"image": images})[1:] == (None,)
