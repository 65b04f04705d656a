"""Mixed precision: which type a device gets, and that training in it goes through MONAI's trainer on a CPU."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from medssl.training import MixedPrecision, computes_in_half, half_type

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def conv() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(1, 4, 3)


def test_the_forward_pass_runs_in_the_half_type_of_the_device_or_as_it_is() -> None:
    network, images = conv(), torch.randn(2, 1, 8, 8)
    plain, half = (MixedPrecision(enabled)(images, network) for enabled in (False, True))
    assert torch.equal(plain, network(images))
    assert half.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(half, network(images))
    assert network(images).dtype == torch.float32  # nothing is left switched on


@pytest.mark.parametrize("spans", [True, False], ids=["as long", "shorter"])
@pytest.mark.parametrize("transposed", [False, True], ids=["convolution", "transposed"])
@pytest.mark.parametrize(("sides", "kernel"), [((1, 1), 3), ((6, 2), 3), ((2, 2, 2), 3), ((5, 1, 2), 3), ((8, 7), 7)])
def test_a_kernel_as_long_as_its_map_stays_in_32_bits(
    sides: tuple[int, ...], kernel: int, transposed: bool, spans: bool
) -> None:
    kinds = (nn.ConvTranspose2d, nn.ConvTranspose3d) if transposed else (nn.Conv2d, nn.Conv3d)
    layer: nn.Module = kinds[len(sides) - 2](4, 8, kernel, stride=2, padding=kernel // 2)
    images = torch.randn(2, 4, *(sides if spans else [max(side, kernel + 1) for side in sides]))
    gradients = []
    for enabled in (True, False):
        layer.zero_grad()
        output = MixedPrecision(enabled)(images, layer)
        assert output.dtype == (torch.bfloat16 if enabled and not spans else torch.float32)
        output.float().square().sum().backward()
        gradients.append(layer.weight.grad.flatten())
    if spans:
        assert torch.equal(*gradients)
    assert F.cosine_similarity(*gradients, dim=0) > 0.999


def test_what_was_found_wrong_in_16_bits_is_not_used() -> None:
    precision = MixedPrecision(True)
    precision.load_state_dict({"right": False})
    assert precision(torch.randn(2, 1, 8, 8), conv()).dtype == torch.float32


@pytest.mark.parametrize(("bfloat16", "amx"), [(False, False), (True, False), (False, True)])
def test_a_processor_uses_16_bits_where_it_computes_in_them(
    bfloat16: bool, amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert computes_in_half(CPU) is (bfloat16 or amx)
    assert half_type(CPU) == torch.bfloat16


@pytest.mark.parametrize(("bfloat16", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_that_would_imitate_bfloat16_gets_float16(
    bfloat16: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or bfloat16)
    assert half_type(CUDA) == expected
    assert computes_in_half(CUDA)


def test_the_trainer_learns_in_mixed_precision_on_a_cpu() -> None:
    network, images = conv(), torch.randn(4, 1, 8, 8)
    seen: list[torch.dtype] = []

    def loss(output: Tensor, _: Tensor) -> Tensor:
        seen.append(output.dtype)
        return output.float().square().mean()

    def batches() -> Iterator[dict[str, Tensor]]:
        yield from [{"image": images, "label": torch.zeros(4)}] * 20

    trainer = SupervisedTrainer(
        device=CPU,
        max_epochs=1,
        epoch_length=20,
        train_data_loader=batches(),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.5),
        loss_function=loss,
        inferer=MixedPrecision(True),
        decollate=False,
    )
    before = loss(network(images), images)
    trainer.run()
    assert set(seen[1:]) == {torch.bfloat16}
    assert loss(network(images), images) < 0.1 * before
    assert all(weight.dtype == torch.float32 for weight in network.parameters())
