"""The pretext tasks by name."""

from collections.abc import Sequence
from typing import Any

from medssl.errors import UserError
from medssl.networks import Backbone

from .cpc import CPC
from .inpainting import Inpainting
from .jigsaw import Jigsaw
from .mcpc import MCPC
from .mim import MIM
from .models_genesis import ModelsGenesis
from .rotation import Rotation
from .rubiks_cube import RubiksCube
from .rvrm import RVRM
from .sc_assl import SCASSL
from .simclr import SimCLR
from .simsiam import SimSiam
from .src import SRC
from .task import PretextTask, check_values

TASKS: dict[str, type[PretextTask]] = {
    "rotation": Rotation,
    "mim": MIM,
    "inpainting": Inpainting,
    "simsiam": SimSiam,
    "simclr": SimCLR,
    "jigsaw": Jigsaw,
    "cpc": CPC,
    "rubiks_cube": RubiksCube,
    "models_genesis": ModelsGenesis,
    "src": SRC,
    "mcpc": MCPC,
    "sc_assl": SCASSL,
    "rvrm": RVRM,
}
"""Short name → class; the names of the mix-ins in ``configs/pretext/`` too."""


def build_task(name: str, backbone: Backbone, image_size: Sequence[int], **values: Any) -> PretextTask:
    """Build a task for a backbone.

    Args:
        name: a key of ``TASKS``.
        backbone: whose features the task trains; the task keeps no reference to it.
        image_size: spatial shape of the images.
        values: further arguments of the task's class.

    Raises:
        UserError: for an unknown name, a value that the task does not know, or sizes it cannot work with.
    """
    if name not in TASKS:
        raise UserError(f"There is no pretext task {name!r}; choose one of {', '.join(TASKS)}.")
    check_values(name, TASKS[name], values)
    try:
        return TASKS[name](backbone, image_size, **values)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
