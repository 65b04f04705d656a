"""MixUp against the pair it must have been made of."""

import pytest
import torch
from torch import Tensor

from medssl.errors import UserError
from medssl.training.mixup import BatchMixUp, mix_up

NAN = float("nan")


def batch_of(dims: int, labels: Tensor) -> Tensor:
    """Images that are 0 but for one place each, so that a mixture tells what it is made of."""
    images = torch.zeros(len(labels), 1, *[8] * dims)
    for number in range(len(labels)):
        images[number].view(-1)[number] = 1
    return images


@pytest.mark.parametrize("dims", [2, 3])
def test_images_and_labels_are_the_same_mixture_and_unknown_stays_unknown(dims: int) -> None:
    torch.manual_seed(0)
    labels = torch.tensor([[1, 0, NAN], [0, NAN, 1], [NAN, 1, 1], [0, 1, NAN], [NAN, NAN, 0], [NAN, 0, 0]])
    images = batch_of(dims, labels)
    seen = set()
    for _ in range(50):
        mixed, found = mix_up(images, labels, alpha=1.0)
        shares = mixed.flatten(1)[:, :6]  # row: mixture; column: how much of each image
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(6))
        for row in range(6):
            (other,) = set(shares[row].nonzero().flatten().tolist()) - {row}
            share = shares[row, row]
            torch.testing.assert_close(found[row], share * labels[row] + (1 - share) * labels[other], equal_nan=True)
            common = [(labels[row].isfinite() & labels[each].isfinite()).sum() for each in range(6) if each != row]
            assert (labels[row].isfinite() & labels[other].isfinite()).sum() == max(common)
            seen.add((row, other))
    assert len(seen) > 6  # of equally good partners each is drawn


def test_whatever_shares_no_known_label_remains_as_it_is() -> None:
    labels = torch.tensor([[1, NAN, NAN], [NAN, 0, NAN], [NAN, 1, NAN], [NAN, NAN, NAN]])
    images = torch.randn(4, 1, 8, 8)
    mixed, found = mix_up(images, labels, alpha=0.4)
    for row in (0, 3):
        torch.testing.assert_close(mixed[row], images[row], rtol=0, atol=0)
        torch.testing.assert_close(found[row], labels[row], rtol=0, atol=0, equal_nan=True)
    assert 0 < found[1, 1] < 1


def test_shares_are_those_of_a_beta_distribution_and_one_seed_gives_one_batch() -> None:
    labels = torch.ones(2000, 1)
    labels[::2] = 0
    torch.manual_seed(1)
    _, first = mix_up(torch.zeros(2000, 1), labels, alpha=0.5)
    torch.manual_seed(1)
    _, second = mix_up(torch.zeros(2000, 1), labels, alpha=0.5)
    assert torch.equal(first, second)
    mixed = first[(first > 0) & (first < 1)]
    # λ and 1 - λ alike: Beta(½, ½) has variance 1/8.
    assert mixed.var().item() == pytest.approx(1 / 8, abs=0.015)


def test_of_exclusive_classes_the_shares_sum_to_one() -> None:
    labels = torch.eye(3)[torch.arange(12) % 3]
    labels[::4] = NAN
    _, found = mix_up(torch.randn(12, 5), labels, alpha=1.0)
    known = labels.isfinite().all(dim=1)
    torch.testing.assert_close(found[known].sum(dim=1), torch.ones(int(known.sum())))
    assert found[~known].isnan().all()


def test_zero_leaves_the_batch_as_it_is_prepared_and_one_image_mixes_with_none() -> None:
    def prepare(batch: dict, device: None = None, non_blocking: bool = False) -> tuple[Tensor, Tensor]:
        return batch["image"], batch["label"]

    batch = {"image": torch.randn(4, 1, 8, 8), "label": torch.ones(4, 2)}
    state = torch.get_rng_state()
    images, labels = BatchMixUp(prepare)(batch)
    assert images is batch["image"]
    assert labels is batch["label"]
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(BatchMixUp(prepare, 1.0)(batch)[0], batch["image"])
    one = {key: value[:1] for key, value in batch.items()}
    assert torch.equal(BatchMixUp(prepare, 1.0)(one)[0], one["image"])
    with pytest.raises(UserError, match="mixup"):
        BatchMixUp(prepare, -1)
