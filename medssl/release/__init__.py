"""From a run to a bundle for others: export, checks of it, and a network that is ready to be called."""

from .export import Exported, export_run
from .nnunet import export_for_nnunet
from .ready import ReadyModel, load
from .verify import Verification, verify_bundle

__all__ = ["Exported", "ReadyModel", "Verification", "export_for_nnunet", "export_run", "load", "verify_bundle"]
