"""Are the mini-batches large enough for the tasks? Asked before a run begins, not in its first step."""

from torch.utils.data import DataLoader

from medssl.errors import UserError
from medssl.pretext import PretextModel


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
