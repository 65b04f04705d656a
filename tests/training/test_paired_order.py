"""Two images of a group come one after the other, every image comes once, and each epoch is another one."""

from collections import Counter

import pytest
import torch
from torch.utils.data import RandomSampler

from medssl.networks import build_backbone
from medssl.pretext import build_pretext_model
from medssl.training import PairedOrder, image_order


def test_images_of_a_patient_stand_two_by_two_and_all_come_once() -> None:
    patients = [str(number) for number in torch.randint(0, 40, (100,)).tolist()]
    order, epochs = PairedOrder(patients), []
    for seed in (0, 1, 1):
        torch.manual_seed(seed)
        epochs.append(list(order))
        assert sorted(epochs[-1]) == list(range(len(order)))
        names = [patients[image] for image in epochs[-1]]
        place, alone = 0, Counter()
        while place < len(names):
            paired = place + 1 < len(names) and names[place] == names[place + 1]
            alone[names[place]] += not paired
            place += 1 + paired
        # Only the last of an odd number is alone, but where it happens to stand before a pair of the same patient.
        assert sum(alone.values()) <= sum(count % 2 for count in Counter(patients).values()) + 2
    assert epochs[1] == epochs[2] != epochs[0]
    firsts = Counter()
    for _ in range(300):
        firsts[next(iter(PairedOrder(["a", "a", "b", "c"])))] += 1
    assert set(firsts) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("positives", "groups"),
    [
        (("image", "image"), None),
        (("volume", "image"), None),
        (("patient", "image"), ["a", "a", "a", "b", "b"]),
        (("study", "image"), ["a\n1", "4", "a\n1", "b\n1", "5"]),
        (("patient", "study"), ["a\n1", "4", "a\n1", "b\n1", "5"]),
    ],
)
def test_a_model_gets_the_order_that_its_tasks_ask_for(positives: tuple[str, str], groups: list[str] | None) -> None:
    first, second = positives
    tasks = {"rotation": {}, "simclr": {"positives": first}, "simsiam": {"positives": second}}
    model = build_pretext_model(build_backbone("resnet10_quarter", 2), (16, 16), tasks)
    rows = zip("aaabb", ["1", "", "1", "1", ""], "34345", strict=True)  # a file each, but for crops of a volume
    sampler = image_order(model, [{"patient": patient, "study": study, "file": file} for patient, study, file in rows])
    assert type(sampler) is (PairedOrder if groups else RandomSampler)
    assert sorted(sampler) == [0, 1, 2, 3, 4]
    assert not groups or sampler.groups == groups
