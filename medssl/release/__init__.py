"""From a run to a bundle for others: export, and checks of it."""

from .export import Exported, export_run
from .verify import Verification, verify_bundle

__all__ = ["Exported", "Verification", "export_run", "verify_bundle"]
