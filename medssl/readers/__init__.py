"""From a file to an array and a note of what was put right: radiographs, volumes, DICOM series. No torch, no MONAI."""

from . import pydicom_first  # noqa: F401 -- before what imports pydicom
from .dicom_file import is_dicom
from .dicom_series import SetAside, Stack, find_stacks, read_stack
from .radiograph import read_radiograph
from .reading import Reading
from .studies import examine_folder, studies_of
from .study import Found, Refusal, Study
from .suffixes import KNOWN_SUFFIXES
from .units import Unit, find_units, is_slice
from .volume import read_volume, volume_files

__all__ = [
    "KNOWN_SUFFIXES",
    "Found",
    "Reading",
    "Refusal",
    "SetAside",
    "Stack",
    "Study",
    "Unit",
    "examine_folder",
    "find_stacks",
    "find_units",
    "is_dicom",
    "is_slice",
    "read_radiograph",
    "read_stack",
    "read_volume",
    "studies_of",
    "volume_files",
]
