"""From files and CSVs to datalists and datasets: preparing, splitting, partial labels."""

from .datalist import read_datalist, read_labels, write_datalist
from .npz import unpack_npz
from .partial_labels import label_counts, simulate_partial_labels
from .phantoms import write_phantoms
from .splits import split_patients
from .studies import list_studies

__all__ = [
    "label_counts",
    "list_studies",
    "read_datalist",
    "read_labels",
    "simulate_partial_labels",
    "split_patients",
    "unpack_npz",
    "write_datalist",
    "write_phantoms",
]
