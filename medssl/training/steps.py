"""The few functions that MONAI's engines and optimizers call for us: in every step, or before the first."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medssl.errors import UserError
from medssl.networks import new_layers
from medssl.pretext import PretextModel, PretextModelOutput


def _plain(tensor: Tensor) -> Tensor:
    # Metadata that travels with a tensor is checked in every operation of the network; a step needs none of it.
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def prepare_images(
    batch: Mapping[str, Any], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, None] | tuple[Tensor, None, tuple[Any, ...], dict[str, Any]]:
    """The images of a batch on the device, as a plain tensor; pre-training has no labels.

    Where the batch says by ``patient``, ``study`` and ``file`` of what they are, the trainer gives the network a second
    argument: by ``patient``, ``study`` and ``volume`` numbers ``[B]``, the same for images of one, in every process and
    every run (see `medssl.pretext.PretextTask`).
    """
    images = _plain(batch["image"]).to(device, non_blocking=non_blocking, **kwargs)
    if not (names := group_names(batch)):
        return images, None
    groups = {kind: group_numbers(names[kind]).to(device, non_blocking=non_blocking) for kind in names}
    return images, None, (groups,), {}


def group_names(batch: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of what images are of, by ``patient``, ``volume`` and ``study``, as far as the batch says.

    Names of studies count within a patient. An image of no known study is of one of its own, together with other crops
    of its volume.

    Args:
        batch: lists of ``patient``, ``study`` ("" where unknown) and ``file``.
    """
    names = {kind: list(batch[key]) for kind, key in (("patient", "patient"), ("volume", "file")) if key in batch}
    if len(names) == 2 and "study" in batch:
        rows = zip(batch["patient"], batch["study"], batch["file"], strict=True)
        names["study"] = [f"{patient}\n{study}" if study else file for patient, study, file in rows]
    return names


def group_numbers(names: Sequence[str]) -> Tensor:
    """Names as whole numbers ≥ 0, ``[B]``: 63 bits of a hash, so that no two names share one."""
    digests = (hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest() for name in names)
    return torch.tensor([int.from_bytes(digest, "big") >> 1 for digest in digests])


def prepare_labelled(
    batch: Mapping[str, Any], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Images ``[B, C, *spatial]`` and labels ``[B, K]`` (1, 0, NaN) of a batch on the device, as plain tensors."""
    image = _plain(batch["image"]).to(device, non_blocking=non_blocking, **kwargs)
    return image, _plain(batch["label"]).to(device, non_blocking=non_blocking)


def step_output(engine: Engine) -> dict[str, Any]:
    """What MONAI's engines keep of the step that ended: image, label, pred and loss by ``CommonKeys``."""
    return cast(dict[str, Any], engine.state.output)


def pretext_loss(output: PretextModelOutput, _: None = None) -> Tensor:
    """The loss that a ``PretextModel`` computed already, for a trainer that wants a loss function."""
    return output.loss


def check_batches(model: PretextModel, loader: DataLoader, crops_per_item: int = 1) -> None:
    """Refuse mini-batches that leave a task without a puzzle; contrastive ones need at least two images.

    Args:
        model: whose tasks are asked for their ``smallest_batch``.
        loader: of the training.
        crops_per_item: images that each item of the loader contributes.

    Raises:
        UserError: when the smallest mini-batch of an epoch is too small for a task; the message names it.
    """
    assert loader.batch_size is not None
    items = len(loader.sampler)  # type: ignore[arg-type]
    full, rest = divmod(items, loader.batch_size)
    smallest = crops_per_item * (loader.batch_size if full and (loader.drop_last or not rest) else rest)
    for name, task in model.all_tasks.items():
        needed = task.smallest_batch
        if smallest < needed:
            raise UserError(
                f"{name} needs at least {needed} images in a mini-batch; with batch_size {loader.batch_size} and "
                f"{items} images to train on, the smallest mini-batch has {smallest}. Raise batch_size or add images."
            )


def check_crops(model: PretextModel, crops_per_volume: int) -> None:
    """Refuse a task that pairs crops of a volume (``positives: volume``) of which there is one at a time.

    Raises:
        UserError: names the task.
    """
    for name, task in model.all_tasks.items():
        if crops_per_volume == 1 and getattr(task, "positives", "") == "volume":
            raise UserError(
                f"{name} pairs crops of a volume (positives: volume), and sees one of each: set --crops_per_volume 2; "
                "for radiographs take study or patient."
            )


def parameter_groups(network: nn.Module, learning_rate: float, backbone_rate: float = 1.0) -> list[dict[str, Any]]:
    """The parameters of a network in two groups for an optimizer: the backbone, and what stands behind it.

    Args:
        network: as ``build_classifier`` or ``build_segmenter`` makes it, also wrapped for distributed training.
        learning_rate: of the output layer; of decoder and output layers of a segmenter.
        backbone_rate: learning rate of the backbone over that; a pre-trained backbone often wants
            less than 1.

    Raises:
        UserError: when ``backbone_rate`` is not above 0.
    """
    if backbone_rate <= 0:
        raise UserError(
            f"backbone_rate must be above 0, got {backbone_rate}: to keep the backbone as it is, add the mix-in "
            "configs/linear_probe.yaml."
        )
    head = [weight for layer in new_layers(network) for weight in layer.parameters()]
    known = set(map(id, head))
    backbone = [weight for weight in network.parameters() if id(weight) not in known]
    return [{"params": head, "lr": learning_rate}, {"params": backbone, "lr": learning_rate * backbone_rate}]


class AfterStep:
    """Let the tasks of a model do what they do after each step of the optimiser: teachers follow, queues move on.

    Attach it before what keeps or reads the model.

    Args:
        model: in training.
    """

    def __init__(self, model: PretextModel) -> None:
        self.model = model

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Call the model's ``after_step``, if the optimizer has made a step in this iteration."""
        length = cast(int, engine.state.epoch_length)
        mini_batch = (engine.state.iteration - 1) % length + 1  # of the epoch
        if mini_batch % getattr(engine, "accumulation_steps", 1) == 0 or mini_batch == length:
            self.model.after_step()
