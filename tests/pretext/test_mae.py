"""MAE: the encoder sees the visible patches alone, and every answer stands where its patch was."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl.networks import Backbone, build_backbone
from medssl.phantoms.batch import draw_batch
from medssl.pretext import PretextTask, build_task
from medssl.pretext.mae import TokenDecoder, take

SIZES = [(48, 64), (40, 33), (32, 48, 20)]
"""Of the second and the third, patches of 16 voxels reach over the edge."""
SMALL: dict[str, Any] = {"channels": 24, "layers": 1, "heads": 2}
every_size = pytest.mark.parametrize("image_size", SIZES)


def set_up(image_size: tuple[int, ...], **values: Any) -> tuple[PretextTask, Backbone]:
    backbone = build_backbone("vit_tiny", len(image_size))
    return build_task("mae", backbone, image_size, **{**SMALL, **values}), backbone


@every_size
@pytest.mark.parametrize("mask_ratio", [0.75, 0.2])
def test_the_encoder_gets_the_tokens_of_the_visible_patches_alone(
    image_size: tuple[int, ...], mask_ratio: float
) -> None:
    task, backbone = set_up(image_size, mask_ratio=mask_ratio)
    images, seen = torch.randn(3, 1, *image_size), []
    encode = backbone.encode
    backbone.encode = lambda tokens: seen.append(tokens) or encode(tokens)  # type: ignore[method-assign]
    torch.manual_seed(2)
    task(backbone, images)
    torch.manual_seed(2)
    inputs, hidden = task.puzzle(images)
    everything = backbone.embed(images)
    cells = list(product(*[range(-(-side // 16)) for side in image_size]))
    for image in range(3):
        visible = []
        for number, cell in enumerate(cells):
            window = (image, 0, *(slice(16 * place, 16 * place + 16) for place in cell))
            assert hidden[window].all() or not hidden[window].any()
            expected = torch.zeros_like(images[window]) if hidden[window].any() else images[window]
            assert torch.equal(inputs[window], expected)
            if not hidden[window].any():
                visible.append(everything[image, number])
        assert len(visible) == len(cells) - min(max(1, round(mask_ratio * len(cells))), len(cells) - 1)
        torch.testing.assert_close(seen[0][image], torch.stack(visible))


@every_size
def test_the_loss_is_that_of_the_hidden_patches_and_the_answer_knows_nothing_of_them(
    image_size: tuple[int, ...],
) -> None:
    task, backbone = set_up(image_size)
    images, answers = torch.randn(2, 1, *image_size), []

    def keep(module: Any, inputs: Any, output: Tensor) -> None:
        answers.append(output.detach())

    task.head.register_forward_hook(keep)
    torch.manual_seed(1)
    _, hidden = task.puzzle(images)
    torch.manual_seed(1)
    output = task(backbone, images)
    slow = []
    for image, (number, cell) in product(range(2), enumerate(product(*[range(-(-side // 16)) for side in image_size]))):
        window = (image, 0, *(slice(16 * place, 16 * place + 16) for place in cell))
        if hidden[window].all():
            patch = images[window].double()
            said = answers[0][image, number].view([16] * len(cell))[tuple(slice(side) for side in patch.shape)]
            normalised = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
            slow += (normalised - said).square().flatten().tolist()
    assert len(slow) == hidden.sum()
    assert output.loss.item() == pytest.approx(np.mean(slow), rel=1e-4)
    others = torch.where(hidden, torch.randn_like(images), images)
    torch.manual_seed(1)
    shown = task(backbone, others).pictures
    assert torch.equal(*answers)
    assert torch.equal(shown.answer[~hidden[:, 0]], images[:, 0][~hidden[:, 0]])


def test_the_decoder_puts_every_token_at_its_place() -> None:
    decoder = TokenDecoder(24, (2, 3), 24, channels=24, layers=1, heads=2)
    assert len({tuple(row) for row in decoder.positions[0].tolist()}) == 6
    for layer in (decoder.entry, decoder.exit):
        torch.nn.init.eye_(layer.weight), torch.nn.init.zeros_(layer.bias)
    decoder.layers = torch.nn.Identity()
    order = torch.tensor([[4, 0, 2, 1, 3, 5], [1, 2, 5, 0, 3, 4]])
    tokens = torch.randn(2, 3, 24)
    answers = decoder(tokens, order) - decoder.positions
    for image in range(2):
        for rank, number in enumerate(order[image].tolist()):
            expected = tokens[image, rank] if rank < 3 else decoder.token[0, 0]
            torch.testing.assert_close(answers[image, number], expected, rtol=0, atol=1e-6)
    assert torch.equal(take(tokens, torch.tensor([[2, 0], [1, 1]]))[1], tokens[1, [1, 1]])


def test_rows_and_columns_have_positions_of_their_own() -> None:
    rows = TokenDecoder(24, (2, 3), 1, channels=24, layers=1, heads=2).positions.view(2, 3, 24)
    same_row = [d for d in range(24) if (rows[:, :1, d] == rows[:, :, d]).all()]
    same_column = [d for d in range(24) if (rows[:1, :, d] == rows[:, :, d]).all()]
    assert len(same_row) >= 12 <= len(same_column)


def test_a_puzzle_can_be_learned_by_heart() -> None:
    images = draw_batch((48, 48), 4)
    task, backbone = set_up((48, 48), channels=48)
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=2e-3, fused=True)
    for _ in range(30):
        torch.manual_seed(0)
        optimizer.zero_grad()
        output = task(backbone, images)
        output.loss.backward()
        optimizer.step()
    assert output.metrics["error"] < 0.8 * output.metrics["baseline"]
