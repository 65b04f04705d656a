"""From files and CSVs to datalists and datasets: preparing, splitting, partial labels."""

from .datalist import read_datalist, read_labels, write_datalist
from .partial_labels import label_counts, simulate_partial_labels
from .splits import split_patients

__all__ = [
    "label_counts",
    "read_datalist",
    "read_labels",
    "simulate_partial_labels",
    "split_patients",
    "write_datalist",
]
