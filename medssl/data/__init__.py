"""From files and CSVs to datalists and datasets: preparing, splitting, partial labels."""

from medssl.readers.modalities import are_of_one_kind, image_word

from .datalist_file import whole_parts, write_datalist
from .npz import unpack_source
from .partial_labels import is_auroc_defined, label_counts, labels_by_source, simulate_partial_labels
from .seen_images import SeenImages
from .sources import Source, merge_sources, name_sources, read_sources, read_tables
from .splits import fold_patients, split_patients
from .store import Datalist
from .tables import Table, read_table

__all__ = [
    "Datalist",
    "SeenImages",
    "Source",
    "Table",
    "are_of_one_kind",
    "fold_patients",
    "image_word",
    "is_auroc_defined",
    "label_counts",
    "labels_by_source",
    "merge_sources",
    "name_sources",
    "read_sources",
    "read_table",
    "read_tables",
    "simulate_partial_labels",
    "split_patients",
    "unpack_source",
    "whole_parts",
    "write_datalist",
]
