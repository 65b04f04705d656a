"""Every task on every backbone in 2D and 3D: what each of them promises, and what they refuse."""

import copy
import io
from collections.abc import Iterator
from functools import lru_cache, partial
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from families import FAMILIES, QUICK, skip_unless_for, slow_but
from torch import Tensor, nn

from medssl.networks import Backbone, build_backbone, first_convolution
from medssl.pretext import TASKS, PretextTask, Rotation, build_task, copies_of
from medssl.training import MixedPrecision

BATCH = 3
ROUTES, TILES = ("src", "mcpc", "sc_assl"), ("jigsaw", "rubiks_cube")
PAIRS = ("simsiam", "simclr", "moco", "byol", "barlow_twins", "vicreg", "lejepa", "dino")
TEACHERS = ("moco", "byol", "dino", "distil")
DECODED = ("mim", "inpainting", "models_genesis", "volume_fusion")
"""Tasks whose decoder is a value."""
RECONSTRUCTIONS = (*DECODED, "spark", "mae")
TRANSFORMERS = ("vit", "swin", "eva_x")
CUBES = (*ROUTES, *TILES, "cpc", "voco")
"""Tasks that show many tiles of each image."""

VARIANTS: list[tuple[str, dict[str, Any], int]] = [
    *((name, {}, spatial_dims) for spatial_dims in (2, 3) for name in TASKS),
    *((name, values, spatial_dims) for spatial_dims in (2, 3) for name, values in [
        ("mcpc", {"loss": "ratio"}),
        ("rvrm", {"disguise": 1}),
        ("rvrm", {"form": "siamese"}),
        ("moco", {"variance": 0, "queue": 5}),
        ("jigsaw", {"grid": 2, "permutations": 24}),
        ("lejepa", {"views": 2}),
        ("distil", {"loss": "relations"}),
    ]),
    ("mim", {"decoder": "light"}, 2),
    *(("mim", {"mask_ratio": 0.6, "loss": "hidden", "decoder": "linear"}, spatial_dims) for spatial_dims in (2, 3)),
    *((name, {"decoder": "pyramid"}, spatial_dims) for spatial_dims in (2, 3) for name in DECODED[:-1]),
    *(("volume_fusion", {"decoder": "light"}, spatial_dims) for spatial_dims in (2, 3)),
]  # fmt: skip


def named(part: Any) -> str:
    return "-".join(f"{key}={value}" for key, value in part.items()) if isinstance(part, dict) else str(part)


every_task = pytest.mark.parametrize(("name", "values", "spatial_dims"), VARIANTS, ids=named)


@lru_cache(maxsize=4)
def shared_backbone(architecture: str, spatial_dims: int, in_channels: int) -> Backbone:
    """A large backbone takes longer to build than to use; it is drawn alike whichever test comes first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_backbone(architecture, spatial_dims, in_channels)


def set_up(
    name: str,
    spatial_dims: int,
    architecture: str = "",
    batch_size: int = BATCH,
    device: str = "cpu",
    **values: Any,
) -> tuple[PretextTask, Backbone, Tensor]:
    """A task, its backbone and images of about the smallest sides that both can take."""
    architecture = architecture or TASKS[name].smallest_backbone
    backbone = shared_backbone(architecture, spatial_dims, copies_of({name: values})).to(device)
    backbone.zero_grad()
    if name == "distil":
        values["teacher"] = build_backbone("resnet10", spatial_dims)
    tile = max(backbone.smallest_side, 8)
    if name == "cpc":
        values.setdefault("grid", 4 if spatial_dims == 2 else 3)
        side = (values["grid"] + 1) * ceil(tile / 2) + 1  # two places for the crop
    elif name == "voco":
        values = {"grid": 2, "crops": 1} | values
        side = 2 * tile
    elif name in TILES:
        side = (values.get("grid", 3) if name == "jigsaw" else 2) * ceil(tile * 75 / 64)
    elif name in ROUTES:
        side = 2 * max(tile, 12)
    elif name == "mim" and spatial_dims == 2:
        side = 32
    elif name == "spark" and spatial_dims == 2:
        side = 2 * backbone.stride
    else:
        side = ceil(max(tile, 24) * 8 / 7) if values.get("disguise") else max(tile, 24)
    image_size = [side, side, side + 2][:spatial_dims]
    task = build_task(name, backbone, image_size, **values).to(device)
    return task, backbone, torch.randn(batch_size, 1, *image_size, device=device)


def weights(*modules: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """All but those of a teacher, which no gradient reaches."""
    for module in modules:
        yield from ((key, weight) for key, weight in module.named_parameters() if weight.requires_grad)


def has_finite_gradient(weight: nn.Parameter) -> bool:
    # A sum is finite only when all of it is, and it makes no copy of 33 million numbers.
    return weight.grad is not None and bool(weight.grad.sum().isfinite())


@every_task
@pytest.mark.parametrize("architecture", slow_but(QUICK, FAMILIES))
def test_a_task_keeps_its_contract(name: str, values: dict[str, Any], spatial_dims: int, architecture: str) -> None:
    skip_unless_for(spatial_dims, architecture)
    batch_size = BATCH if name in (*PAIRS, "distil") else 2
    if spatial_dims == 3 and architecture != "resnet10_quarter":
        if name == "jigsaw" and not values:
            pytest.skip("27 cubes of 32³; the grid of 2 stands for it")
        batch_size = 1 if name in CUBES else batch_size
    if (architecture.startswith(TRANSFORMERS) and name == "spark") or (
        not architecture.startswith("vit") and name == "mae"
    ):
        with pytest.raises(ValueError, match=f"{name}: .*{architecture} (has layers of another|is no vision)"):
            set_up(name, spatial_dims, architecture, batch_size, **values)
        return
    task, backbone, images = set_up(name, spatial_dims, architecture, batch_size, **values)
    assert batch_size >= task.smallest_batch
    before = images.clone()
    output = task(backbone, images)
    assert torch.equal(images, before)

    # The loss reaches every weight of the head and of the backbone, down to the first convolution.
    assert output.loss.shape == ()
    assert output.loss.isfinite()
    output.loss.backward()
    assert [key for key, weight in weights(task, backbone) if not has_finite_gradient(weight)] == []
    assert first_convolution(backbone)[1].weight.grad.abs().sum() > 0
    idle = [key for key, weight in weights(task) if weight.grad.abs().sum() == 0]
    if spatial_dims == 3:
        # On a grid of three the last row is predicted from the first alone: nothing recurs. In so small a volume the
        # coarsest maps have no voxel without anything visible.
        few = {"cpc": "recurrent.weight_hh_l0", "spark": "tokens."}
        idle = [key for key in idle if not (name in few and key.startswith(few[name]))]
    assert idle == []

    # Metrics stand beside what a guess would reach.
    assert any(key.endswith(("accuracy", "error")) for key in output.metrics)
    for key, value in output.metrics.items():
        assert value.shape == ()
        assert value.isfinite()
        assert not value.requires_grad
        if key.endswith("accuracy"):
            assert 0 < output.metrics[key.removesuffix("accuracy") + "chance"] <= 1
        if key.endswith("error"):
            assert output.metrics[key.removesuffix("error") + "baseline"] > 0

    # Pictures show the puzzle and what is asked, and their answers are those that the metrics count.
    pictures = output.pictures
    assert pictures is not None
    assert task.question.endswith("?")
    assert pictures.panels.ndim == 2 + spatial_dims
    shown = batch_size // 2 if values.get("form") == "siamese" else batch_size  # each image is in one mixture
    assert len(pictures.panels) == shown
    assert pictures.answer.shape == pictures.target.shape
    assert not any(part.requires_grad for part in (pictures.panels, pictures.target, pictures.answer))
    assert pictures.answered_by_images == (name in RECONSTRUCTIONS)
    if name == "volume_fusion":
        right = pictures.answer == pictures.target
        assert right.float().mean().item() == pytest.approx(output.metrics["accuracy"].item())
        return
    if pictures.answered_by_images:
        wanted = images[:, 0]
        if name == "models_genesis":  # which mirrors them
            wanted, pictures.target = (part.flatten(1).sort().values for part in (wanted, pictures.target))
        assert torch.equal(pictures.target, wanted)
        return
    assert len(pictures.target) == shown
    if "error" in output.metrics:
        assert F.mse_loss(pictures.answer, pictures.target).item() == pytest.approx(output.metrics["error"].item())
    elif name not in ("cpc", "voco"):  # of whose many predictions one is shown
        right = (pictures.answer == pictures.target).view(batch_size, -1)[:, 0]  # then come Rubik's turns
        assert right.float().mean().item() == pytest.approx(output.metrics["accuracy"].item())
    assert all(task.describe(one) for one in (*pictures.target, *pictures.answer))


@every_task
def test_the_same_draws_give_the_same_puzzle_and_the_same_loss(
    name: str, values: dict[str, Any], spatial_dims: int
) -> None:
    task, backbone, images = set_up(name, spatial_dims, **values)
    puzzles, losses = [], []
    for seed in (7, 7, 8, 9, 10):
        torch.manual_seed(seed)
        inputs = task.puzzle(images)[0]  # of views of several sizes a tuple
        puzzles.append(torch.cat([part.flatten() for part in inputs]) if isinstance(inputs, tuple) else inputs)
        if seed == 7:
            with torch.no_grad():
                losses.append(task(backbone, images).loss.item())
    assert torch.equal(puzzles[0], puzzles[1])
    assert losses[0] == losses[1]
    assert not all(torch.equal(puzzles[0], other) for other in puzzles[2:])


@every_task
def test_a_task_goes_on_from_its_state_dict(name: str, values: dict[str, Any], spatial_dims: int) -> None:
    task, backbone, images = set_up(name, spatial_dims, **values)
    file = io.BytesIO()
    torch.save(task.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    pools = {"pool_seed": 5} if name in (*ROUTES, *TILES) else {}
    other, _, _ = set_up(name, spatial_dims, **values, **pools)

    def loss(of: PretextTask) -> float:
        torch.manual_seed(2)
        with torch.no_grad():
            return of(backbone, images).loss.item()

    assert loss(other) != loss(task)
    other.load_state_dict(torch.load(file, weights_only=True))
    # Had the routes or permutations stayed those of the other seed, the classes would carry other numbers.
    assert loss(other) == loss(task)


@every_task
@pytest.mark.parametrize(
    ("device", "half"),
    [
        ("cpu", True),
        *(
            pytest.param("cuda", half, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))
            for half in (False, True)
        ),
    ],
    ids=["cpu-bfloat16", "cuda-float32", "cuda-bfloat16"],
)
def test_each_device_and_precision_gives_a_finite_loss_and_finite_gradients(
    name: str, values: dict[str, Any], spatial_dims: int, device: str, half: bool
) -> None:
    task, backbone, images = set_up(name, spatial_dims, device=device, **values)
    output = MixedPrecision(half)(images, partial(task, backbone))
    output.loss.backward()
    assert output.loss.device.type == device
    assert {value.device.type for value in output.metrics.values()} == {device}
    assert output.loss.isfinite()
    assert all(value.isfinite() for value in output.metrics.values())
    assert all(has_finite_gradient(weight) for _, weight in weights(task, backbone))


@every_task
def test_channels_last_changes_nothing_but_the_layout(name: str, values: dict[str, Any], spatial_dims: int) -> None:
    layout = torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
    task, backbone, images = set_up(name, spatial_dims, **values)
    found = []
    for memory_format in (torch.contiguous_format, layout):
        both = nn.ModuleList([task, copy.deepcopy(backbone)]).double().to(memory_format=memory_format)
        torch.manual_seed(0)
        both.zero_grad()
        output = task(both[1], images.double())
        output.loss.backward()
        first = first_convolution(both[1].network)[1].weight
        assert first.is_contiguous(memory_format=memory_format)
        found.append((output.loss, output.metrics, first.grad))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("image_size", [(24, 24), (24, 20), (16, 16, 16), (16, 16, 10), (12, 14, 16)])
def test_rotated_images_are_those_of_numpy_and_every_class_is_drawn(image_size: tuple[int, ...]) -> None:
    backbone = shared_backbone("resnet10_quarter", len(image_size), 1)
    task = Rotation(backbone, image_size)
    images = torch.rand(200, 1, *image_size)
    inputs, target = task.puzzle(images)
    assert set(target.tolist()) == set(range(len(task.rotations)))
    for rotated, image, number in zip(inputs[:40], images, target.tolist(), strict=False):
        plane, turns = task.rotations[number]
        np.testing.assert_array_equal(rotated[0].numpy(), np.rot90(image[0].numpy(), turns, plane))
    # Two classes never share a name on the pictures.
    assert len({task.describe(torch.tensor(number)) for number in range(len(task.rotations))}) == len(task.rotations)


@pytest.mark.parametrize(
    ("name", "image_size", "values", "message"),
    [
        ("rotations", (32, 32), {}, f"no pretext task 'rotations'; did you mean rotation.* are {', '.join(TASKS)}"),
        ("waves", (32, 32), {}, f"no pretext task 'waves'; choose one of {', '.join(TASKS)}"),
        ("rvrm", (32, 32), {"alhpa": 4}, "rvrm has no value 'alhpa'; there are alpha, disguise"),
        ("rotation", (32, 32), {"clases": 4}, "rotation has no value 'clases'; there is none"),
        ("rvrm", (32, 32), {"alpha": "1e-1"}, "rvrm: alpha must be a number, such as 1.0, got '1e-1'"),
        ("simclr", (32, 32), {"view": {"blur": "1"}}, "simclr: view: blur must be a number, such as 0.5, got '1'"),
        ("rotation", (32, 32, 32), {}, "rotation: images with 3 sides .* do not fit a backbone for 2D"),
        ("rotation", (31, 64), {}, "rotation: images .* too small for vgg11"),
        ("src", (64, 40), {}, r"src: tiles of \[32, 20\] are too small for vgg11.* at least 32"),
        ("src", (96, 96), {"tile_size": (32, 50)}, r"need images of at least \[64, 100\], image_size is \[96, 96\]"),
        ("mcpc", (64, 64), {"tile_size": (20, 20)}, "mcpc: tiles .* too small for vgg11"),
        ("mcpc", (64, 64), {"loss": "cpc"}, "mcpc: loss must be info_nce or ratio, got 'cpc'"),
        ("sc_assl", (96, 96), {"tile_size": (32, 32, 32)}, "tiles with 3 sides .* do not fit a backbone for 2D"),
        ("sc_assl", (64, 64), {"routes_per_corner": 7}, "between 1 and 6 in 2D, got 7"),
        ("rvrm", (32, 32), {}, "three times an image's channels, not 1.*copies: 3"),
        ("rvrm", (32, 32), {"disguise": -0.1}, r"rvrm: disguise must lie in 0\.\.1, got -0\.1"),
        ("rvrm", (32, 32), {"disguise": 1.1}, r"rvrm: disguise must lie in 0\.\.1, got 1\.1"),
        ("rvrm", (35, 40), {"disguise": 1}, r"rvrm: images of \[31, 35\] are too small for vgg11"),
        ("mim", (64, 40), {}, r"mim: .* multiples of 32 pixels, image_size is \[64, 40\].*decoder: light"),
        ("mim", (64, 64), {"mask_ratio": 0}, "mim: mask_ratio must lie between 0 and 1, got 0"),
        ("mim", (64, 64), {"mask_ratio": 1}, "mim: mask_ratio must lie between 0 and 1, got 1"),
        ("mim", (64, 64), {"grid": 1}, r"mim: images of \[64, 64\] have no grid of 1 patches"),
        ("mim", (64, 32), {"grid": 33}, r"mim: images of \[64, 32\] have no grid of 33 patches"),
        ("mim", (64, 64), {"decoder": "deep"}, "mim: decoder must be one of .*, pyramid, got 'deep'"),
        ("mim", (64, 64), {"loss": "absolute"}, "mim: loss must be image or hidden, got 'absolute'"),
        ("inpainting", (64, 64), {"hole": 0}, "inpainting: hole must lie between 0 and 1, got 0"),
        ("inpainting", (64, 64), {"hole": 1.0}, r"inpainting: hole must lie between 0 and 1, got 1\.0"),
        ("inpainting", (64, 40), {"decoder": "transposed"}, "inpainting: .* multiples of 32 pixels"),
        ("models_genesis", (64, 40), {"decoder": "transposed"}, "models_genesis: .* multiples of 32 pixels"),
        ("models_genesis", (32, 32), {"paint": 1.5}, r"must lie in 0\.\.1, got 1\.5"),
        ("models_genesis", (32, 32), {"shuffle": -0.5}, r"must lie in 0\.\.1, got -0\.5"),
        ("models_genesis", (31, 32), {}, "models_genesis: images .* too small for vgg11"),
        ("distil", (64, 64), {}, r"distil: it needs a teacher, such as --tasks .*\{distil: \{teacher: runs/large\}\}"),
        ("distil", (64, 64), {"teacher": "nowhere"}, "distil: .* no run and no weights file nowhere"),
        ("distil", (64, 64), {"teacher": "nowhere", "loss": "both"}, "distil: loss must be features or relations, got"),
        ("voco", (120, 128), {}, r"voco: base crops in a grid of \[4, 4\], now of \[30, 32\] are too small for vgg11"),
        ("voco", (64, 64), {"grid": [2, 2, 1]}, r"voco: grid must be 2 whole numbers, .*, got \[2, 2, 1\]"),
        ("voco", (64, 64), {"grid": 1}, "voco: grid must be .* at least two base crops in all, got 1"),
        ("voco", (64, 64), {"grid": 2, "crops": 0}, "voco: crops must be positive, got 0"),
        ("volume_fusion", (64, 64), {"levels": 0}, "volume_fusion: levels must be positive, got 0"),
        ("volume_fusion", (64, 64), {"boxes": [9, 3]}, r"volume_fusion: boxes must rise from 1 to 52 .*, got \[9, 3\]"),
        ("volume_fusion", (64, 64), {"sides": [0, 0.5]}, "volume_fusion: sides must rise within 0 and 1, got .0, 0.5"),
        ("spark", (64, 64), {"mask_ratio": 1}, "spark: mask_ratio must lie between 0 and 1, got 1"),
        ("spark", (64, 48), {"patch": 64}, r"spark: images of \[64, 48\] are a single patch: .* smaller"),
        ("spark", (64, 64), {"patch": -8}, "spark: patch must be positive, got -8"),
        ("simclr", (32, 32), {"temperature": 0}, "simclr: temperature must be positive, got 0"),
        ("moco", (32, 32), {"queue": 0}, "moco: queue must be positive, got 0"),
        ("moco", (32, 32), {"momentum": 1.0}, r"moco: momentum must lie between 0 and 1, such as 0\.99, got 1\.0"),
        ("byol", (32, 32), {"momentum": -0.1}, r"byol: momentum must lie between 0 and 1, such as 0\.99, got -0\.1"),
        ("barlow_twins", (32, 32), {"redundancy": 0}, "barlow_twins: redundancy must be positive, got 0"),
        ("vicreg", (32, 32), {"covariance": 0}, "vicreg: covariance must be positive, got 0"),
        ("vicreg", (32, 32), {"positives": "scan"}, "vicreg: positives must be one of image, volume, study"),
        ("lejepa", (32, 32), {"views": 1}, "lejepa: views must be a whole number, at least 2, got 1"),
        ("lejepa", (32, 32), {"views": 2.5}, r"lejepa: views must be a whole number, at least 2, got 2\.5"),
        ("lejepa", (32, 32), {"weight": 1}, "lejepa: weight must lie between 0 and 1, got 1"),
        ("lejepa", (32, 32), {"directions": 0}, "lejepa: directions must be positive, got 0"),
        ("byol", (32, 32), {"view": {"degrees": 200}}, r"byol: view: degrees must lie in 0\.\.180 .* got 200"),
        ("simsiam", (32, 32), {"view": {"scale": (0, 1)}}, r"scale must rise within 0 and 1, got \[0, 1\]"),
        ("simsiam", (32, 32), {"view": {"scales": (0.5, 1)}}, "simsiam: view has no value 'scales'; there are scale, "),
        ("simclr", (32, 32), {"view": {"scale": (0.9, 0.5)}}, "scale must rise within 0 and 1"),
        ("jigsaw", (120, 120), {"tile_size": (32, 40)}, r"tiles of \[32, 40\] leave no gap in cells of \[40, 40\]"),
        ("jigsaw", (120, 120), {"tile_size": (31, 32)}, r"jigsaw: tiles of \[31, 32\] are too small for vgg11"),
        ("jigsaw", (120, 120), {"grid": 1}, "jigsaw: grid must be at least 2, got 1"),
        ("jigsaw", (120, 120), {"grid": 2, "permutations": 25}, "jigsaw: 4 items have 24 permutations .*, 25 were"),
        ("rubiks_cube", (120, 120), {"permutations": 25}, "rubiks_cube: 4 items have 24 permutations .*, 25 were"),
        ("cpc", (120, 120), {"grid": 2}, "cpc: grid must be at least 3, got 2"),
        ("cpc", (120, 63), {}, r"cpc: 3 half-overlapping tiles .* now of \[60, 30\] are too small for vgg11"),
        ("cpc", (120, 120), {"grid": 7}, r"cpc: 7 half-overlapping tiles .* now of \[30, 30\] are too small for vgg11"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_when_the_task_is_built(
    name: str, image_size: tuple[int, ...], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_task(name, shared_backbone("vgg11", 2, 1), image_size, **values)


@pytest.mark.parametrize("name", DECODED)
def test_the_transposed_decoder_is_refused_in_3d(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: .*2D backbones of stride 32, not for vgg11 in 3D.*decoder: light"):
        build_task(name, shared_backbone("vgg11", 3, 1), (32, 32, 32), decoder="transposed")


@pytest.mark.parametrize(("name", "side"), [("jigsaw", 114), ("rubiks_cube", 76)])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_too_small_an_image_is_told_the_side_that_would_work(name: str, side: int, spatial_dims: int) -> None:
    backbone = shared_backbone("vgg11", spatial_dims, 1)
    with pytest.raises(ValueError, match=f"{name}: .* too small for vgg11: it needs images of at least {side} along"):
        build_task(name, backbone, [side - 1] * spatial_dims)
    build_task(name, backbone, [side] * spatial_dims)


@pytest.mark.parametrize("name", [*PAIRS, "rvrm", "volume_fusion", "distil"])
def test_pairs_of_images_need_two(name: str) -> None:
    task, backbone, images = set_up(name, 2, batch_size=1)
    assert task.smallest_batch == 2
    with pytest.raises(ValueError, match=r"batch of at least 2.*got 1.*batch_size"):
        task(backbone, images)


@pytest.mark.parametrize("name", DECODED)
def test_a_decoder_gives_the_channels_it_was_built_for(name: str) -> None:
    backbone = shared_backbone("resnet10_quarter", 2, 2)
    images = torch.rand(2, 2, 32, 32)
    with pytest.raises(ValueError, match=f"{TASKS[name].__name__}: images have 2 channels, not 1. Set image_channels"):
        build_task(name, backbone, (32, 32))(backbone, images)
    task = build_task(name, backbone, (32, 32), image_channels=2)
    assert task(backbone, images).loss.isfinite()


def test_names_of_tasks_are_those_of_their_classes() -> None:
    backbone = shared_backbone("resnet10_quarter", 2, 3)
    for name, kind in TASKS.items():
        assert kind.needs == (("teacher",) if name == "distil" else ())
        seen = backbone if name != "mae" else shared_backbone(kind.smallest_backbone, 2, 1)
        task = build_task(name, seen, (32, 32), **dict.fromkeys(kind.needs, backbone))
        assert type(task) is kind
        # A task that kept its backbone would carry it into its own state dict; a teacher belongs there.
        kept = [module for module in task.modules() if isinstance(module, Backbone)]
        assert len(kept) == (name in TEACHERS)
        assert backbone not in kept
