"""Our augmentations as transforms of MONAI: pipelines, metadata and random numbers."""

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, RandFlip, RandFlipd, Transform
from monai.transforms.traits import RandomizableTrait
from monai.utils import TransformBackends
from torch import Tensor

from medssl.transforms import BezierIntensity, ContrastiveView, LocalShuffle, Painting, RandPerImage, RandPerImaged

SHAPES = [(1, 20, 20), (3, 14, 22), (1, 10, 12, 7)]  # channels, then the image
AUGMENTATIONS = [ContrastiveView(), BezierIntensity(1.0), LocalShuffle(1.0, 1.0), Painting(1.0)]
each_augmentation = pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=lambda one: type(one).__name__)


def brighten(images: Tensor) -> Tensor:
    """Adds one number to each image, so that a test can read off what was drawn."""
    return images + 1 + torch.rand(len(images), *[1] * (images.ndim - 1))


@each_augmentation
@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_is_augmented_as_a_batch_of_one_with_a_seed_of_monais(
    augmentation: Any, shape: tuple[int, ...]
) -> None:
    transform = RandPerImage(augmentation).set_random_state(seed=12)
    numbers = np.random.RandomState(12)  # what set_random_state makes of a seed
    for _ in range(3):
        image = torch.randn(shape)
        numbers.rand()  # whether to apply it at all
        seed = int(numbers.randint(2**31))
        before, state = image.clone(), torch.get_rng_state()
        augmented = transform(image)
        assert torch.equal(torch.get_rng_state(), state)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            assert torch.equal(augmented.as_tensor(), augmentation(image[None])[0])
        assert not torch.equal(augmented.as_tensor(), image)
        assert torch.equal(transform(image, randomize=False), augmented)
        assert torch.equal(image, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each_augmentation
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_numbers_follow_the_seed_on_each_device_and_leave_both_generators_alone(augmentation: Any, device: str) -> None:
    image, drawn = torch.randn(1, 24, 20).to(device), []
    for seed, noise in ((3, 0), (3, 1), (4, 2)):
        torch.manual_seed(noise)
        states = torch.get_rng_state(), torch.cuda.get_rng_state()
        drawn.append(RandPerImage(augmentation).set_random_state(seed)(image))
        assert torch.equal(torch.get_rng_state(), states[0])
        assert torch.equal(torch.cuda.get_rng_state(), states[1])
    assert drawn[0].device.type == device
    torch.testing.assert_close(drawn[0], drawn[1], rtol=1e-5, atol=1e-5)
    assert not torch.equal(drawn[0], drawn[2])


def test_augmentations_are_transforms_of_monai_whose_caches_stop_before_them() -> None:
    for transform in (*AUGMENTATIONS, RandPerImage(brighten), RandPerImaged("image", brighten)):
        assert isinstance(transform, Transform)
        assert isinstance(transform, RandomizableTrait)
        assert TransformBackends.TORCH in transform.backend
    cached = CacheDataset([torch.zeros(1, 4, 4)], Compose([RandPerImage(brighten)]), progress=False)
    assert not torch.equal(cached[0], cached[0])


@each_augmentation
@pytest.mark.parametrize("shape", SHAPES)
def test_a_pipeline_is_repeatable_and_differs_from_call_to_call(augmentation: Any, shape: tuple[int, ...]) -> None:
    image = torch.randn(shape)
    array = Compose([RandFlip(0.5), RandPerImage(augmentation), RandPerImage(augmentation)])
    dictionary = Compose([RandFlipd("image", 0.5), RandPerImaged("image", augmentation)])
    for pipeline, item in ((array, image), (dictionary, {"image": image})):
        runs = []
        for seed in (3, 3, 4):
            pipeline.set_random_state(seed=seed)
            results = [pipeline(item) for _ in range(4)]
            runs.append(torch.stack([one["image"] if isinstance(one, dict) else one for one in results]))
        assert torch.equal(runs[0], runs[1])
        assert not any(torch.equal(one, other) for one, other in zip(runs[0], runs[2], strict=True))
        assert len({tuple(one.flatten().tolist()) for one in runs[0]}) == 4


@each_augmentation
@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_metadata_stay_with_the_image_and_numpy_is_welcome(augmentation: Any, prob: float) -> None:
    affine = torch.diag(torch.tensor([-0.7, 0.7, 5.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.randn(1, 10, 12, 7), affine=affine, meta={"filename_or_obj": "ct.nii.gz"})
    for pipeline, item in (
        (Compose([RandPerImage(augmentation, prob)]), image),
        (Compose([RandPerImaged("image", augmentation, prob)]), {"image": image}),
    ):
        pipeline.set_random_state(seed=6)
        result = pipeline(item)
        augmented = result["image"] if isinstance(result, dict) else result
        assert isinstance(augmented, MetaTensor)
        assert torch.equal(augmented.affine, affine)
        assert augmented.meta["filename_or_obj"] == "ct.nii.gz"
        assert augmented.dtype == torch.float32
        assert torch.equal(augmented, image) == (prob == 0)
        from_numpy = RandPerImage(augmentation, prob).set_random_state(seed=1)(image.numpy())
        from_torch = RandPerImage(augmentation, prob).set_random_state(seed=1)(image.as_tensor())
        assert isinstance(from_numpy, MetaTensor)
        assert torch.equal(from_numpy, from_torch)


@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("prob", [0.0, 0.25, 1.0])
def test_images_are_augmented_with_the_given_probability(dictionary: bool, prob: float) -> None:
    image, calls = torch.zeros(1, 4, 4), 400
    transform: Any = RandPerImaged("image", brighten, prob) if dictionary else RandPerImage(brighten, prob)
    transform.set_random_state(seed=8)
    results = [transform({"image": image})["image"] if dictionary else transform(image) for _ in range(calls)]
    share = sum(bool(result.any()) for result in results) / calls
    assert share == pytest.approx(prob, abs=6 * (prob * (1 - prob) / calls) ** 0.5)


@each_augmentation
def test_all_keys_of_an_item_get_the_same_random_numbers(augmentation: Any) -> None:
    image, other = torch.randn(2, 1, 16, 20)
    item = {"name": "p1", "image": image, "again": image.clone(), "other": other}
    before = image.clone()
    transform = RandPerImaged(["image", "again"], augmentation, prob=0.5)
    transform.set_random_state(seed=2)
    alone = RandPerImage(augmentation, prob=0.5).set_random_state(seed=2)
    applied = 0
    for _ in range(12):
        result = transform(item)
        assert torch.equal(result["image"], result["again"])
        assert torch.equal(result["image"], alone(image))
        assert result["other"] is other
        assert result["name"] == "p1"
        assert item["image"] is image  # the item itself is left
        assert torch.equal(image, before)
        applied += not torch.equal(result["image"], image)
    assert 0 < applied < 12


def test_a_missing_key_is_refused_unless_it_may_be_missing() -> None:
    item = {"image": torch.zeros(1, 4, 4)}
    with pytest.raises(KeyError, match="scan"):
        RandPerImaged(["scan", "image"], brighten)(item)
    result = RandPerImaged(["scan", "image"], brighten, allow_missing_keys=True)(item)
    assert set(result) == {"image"}
    assert (result["image"] > 1).all()


@pytest.mark.parametrize("dictionary", [False, True])
def test_every_worker_of_a_loader_draws_its_own_numbers(dictionary: bool) -> None:
    image = torch.zeros(1, 4, 4)
    items: list[Any] = [{"image": image}] * 6 if dictionary else [image] * 6
    transform = RandPerImaged("image", brighten) if dictionary else RandPerImage(brighten)
    torch.manual_seed(5)
    loader = DataLoader(Dataset(items, Compose([transform])), batch_size=1, num_workers=2)
    batches = [batch["image"] if dictionary else batch for batch in loader]
    assert len({float(batch.flatten()[0]) for batch in batches}) == 6
