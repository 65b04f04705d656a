"""A pre-training run that kept backbones along its epochs, and the parts to look at them with."""

import copy
import hashlib
import warnings
from functools import cached_property
from typing import Any

import torch
from monai.bundle import ConfigParser

from medssl.errors import UserError, user_error
from medssl.networks import load_state_dict, read_description
from medssl.pretext import PretextModel
from medssl.runs import BACKBONES, CONFIG, PRETEXT_MODELS, Run, kept_file
from medssl.transforms import View


class PretrainingRun:
    """What a run of a pre-training bundle kept.

    Args:
        folder: of the run, pre-trained with `--keep_every`.

    Attributes:
        name: of the folder.
        kept: epoch → its weights; epoch 0 holds the random weights that the run began with.
        description: of the weights.
        view: what they see of an image.
        seed, batch_size: of the run.

    Raises:
        UserError: when the run kept no backbones.
    """

    def __init__(self, folder: Run) -> None:
        self.path = folder.path
        self.name = folder.path.resolve().name
        found = sorted((folder.path / BACKBONES).glob(kept_file()))
        self.kept = {int(path.stem.removeprefix("epoch_")): path for path in found}
        if 0 not in self.kept or len(self.kept) < 2:
            raise UserError(
                f"{folder.path} kept no backbones along its epochs: pre-train again with, say, --keep_every 10."
            )
        self.description = read_description(self.kept[0])
        self.view = View.from_dict(self.description, str(self.kept[0]))
        # The config finds the view in the store, which may have moved since.
        self._config = {**folder.config, "view": self.view, "image_size": list(self.view.image_size)}
        self.seed = int(self._part("seed"))
        self.batch_size = int(self._part("batch_size"))

    @cached_property
    def random_weights(self) -> str:
        """A checksum of the weights that it began with, which pre-trainings of one seed share."""
        state = load_state_dict(self.kept[0])
        return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()

    def start(self, epoch: int) -> tuple[str, int]:
        """What a fine-tuning from an epoch begins with: the same for all pre-trainings with the same random weights."""
        return (self.name, epoch) if epoch else (self.random_weights, 0)

    def pretext_model(self, epoch: int) -> PretextModel | None:
        """Backbone and heads of a kept epoch; None where only the backbone was kept.

        The heads are built as the run's config says, which executes the config, as running the bundle did.

        Raises:
            UserError: when they cannot be built, or what was kept does not fit them.
        """
        path = self.path / PRETEXT_MODELS / self.kept[epoch].name
        if not path.is_file():
            return None
        model: PretextModel = self._part("network_def")
        try:
            model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many kinds
            reason = str(error).splitlines()[0]
            raise UserError(f"{path} does not fit its run's {CONFIG} or is damaged ({reason}).") from error
        return model

    def _part(self, name: str) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*no allow list.*")
            try:
                return ConfigParser(copy.deepcopy(self._config)).get_parsed_content(name)
            except Exception as error:  # MONAI wraps whatever a part raises in errors of its own
                if (mistake := user_error(error)) is None:
                    raise
                raise UserError(f"{self.path / CONFIG}: {name} cannot be built again: {mistake}") from error
