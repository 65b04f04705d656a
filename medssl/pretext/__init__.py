"""The pretext tasks, one file each, and the model that trains several together."""

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
from .model import PretextModel, PretextModelOutput, build_pretext_model
from .models_genesis import ModelsGenesis
from .registry import TASKS, build_task, copies_of, find_task, named_tasks
from .rotation import Rotation
from .rubiks_cube import RubiksCube
from .rvrm import RVRM
from .sc_assl import SCASSL
from .self_assl import Complement
from .simclr import SimCLR
from .simsiam import SimSiam
from .spark import SparK
from .src import SRC
from .task import Pictures, PretextOutput, PretextTask
from .teacher import Teacher
from .vicreg import VICReg
from .voco import VoCo
from .volume_fusion import VolumeFusion

__all__ = [
    "BYOL",
    "CPC",
    "DINO",
    "MAE",
    "MCPC",
    "MIM",
    "RVRM",
    "SCASSL",
    "SRC",
    "TASKS",
    "BarlowTwins",
    "Complement",
    "Distil",
    "Inpainting",
    "Jigsaw",
    "LeJEPA",
    "MoCo",
    "ModelsGenesis",
    "Pictures",
    "PretextModel",
    "PretextModelOutput",
    "PretextOutput",
    "PretextTask",
    "Rotation",
    "RubiksCube",
    "SimCLR",
    "SimSiam",
    "SparK",
    "Teacher",
    "VICReg",
    "VoCo",
    "VolumeFusion",
    "build_pretext_model",
    "build_task",
    "copies_of",
    "find_task",
    "named_tasks",
]
