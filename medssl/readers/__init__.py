"""From a file to an array and a note of what was put right: radiographs, volumes, DICOM series. No torch, no MONAI."""

from . import pydicom_first  # noqa: F401 -- before what imports pydicom
from .dicom_file import is_dicom
from .radiograph import read_radiograph
from .reading import Reading
from .studies import examine_folder, examine_paths, studies_of
from .study import Found, Refusal, Study
from .units import Unit, find_units, is_slice
from .volume import read_volume

__all__ = [
    "Found",
    "Reading",
    "Refusal",
    "Study",
    "Unit",
    "examine_folder",
    "examine_paths",
    "find_units",
    "is_dicom",
    "is_slice",
    "read_radiograph",
    "read_volume",
    "studies_of",
]
