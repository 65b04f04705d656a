"""The pretext tasks by name."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pydoc import locate
from typing import Any

import yaml

from medssl.errors import UserError
from medssl.networks import Backbone

from .barlow_twins import BarlowTwins
from .byol import BYOL
from .cpc import CPC
from .dino import DINO
from .distil import Distil
from .inpainting import Inpainting
from .jigsaw import Jigsaw
from .lejepa import LeJEPA
from .mae import MAE
from .mcpc import MCPC
from .mim import MIM
from .moco import MoCo
from .models_genesis import ModelsGenesis
from .rotation import Rotation
from .rubiks_cube import RubiksCube
from .rvrm import RVRM
from .sc_assl import SCASSL
from .simclr import SimCLR
from .simsiam import SimSiam
from .spark import SparK
from .src import SRC
from .task import PretextTask, check_values
from .vicreg import VICReg
from .voco import VoCo
from .volume_fusion import VolumeFusion

TASKS: dict[str, type[PretextTask]] = {
    "rotation": Rotation,
    "mim": MIM,
    "inpainting": Inpainting,
    "simsiam": SimSiam,
    "simclr": SimCLR,
    "moco": MoCo,
    "byol": BYOL,
    "dino": DINO,
    "barlow_twins": BarlowTwins,
    "vicreg": VICReg,
    "lejepa": LeJEPA,
    "jigsaw": Jigsaw,
    "cpc": CPC,
    "rubiks_cube": RubiksCube,
    "voco": VoCo,
    "models_genesis": ModelsGenesis,
    "spark": SparK,
    "mae": MAE,
    "volume_fusion": VolumeFusion,
    "src": SRC,
    "mcpc": MCPC,
    "sc_assl": SCASSL,
    "rvrm": RVRM,
    "distil": Distil,
}
"""Short name → class."""
Tasks = str | Sequence[str] | Mapping[str, Mapping[str, Any] | PretextTask | Callable[..., PretextTask] | None]


def named_tasks(tasks: Tasks) -> dict[str, Any]:
    """Tasks as a config or a command line gives them, as name → what is said of it.

    Args:
        tasks: a name; several; or a mapping of names to values (nothing stands for none), such as
            ``{"rotation": {}, "rvrm": {"disguise": 1.0}}``. A name is a key of ``TASKS``, or says where somebody
            else's class is, such as ``my_package.waves.Waves``. In place of values there may be a task that is built
            already, or what builds one from backbone and image size (MONAI's ``_target_`` with ``_mode_: callable``).

    Raises:
        UserError: there is no task, or what was given is none of that.
    """
    if isinstance(tasks, str):
        tasks = _read_text(tasks)
    named = dict(tasks) if isinstance(tasks, Mapping) else dict.fromkeys(tasks if _is_list(tasks) else ())
    if not named or not all(isinstance(name, str) and name for name in named):
        raise UserError(
            f"tasks is {tasks!r}, and must name pretext tasks: rotation; rotation,mim; or with values "
            "{rotation: {}, rvrm: {disguise: 1.0}}."
        )
    return {name: {} if values is None else values for name, values in named.items()}


def _read_text(tasks: str) -> Any:
    """Names with commas between them; or a mapping that a command line left as a text, for there is a path in it."""
    if not tasks.lstrip().startswith("{"):
        return [name.strip() for name in tasks.split(",")]
    try:
        return yaml.safe_load(tasks)
    except yaml.YAMLError as error:
        raise UserError(f"tasks is {tasks!r}, which is no valid YAML: {error}") from error


def _is_list(tasks: Any) -> bool:
    return isinstance(tasks, Sequence) and not isinstance(tasks, str | bytes)


def copies_of(tasks: Tasks) -> int:
    """How often an image stands on the channel axis of the backbone that all these tasks train together."""
    return max(_copies(name, values) for name, values in named_tasks(tasks).items())


def _copies(name: str, values: Any) -> int:
    if isinstance(values, Mapping):
        return find_task(name).copies_for(values)
    maker = getattr(values, "func", None)  # of a partial
    if isinstance(maker, type) and issubclass(maker, PretextTask):
        return maker.copies_for(values.keywords)
    return int(getattr(values, "copies", 1))


def build_tasks(tasks: Tasks, backbone: Backbone, image_size: Sequence[int]) -> dict[str, PretextTask]:
    """Tasks of `named_tasks`, built as by `build_task`, by their names in logs.

    Raises:
        UserError: see both; or what was given in place of values is no task.
    """
    built = {}
    for name, values in named_tasks(tasks).items():
        if isinstance(values, Mapping):
            task = build_task(name, backbone, image_size, **values)
        else:
            task = values if isinstance(values, PretextTask) or not callable(values) else values(backbone, image_size)
        if not isinstance(task, PretextTask):
            raise UserError(f"tasks: {name} is {values!r}, and must be values of a task, such as {{}}, or a task.")
        built[name.rpartition(".")[2]] = task
    return built


def build_task(name: str, backbone: Backbone, image_size: Sequence[int], **values: Any) -> PretextTask:
    """Build a task for a backbone.

    Args:
        name: a key of ``TASKS``, or the dotted name of a class.
        backbone: whose features the task trains; the task keeps no reference to it.
        image_size: spatial shape of the images.
        values: further arguments of the task's class.

    Raises:
        UserError: for an unknown name, a value that the task does not know, or sizes it cannot work with.
    """
    task = find_task(name)
    check_values(name, task, values)
    try:
        return task(backbone, image_size, **values)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def find_task(name: str) -> type[PretextTask]:
    """The class of a task: a key of ``TASKS``, or the dotted name of somebody else's.

    Raises:
        UserError: there is none.
    """
    found = TASKS.get(name) or (locate(name) if "." in name else None)
    if isinstance(found, type) and issubclass(found, PretextTask):
        return found
    guesses = get_close_matches(name, TASKS, n=1)
    guess = f"did you mean {guesses[0]}? There are" if guesses else "choose one of"
    raise UserError(f"There is no pretext task {name!r}; {guess} {', '.join(TASKS)}.")
