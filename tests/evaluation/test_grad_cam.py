"""Grad-CAM against its formula, on networks made to find a bright spot, and in MONAI's evaluator."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from families import FAMILIES, QUICK, skip_unless_for, slow_but
from ignite.engine import Events
from matplotlib.figure import Figure
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Activationsd, Compose, CopyItemsd
from PIL import Image
from torch import Tensor, nn

from medssl.evaluation import Calibration, GradCAMPanels
from medssl.evaluation.grad_cam import flat_view, grad_cam, telling_box
from medssl.evaluation.temperature import ClassCalibration
from medssl.networks import build_backbone, build_classifier
from medssl.training import prepare_labelled

LABELS = ["Spot", "Hole", "Never known"]
SIZES = {2: (96, 64), 3: (64, 32, 32)}


def spot_finder(spatial_dims: int) -> nn.Module:
    """A VGG whose first class is raised by bright voxels, and whose second is lowered by them."""
    network = build_classifier("vgg11", spatial_dims, 1, len(LABELS))
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.zeros_(module.weight)
            module.weight.data[(0, 0) + (1,) * spatial_dims] = 1.0  # hands the image on
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
            module.weight.data[:2, 0] = torch.tensor([1.0, -1.0])
    return network.eval()


def image_with_spot(spatial_dims: int, cell: tuple[int, ...], brightness: float = 3.0) -> Tensor:
    image = 0.01 * torch.rand(1, *SIZES[spatial_dims])
    image[(0, *(slice(32 * place + 12, 32 * place + 20) for place in cell))] = brightness
    return image


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("architecture", slow_but(QUICK, FAMILIES))
def test_the_map_is_the_weighted_sum_of_the_last_feature_map(architecture: str, spatial_dims: int) -> None:
    skip_unless_for(spatial_dims, architecture)
    network = build_classifier(architecture, spatial_dims, 1, 9).eval()
    # Average pooling and one linear layer: the mean gradient of a channel is its weight over the number of voxels.
    network.requires_grad_(False)  # as the backbone of a linear probe
    image = torch.randn(1, *SIZES[spatial_dims])
    backbone = build_backbone(architecture, spatial_dims).eval()
    backbone.network.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        features = backbone(image[None])
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    mode = "bilinear" if spatial_dims == 2 else "trilinear"
    raw = F.relu(torch.einsum("kc,bc...->kb...", head.weight, features))
    index = int(raw.flatten(1).amax(1).argmax())
    expected = F.interpolate(raw[index][None], SIZES[spatial_dims], mode=mode, align_corners=False)[0, 0]
    torch.testing.assert_close(grad_cam(network, architecture, image, index), expected / expected.max())


@pytest.mark.parametrize(("spatial_dims", "cell"), [(2, (2, 0)), (2, (0, 1)), (3, (1, 0, 0)), (3, (0, 0, 0))])
def test_the_map_lights_up_where_the_finding_is(spatial_dims: int, cell: tuple[int, ...]) -> None:
    network, image = spot_finder(spatial_dims), image_with_spot(spatial_dims, cell)
    cam = grad_cam(network, "vgg11", image, 0)
    brightest = torch.tensor(torch.unravel_index(cam.argmax(), cam.shape))
    assert (brightest // 32).tolist() == list(cell)
    assert cam.max() == 1
    assert cam[image[0] == 3.0].mean() > 1.5 * cam[image[0] < 3.0].mean()
    assert not grad_cam(network, "vgg11", image, 1).any()  # a spot speaks against this class, and nothing for it


def test_of_several_boxes_the_one_that_tells_most_is_shown() -> None:
    network = build_classifier("resnet10_quarter", 3, 1, 2)
    boxes = torch.randn(3, 32, 32, 32)  # of which the last map is one voxel, so that training mode would fail
    shown = [telling_box(network, boxes, index) for index in (0, 1)]
    with torch.no_grad():
        best = network.eval()(boxes[:, None]).argmax(dim=0)
    assert all(torch.equal(box[0], boxes[number]) for box, number in zip(shown, best, strict=True))


def evaluate(items: list[dict], network: nn.Module, handlers: list, batch_size: int) -> Tensor:
    """The probabilities of all items, as an evaluator of MONAI computes them."""
    seen: list[Tensor] = []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=batch_size),
        network=network,
        prepare_batch=prepare_labelled,
        postprocessing=Compose([CopyItemsd("pred", names="logits"), Activationsd("pred", sigmoid=True)]),
        val_handlers=handlers,
        decollate=False,
    )
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.output["pred"].clone())
    )
    evaluator.run()
    return torch.cat(seen)


def labelled_spots() -> list[dict]:
    """Nine images with spots of differing brightness; the brightest has no known label."""
    nan = float("nan")
    labels = [(nan, 1), (1, 0), (1, nan), (0, 1), (0, nan), (1, 1), (nan, nan), (0, 0), (1, 0)]
    return [
        {
            "image": image_with_spot(2, (0, 0), brightness=9.0 - number if number % 2 else 9.5 - number)[:, :64, :32],
            "label": torch.tensor([*label, nan]),
        }
        for number, label in enumerate(labels)
    ]


def test_panels_show_the_known_images_of_the_highest_probability(tmp_path: Path) -> None:
    network, items = spot_finder(2), labelled_spots()

    def panels(name: str) -> GradCAMPanels:
        return GradCAMPanels(tmp_path / name, network, "vgg11", LABELS, 2)

    state = {key: value.clone() for key, value in network.state_dict().items()}
    probabilities = evaluate(items, network, [panels("all.png")], batch_size=4)
    assert torch.equal(probabilities, evaluate(items, network, [], batch_size=4))
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())

    best = set()
    for index in range(2):
        for outcome in (0, 1):
            known = [number for number, item in enumerate(items) if item["label"][index] == outcome]
            best.add(max(known, key=lambda number, index=index: probabilities[number, index]))
    assert len(best) < len(items)
    evaluate([items[number] for number in sorted(best, reverse=True)], network, [panels("best.png")], batch_size=1)
    assert (tmp_path / "all.png").read_bytes() == (tmp_path / "best.png").read_bytes()
    # A run of the evaluator forgets the images of the one before.
    again = panels("again.png")
    evaluate([{**item, "image": item["image"] + 20} for item in items], network, [again], batch_size=4)
    evaluate(items, network, [again], batch_size=4)
    assert (tmp_path / "all.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    width, height = Image.open(tmp_path / "all.png").size
    assert width > 600
    assert height < 600  # two rows: no label of the third class is known


def test_a_volume_is_shown_where_its_map_is_largest_with_the_patient_upright(tmp_path: Path) -> None:
    volume, cam = torch.zeros(2, 6, 5, 4).unbind()
    cam[5, 4, 3], volume[5, 4, 3] = 1.0, 7.0  # right, front, in the uppermost slice
    image, overlay = flat_view(volume, cam, 3)
    assert image.shape == overlay.shape == (5, 6)
    assert (image[0, 0], overlay[0, 0]) == (7.0, 1.0)  # above, and on the picture's left
    volume[0, 0, 2] = 3.0
    assert flat_view(volume, torch.zeros(6, 5, 4), 3)[0][4, 5] == 3.0  # without a map, the middle

    items = [{"image": image_with_spot(3, (1, 0, 0)), "label": torch.tensor([1.0, 0.0, float("nan")])}]
    evaluate(items, spot_finder(3), [GradCAMPanels(tmp_path / "ct.png", spot_finder(3), "vgg11", LABELS, 3)], 1)
    assert Image.open(tmp_path / "ct.png").width > 600


def test_what_cannot_be_drawn_is_said_or_left_out(tmp_path: Path) -> None:
    network, path = spot_finder(2), tmp_path / "panels.png"
    unknown = [{**item, "label": torch.full((3,), float("nan"))} for item in labelled_spots()]
    evaluate(unknown, network, [GradCAMPanels(path, network, "vgg11", LABELS, 2)], batch_size=4)
    assert not path.exists()
    with pytest.raises(ValueError, match="no backbone 'vgg12'; choose one of"):
        GradCAMPanels(path, network, "vgg12", LABELS, 2)


def test_panels_say_the_probabilities_that_the_predictions_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, items = spot_finder(2), labelled_spots()
    calibration = Calibration(False, {name: ClassCalibration(2.0, -0.5 * place) for place, name in enumerate(LABELS)})
    calibration.write(tmp_path)
    titles: list[str] = []
    save = Figure.savefig

    def remembering(figure: Figure, *args: Any, **values: Any) -> None:
        titles.extend(axis.get_title(loc="left") for axis in figure.axes)
        save(figure, *args, **values)

    monkeypatch.setattr(Figure, "savefig", remembering)
    given = evaluate(items, network, [GradCAMPanels(tmp_path / "all.png", network, "vgg11", LABELS, 2)], batch_size=4)
    labels = torch.stack([item["label"] for item in items])
    for index, name in enumerate(LABELS[:2]):
        for outcome, word in ((1, "positive"), (0, "negative")):
            best = torch.logit(given[labels[:, index] == outcome, index].max())
            said = torch.sigmoid(best / 2 - 0.5 * index).item()
            assert f"{name}\n{word}, predicted {said:.2f}" in titles
