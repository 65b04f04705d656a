"""From files and CSVs to datalists and datasets: preparing, splitting, partial labels."""

from medssl.readers.modalities import are_of_one_kind, image_word

from .datalist import (
    Datalist,
    read_datalist,
    read_exclusive,
    read_labels,
    store_settings,
    write_datalist,
)
from .labelled import read_labelled
from .npz import unpack_npz, unpack_source
from .partial_labels import is_auroc_defined, label_counts, simulate_partial_labels
from .preprocessing import stored_preprocessing
from .sources import Source, merge_sources, name_sources, read_sources, read_tables
from .splits import fold_patients, split_patients
from .tables import Table, read_table

__all__ = [
    "Datalist",
    "Source",
    "Table",
    "are_of_one_kind",
    "fold_patients",
    "image_word",
    "is_auroc_defined",
    "label_counts",
    "merge_sources",
    "name_sources",
    "read_datalist",
    "read_exclusive",
    "read_labelled",
    "read_labels",
    "read_sources",
    "read_table",
    "read_tables",
    "simulate_partial_labels",
    "split_patients",
    "store_settings",
    "stored_preprocessing",
    "unpack_npz",
    "unpack_source",
    "write_datalist",
]
