"""Randomness that depends on the seed and the epoch alone, so that a resumed run draws what another one draws."""

from ignite.engine import Engine, Events
from ignite.utils import manual_seed
from monai.data.utils import set_rnd
from torch.utils.data import Dataset


class ReseedEachEpoch:
    """Reseed Python's, numpy's and torch's global generators, and MONAI's random transforms, when an epoch begins.

    Processes of a distributed run get different seeds, for they see different images.

    Args:
        seed: of the run.
        dataset: whose random transforms are reseeded; needed where the loader has no workers (workers get theirs from
            torch's generator).
        rank: number of the process.
    """

    def __init__(self, seed: int, dataset: Dataset | None = None, rank: int = 0) -> None:
        self.seed = seed
        self.dataset = dataset
        self.rank = rank

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Reseed for the epoch that begins."""
        # Far enough apart that neither epochs nor processes nor runs with neighbouring seeds share one.
        seed = (self.seed * 1_000_003 + engine.state.epoch * 1_009 + self.rank) % 2**31
        manual_seed(seed)
        if self.dataset is not None:
            set_rnd(self.dataset, seed)
