"""The sources of a datalist: one hospital each, with its images, its table and how that is read; as a small YAML file.

::

    sources:
      - images: north/images              # paths are relative to this file
        csv: north/labels.csv
        columns: {image: file_name, patient: pid}
        labels: {Edema: oedema, Mass: mass}
      - images: chexpert
        csv: chexpert/train.csv
        uncertain: positive
        blank: negative
      - {npz: pneumoniamnist.npz, split: test}
      - images: south/images
        masks: south/masks                # label maps, each called like its image
        mask_labels: {1: liver, 2: spleen}
    contains: {lungs: [lung_left, lung_right]}
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import count as count_from
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medssl.errors import MissingFileError, UserError
from medssl.files import read_yaml

from .datalist_file import SPLITS
from .tables import BLANK, ROLES, UNCERTAIN, Blank, Table, Uncertain, mark, near_miss, read_table, table_name

_PLAIN = """
    all annotation annotations case cases csv data dataset datasets dcm dev dicom dicoms entry file files final finding
    findings ground image images img imgs index info jpeg jpg label labels list meta metadata patient patients png raw
    report reports sheet split splits stage table tables test testing train training trainval truth tsv unlabeled val
    valid validate validation
"""
PLAIN_WORDS = frozenset(_PLAIN.split())
"""Words of file and folder names that tell no hospital from another."""
OTHERS = "others"
"""In `Source.mask_labels`, all numbers that have no name."""


@dataclass(frozen=True)
class Source:
    """One hospital.

    Attributes:
        images: folder of its images; None only with ``npz``.
        csv: its table, see `medssl.data.tables`; None for images without labels.
        npz: instead of both, one file of images and labels, see `medssl.data.unpack_source`.
        masks: folder of the images' masks. With numbers in ``mask_labels`` each image has one file, called like the
            image (or with ``_mask`` or ``_seg`` behind), whose values are numbers of classes; without, it has a folder,
            called like the image, with one file a class, called like the class (``liver.nii.gz``). It may be the
            folder of images itself, or lie in it.
        mask_labels: number in the masks → name of the class; "" leaves a number out, and under ``others`` all that are
            not named. Or name of a file → name of the class, which leaves out all other files.
        name: unique among the sources; "" until `name_sources` gives it one.
        site: whose patient numbers they are: sources of one site share patients. By default the name; `prepare` gives
            tables of one folder one site.
        columns: role (see `ROLES`: ``image``, ``patient``, ``split`` …) → name of the column, where they differ.
        labels: label → name of its column (of the finding where a column lists them; with ``classes`` the text in the
            cells). Empty: all labels, under their own names.
        classes: a column whose text is the one class of each image (multi-class).
        uncertain: what -1 means, as in CheXpert.
        blank: what an empty cell of a label means, ``unknown`` or ``negative``, see `read_table`.
        split: puts every image into this split, such as an external test set into ``test``.
        modality: of the images, as DICOM calls it (``DX``, ``CT``, ``MR``); "" takes what the table knows.

    Raises:
        UserError: the values do not go together.
    """

    images: Path | None = None
    csv: Path | None = None
    npz: Path | None = None
    masks: Path | None = None
    mask_labels: Mapping[int | str, str] = field(default_factory=dict)
    name: str = ""
    site: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    classes: str = ""
    uncertain: Uncertain = "unknown"
    blank: Blank = "unknown"
    split: str = ""
    modality: str = ""

    def __post_init__(self) -> None:
        if self.npz and (self.images or self.csv):
            raise UserError(f"{self.npz} holds images and labels: give no images or csv beside an npz.")
        if self.csv and not self.images:
            raise UserError(f"{self.csv} names images, and no folder holds them: give images.")
        if not self.images and not self.npz:
            raise UserError("A source needs images (a folder), or an npz.")
        if self.masks and not self.images:
            raise UserError(f"{self.masks} holds masks, and no folder their images: give images.")
        if self.mask_labels and not self.masks:
            raise UserError("mask_labels names what is in masks, and there are none: give their folder (masks).")
        self._check_mask_labels()
        if self.uncertain not in UNCERTAIN:
            raise UserError(f"uncertain must be {', '.join(UNCERTAIN)}, not {self.uncertain!r}.")
        if self.blank not in BLANK:
            raise UserError(f"blank must be {' or '.join(BLANK)}, not {self.blank!r}.")
        if not re.fullmatch("([A-Z]{2,})?", self.modality):
            raise UserError(f"modality must be one of DICOM's, such as CR, DX, CT, MR or US, not {self.modality!r}.")
        if self.split and self.split not in SPLITS:
            raise UserError(f"split must be {', '.join(SPLITS)}, not {self.split!r}.{near_miss(self.split, SPLITS)}")
        for role in self.columns:
            if role not in ROLES:
                raise UserError(f"columns maps {', '.join(ROLES)}, not {role!r}.{near_miss(role, ROLES)}")

    @property
    def has_label_maps(self) -> bool:
        """Whether the numbers in a mask tell its classes; otherwise each class has a file of its own."""
        return any(isinstance(key, int) for key in self.mask_labels)

    def _check_mask_labels(self) -> None:
        keys = [key for key in self.mask_labels if key != OTHERS]
        if len({type(key) for key in keys}) > 1:
            raise UserError(f"mask_labels has numbers and names of files ({', '.join(map(str, keys))}): use one kind.")
        for key, name in self.mask_labels.items():
            if isinstance(key, int) and key < 1:
                raise UserError(f"mask_labels names {key}, and classes have numbers from 1 on: 0 is what is no class.")
            if key == OTHERS and (name or not self.has_label_maps):
                raise UserError(f"{OTHERS} in mask_labels leaves out all numbers without a name: give it none.")
            if not isinstance(key, int) and not name and key != OTHERS:
                raise UserError(f"mask_labels gives the file {key!r} no name of a class: a file is left out by itself.")
        if keys and not any(self.mask_labels.values()):
            raise UserError("mask_labels leaves out every class: name one.")

    def patient(self, number: str) -> str:
        """The patient that the site calls ``number``, told apart from other sites' patients of that number."""
        return f"{self.site or self.name}/{number}" if number else ""


def name_sources(sources: Sequence[Source]) -> list[Source]:
    """Give each source without a name that of its CSV, npz or folder, or of the next folder where that says nothing.

    Names such as ``labels.csv``, ``train`` or ``images`` say nothing. Where two names are alike, the file's stands
    behind or the folder's in front, and where they still are, a number behind.

    Raises:
        UserError: two sources were given one name; the message says which.
    """
    given = Counter(source.name for source in sources if source.name)
    for name, count in given.items():
        if count > 1:
            raise UserError(f"{count} sources are called {name!r}: give each a name of its own with name.")
    defaults = [source.name or _default_name(source) for source in sources]
    for default, count in Counter(defaults).items():
        alike = [place for place, name in enumerate(defaults) if name == default and not sources[place].name]
        for parts in ("{name}_{file}", "{folder}_{name}") if count > 1 else ():
            longer = [parts.format(name=default, **_parts(sources[place])) for place in alike]
            if len(set(longer)) == len(longer) > 1:
                for place, name in zip(alike, longer, strict=True):
                    defaults[place] = name
                break
    taken = set(given)
    named = []
    for source, default in zip(sources, defaults, strict=True):
        numbered = (f"{default}_{number}" if number > 1 else default for number in count_from(1))
        name = source.name or next(name for name in numbered if name not in taken)
        taken.add(name)
        named.append(replace(source, name=name))
    return named


def read_sources(path: str | Path) -> list[Source]:
    """Read a YAML file with the list ``sources``; each entry has the names of `Source`, paths relative to the file.

    Raises:
        MissingFileError: the file, or one that it names, is missing.
        UserError: it is no such YAML, or an entry is wrong; the message names entry and key.
    """
    path, content = Path(path), _content(Path(path))
    if not content["sources"]:
        raise UserError(f"{path} names no source: add one with images, and csv where there are labels.")
    sources = []
    for number, entry in enumerate(content["sources"], 1):
        try:
            sources.append(_source(entry, path.absolute().parent))
        except UserError as error:
            raise type(error)(f"{path}, source {number}: {error}") from error
    return name_sources(sources)


def read_contains(path: str | Path) -> dict[str, list[str]]:
    """What the YAML file of the sources says of classes that contain others: class → those that make it up.

    Raises:
        MissingFileError: the file is missing.
        UserError: it is no such YAML.
    """
    contains = _content(Path(path)).get("contains") or {}
    if not isinstance(contains, dict) or not all(isinstance(parts, list) for parts in contains.values()):
        raise UserError(f"{path}: contains is {contains!r}; write class: [the classes that make it up].")
    return {_text("contains", whole): [_text("contains", one) for one in parts] for whole, parts in contains.items()}


def read_tables(sources: Sequence[Source], labels: Sequence[str] | None = None) -> dict[str, Table]:
    """Read the table of every source that has a CSV; `merge_sources` makes one of them.

    Args:
        sources: named, see `name_sources`; those with an npz unpacked, see `unpack_source`.
        labels: the labels to take, each where there is one; by default all.

    Returns:
        For each source, under its name, its table; its patients are named with their site, see `Source.patient`.

    Raises:
        MissingFileError: a CSV is missing.
        UserError: see `read_table`; or one of ``labels`` is in no CSV.
    """
    tables = {source.name: _table(source, labels) for source in sources if source.csv}
    for label in labels or ():
        if tables and not any(label in table.labels for table in tables.values()):
            # Read again without a choice, to say what there is.
            names = list(dict.fromkeys(name for source in sources if source.csv for name in _table(source).labels))
            raise UserError(
                f"No source has the label {label!r}: there are {', '.join(names)}.{near_miss(label, names)}"
            )
    return tables


def merge_sources(tables: Mapping[str, Table], labels: Sequence[str] | None = None) -> Table:
    """Put the tables of several sources one under the other; what a source did not annotate is unknown there.

    Where labels exclude each other, an image whose class is known has none of the other sources' classes either.

    Args:
        tables: for each source, under its name, its table. Patients are taken to be distinct unless named alike.
        labels: the labels to keep, in this order; by default all, in the order in which they appear.

    Returns:
        One table; its rows are numbered anew and have a further column ``table``, the name of theirs.

    Raises:
        UserError: there is no table, or exclusive classes meet labels that are not.
    """
    if not tables:
        raise UserError("There are no tables to merge: name at least one source.")
    kinds = {table.exclusive: name for name, table in tables.items() if table.labels}
    if len(kinds) > 1:
        raise UserError(
            f"{kinds[True]} has one class for each image, and {kinds[False]} has labels that may occur together: "
            "prepare them apart, or give both a column for each label."
        )
    every = pd.concat([pd.DataFrame(table.values, columns=table.labels) for table in tables.values()])
    names = list(every.columns if labels is None else labels)
    exclusive = True in kinds
    values = np.array(every.reindex(columns=names), dtype=np.float32)
    if exclusive:
        values[np.isnan(values) & every.notna().to_numpy().any(axis=1, keepdims=True)] = 0
    rows = pd.concat([table.rows.assign(table=name) for name, table in tables.items()], ignore_index=True)
    if exclusive:
        other = (values == 0).all(axis=1)
        mark(rows, other & (rows["reason"] == "").to_numpy(), "not a label", f"its class is none of {', '.join(names)}")
        values[other] = np.nan
    notes = [f"{name}: {note}" for name, table in tables.items() for note in table.notes]
    modalities = {table.modality for table in tables.values()}
    modality = modalities.pop() if len(modalities) == 1 else ""
    added = {f"{name}: {rule}": counts for name, table in tables.items() for rule, counts in table.added.items()}
    return Table(names, rows, values, exclusive, notes + _look_alike(tables, names), modality, added)


def _parts(source: Source) -> dict[str, str]:
    """The name of the source's file (or folder), and that of the folder above."""
    file = source.csv or source.npz
    path = (file or source.images or Path()).absolute()
    return {"file": table_name(path) if file else path.name, "folder": path.parent.name}


def _default_name(source: Source) -> str:
    """The first telling one of the names of file, folder, folder of images, and the folder above each."""
    parts = _parts(source)
    folders = [path.absolute() for path in (source.csv and source.csv.parent, source.images) if path]
    names = [*parts.values(), *(path.name for path in folders), *(path.parent.name for path in folders)]
    return next((name for name in names if not _is_plain(name)), parts["file"])


def _is_plain(name: str) -> bool:
    return PLAIN_WORDS.issuperset(re.findall(r"[^\W\d_]+", name.casefold()))


def _table(source: Source, labels: Sequence[str] | None = None) -> Table:
    assert source.csv is not None
    table = read_table(
        source.csv,
        labels,
        columns=source.columns,
        label_columns=source.labels,
        classes=source.classes,
        uncertain=source.uncertain,
        blank=source.blank,
        split=source.split,
        source=source.name,
        require_labels=False,
    )
    table.rows["patient"] = table.rows["patient"].map(source.patient)
    return replace(table, modality=source.modality or table.modality)


def _content(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    known = isinstance(content, dict) and "sources" in content and content.keys() <= {"sources", "contains"}
    if not known or not isinstance(content["sources"], list):
        raise UserError(
            f"{path} must hold one list, sources:, with an entry for each hospital, and contains: at most beside it."
        )
    return content


def _source(entry: Any, folder: Path) -> Source:
    known = {field.name for field in fields(Source)}
    if not isinstance(entry, dict):
        raise UserError(f"it is {entry!r}; write images: FOLDER, and csv: FILE where there are labels.")
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in known:
            raise UserError(f"there is no key {key!r}: use {', '.join(sorted(known))}.{near_miss(str(key), known)}")
        if key in ("columns", "labels"):
            if key == "labels" and "masks" in entry and "csv" not in entry:
                raise UserError(f"labels are those of a csv; what is in masks is told by mask_labels: {value}.")
            values[key] = _names(key, value)
        elif key == "mask_labels":
            values[key] = _mask_labels(value)
        elif key in ("images", "csv", "npz", "masks"):
            values[key] = folder / _text(key, value)
            if not values[key].exists():
                raise MissingFileError(f"{key}: there is no {values[key]}.")
        else:
            values[key] = _text(key, value)
    return Source(**values)


def _names(key: str, value: Any) -> dict[str, str]:
    if key == "labels" and isinstance(value, list):  # these labels, under their own names
        value = dict(zip(value, value, strict=True))
    if not isinstance(value, dict):
        raise UserError(f"{key} must map names, as in {key}: {{ours: theirs}}, not {value!r}.")
    return {_text(key, ours): _text(key, theirs) for ours, theirs in value.items()}


def _mask_labels(value: Any) -> dict[int | str, str]:
    if isinstance(value, list):  # these files, under their own names
        value = dict(zip(value, value, strict=True))
    if not isinstance(value, dict) or not value:
        raise UserError(f"mask_labels must map numbers to classes, as in mask_labels: {{1: liver}}, not {value!r}.")
    return {
        number if isinstance(number, int) and not isinstance(number, bool) else _text("mask_labels", number): (
            "" if name is None else _text("mask_labels", name)
        )
        for number, name in value.items()
    }


def _text(key: str, value: Any) -> str:
    # YAML reads an unquoted No or Yes as a truth value, which would lose the name.
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise UserError(f"{key} must be text, not {value!r}: put it in quotes.")
    return str(value)


def _look_alike(tables: Mapping[str, Table], names: Collection[str]) -> list[str]:
    """Labels of different sources that may be one, as ``Pleural_Thickening`` and ``pleural thickening``."""
    spellings: dict[str, dict[str, str]] = {}
    for source, table in tables.items():
        for name in table.labels:
            if name in names:
                spellings.setdefault(re.sub(r"[\W_]", "", name).lower(), {}).setdefault(name, source)
    return [
        f"{' and '.join(f'{name!r} ({source})' for name, source in spelled.items())} are kept as different labels: "
        "if they are one, map it with labels."
        for spelled in spellings.values()
        if len(spelled) > 1
    ]
