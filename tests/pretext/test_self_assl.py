"""Self-ASSL: features that differ from a first network's, and a model that trainers take as any other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medssl.losses import linear_cka, variance_floor
from medssl.networks import Backbone, build_backbone, save_backbone
from medssl.phantoms.batch import draw_batch
from medssl.pretext import Complement, PretextModel, PretextOutput, PretextTask, build_pretext_model
from medssl.training import check_batches, effective_rank

SIZE = (32, 32)
STEPS = 30


def rotation_model(first: str | Path = "", similarity_weight: float = 1.0) -> PretextModel:
    backbone = build_backbone("resnet10_quarter", 2)
    return build_pretext_model(backbone, SIZE, "rotation", first=first, similarity_weight=similarity_weight)


def train(model: PretextModel, images: Tensor, steps: int = STEPS) -> None:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-3, fused=True)
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(images[torch.randperm(len(images))[:16]]).loss.backward()
        optimizer.step()


@torch.no_grad()
def features(backbone: Backbone, images: Tensor) -> Tensor:
    return backbone.eval().pool(backbone(images))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return draw_batch(SIZE, 96)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, images: Tensor) -> Path:
    """A first network, trained on rotation."""
    torch.manual_seed(0)
    model = rotation_model()
    train(model, images)
    path = tmp_path_factory.mktemp("first") / "backbone.pt"
    save_backbone(model.backbone, path, image_size=list(SIZE))
    return path


def test_the_term_makes_the_features_differ_and_the_task_is_still_learned(first: Path, images: Tensor) -> None:
    # With the statistics of the batch, as they are trained: those of evaluation follow them only after some 80 steps.
    similarity, accuracy = {}, {}
    for with_term in (False, True):
        torch.manual_seed(2)
        model = rotation_model()
        beside = PretextModel(model.backbone, dict(model.tasks.items()), beside={"self_assl": Complement(first, 2)})
        train(beside if with_term else model, images)
        with torch.no_grad():
            tasks = beside(images).tasks
        similarity[with_term] = tasks["self_assl"].metrics["similarity"].item()
        accuracy[with_term] = tasks["rotation"].metrics["accuracy"].item()
    assert similarity[True] < 0.5 * similarity[False]
    assert accuracy[True] > 0.7  # chance: 0.25


def test_the_loss_is_that_of_the_task_plus_the_weighted_similarity(first: Path, images: Tensor) -> None:
    model = rotation_model(first, 0.3)
    complement: Any = model.beside["self_assl"]
    before = {name: value.clone() for name, value in complement.state_dict().items()}
    reference = build_backbone("resnet10_quarter", 2)
    reference.load_state_dict(model.backbone.state_dict())
    rotation = PretextModel(reference, {"rotation": model.tasks["rotation"]})  # type: ignore[dict-item]
    torch.manual_seed(5)
    output = model.train()(images[:8])
    torch.manual_seed(5)
    task_loss = rotation.train()(images[:8]).loss
    new, old = reference.pool(reference(images[:8])), features(complement.first, images[:8])
    similarity = linear_cka(new, old, unbiased=True)
    below_floor = variance_floor(new / old.var(dim=0).mean().sqrt())
    assert output.loss.item() == pytest.approx((task_loss + 0.3 * (similarity + below_floor)).item(), rel=1e-5)
    assert output.tasks["self_assl"].metrics["similarity"].item() == pytest.approx(similarity.item(), rel=1e-4)
    assert output.tasks["self_assl"].metrics["below_floor"].item() == pytest.approx(below_floor.item(), rel=1e-5)
    assert output.shares == {"rotation": 1}
    output.loss.backward()
    # The first network has neither gradients nor new statistics, whichever mode the model is in.
    assert all(weight.grad is None for weight in complement.parameters())
    assert not any(module.training for module in complement.first.modules())
    assert all(torch.equal(before[name], value) for name, value in complement.state_dict().items())
    assert all(weight.grad is not None for weight in [*model.backbone.parameters(), *model.tasks.parameters()])


def test_a_collapse_does_not_pay(first: Path, images: Tensor) -> None:
    complement = Complement(first, 2)

    class Given(torch.nn.Module):
        """In place of a backbone: features that are given."""

        def __init__(self, features: Tensor) -> None:
            super().__init__()
            self.features = features

        def forward(self, images: Tensor) -> Tensor:
            return self.features

        def pool(self, features: Tensor) -> Tensor:
            return features

    def loss(features: Tensor) -> float:
        return complement(Given(features), images[:64]).loss.item()  # type: ignore[arg-type]

    _, old = complement.puzzle(images[:64])
    torch.manual_seed(0)
    unrelated = 2 * old.var(dim=0).mean().sqrt() * torch.randn(64, 128)
    assert abs(loss(unrelated)) < 0.15
    for worse in (torch.ones(64, 128), 0.01 * unrelated, old):
        assert loss(worse) > loss(unrelated) + 0.5


@pytest.mark.slow
def test_the_rank_stays_where_the_biased_similarity_lowered_it(first: Path, images: Tensor) -> None:
    class Biased(Complement):
        """The term as it was."""

        def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
            inputs, target = self.puzzle(images)
            return PretextOutput(linear_cka(backbone.pool(backbone(inputs)), target), {})

    terms: dict[str, dict[str, PretextTask]]
    terms = {"none": {}, "biased": {"self_assl": Biased(first, 2)}, "ours": {"self_assl": Complement(first, 2)}}
    ranks = {}
    for form, beside in terms.items():
        torch.manual_seed(2)
        model = rotation_model()
        train(PretextModel(model.backbone, dict(model.tasks.items()), beside=beside), images, 100)  # type: ignore[arg-type]
        with torch.no_grad():
            new = model.backbone.train().pool(model.backbone(images[:64]))
        ranks[form] = effective_rank(new - new.mean(dim=0)).item()
    assert ranks["biased"] < 0.6 * ranks["none"], ranks
    assert ranks["ours"] > 0.8 * ranks["none"], ranks


def test_its_state_holds_the_first_network_and_the_draws(first: Path, images: Tensor, tmp_path: Path) -> None:
    def build(path: Path) -> PretextModel:
        backbone = build_backbone("resnet10_quarter", 2)
        return build_pretext_model(
            backbone, SIZE, "rotation,src", "alternate", seed=3, first=path, similarity_weight=0.5
        )

    model = build(first)
    for _ in range(3):
        model(images[:4])
    torch.save(model.state_dict(), tmp_path / "state.pt")
    save_backbone(build_backbone("resnet10_quarter", 2), tmp_path / "another.pt")
    resumed = build(tmp_path / "another.pt")
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(6):
        torch.manual_seed(7)
        expected = model(images[:4])
        torch.manual_seed(7)
        output = resumed(images[:4])
        assert set(output.tasks) == set(expected.tasks)
        assert "self_assl" in output.tasks
        assert torch.equal(output.loss, expected.loss)


def test_mistakes_are_answered_before_a_run_begins(first: Path, images: Tensor, tmp_path: Path) -> None:
    model = rotation_model(first)
    with pytest.raises(ValueError, match="self_assl needs at least 4 images in a mini-batch"):
        check_batches(model, DataLoader(images, batch_size=3))  # type: ignore[arg-type]
    check_batches(model, DataLoader(images, batch_size=4))  # type: ignore[arg-type]
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="similarity_weight must be 0 or more"):
            rotation_model(first, weight)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rotation_model(tmp_path / "nowhere.pt")
    save_backbone(build_backbone("resnet10_quarter", 3), tmp_path / "backbone.pt")
    with pytest.raises(ValueError, match="is a network for 3D images, and these have 2 axes"):
        rotation_model(tmp_path / "backbone.pt")
