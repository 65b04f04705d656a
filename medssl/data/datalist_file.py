"""The datalist: the JSON file that says which images there are, what is known of them, and which split they are in.

It is MONAI's Decathlon-style list with partial labels::

    {"labels": ["Edema", "Mass"],
     "training": [{"image": "images/1.png", "label": [1, null], "patient": "5f0c", "source": "nih"}],
     "validation": [], "test": [], "unlabeled": [{"image": "images/2.png", "patient": "a1b2", "source": "nih"}]}

Image paths are relative to the file. A label is 1, 0 or null (unknown). With ``"exclusive": true`` the labels are
classes of which each image has exactly one: ``label`` is one-hot, or null throughout where the class is unknown. A
patient of validation or test is in no other split; a patient of training may have unlabelled images too. An item may
also have ``study`` (hashed like the patient), ``age`` (years, 90 for all above), ``sex`` (F, M), ``view`` (PA, AP,
frontal, lateral, other) and ``scanner`` (its model or maker, as it stands), where a table says so.

A datalist may have masks, instead of labels or beside them: ``"classes": ["lung_left", "lung_right", "lungs"]`` are
their names, ``"contains": {"lungs": ["lung_left", "lung_right"]}`` which of them make up another, and an item of a
labelled split may have a ``mask`` (bit c of a voxel says that class c is there) and must then say in ``outlined`` which
classes somebody outlined in it; of the others nobody knows where they are. An item without ``label`` has a mask.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from medssl.errors import MissingFileError, UserError
from medssl.files import write_text

logger = logging.getLogger(__name__)

DATALIST = "datalist.json"
"""What `medssl prepare` calls the datalist in its folder."""
LABELLED_SPLITS = ("training", "validation", "test")
"""The splits whose images have labels."""
SPLITS = (*LABELLED_SPLITS, "unlabeled")
PRETRAIN = "pretrain"
"""Every image that is in neither validation nor test."""
MOST_CLASSES = 63
"""As many as the bits of a mask can tell apart."""


def write_datalist(
    path: str | Path,
    labels: Sequence[str],
    splits: Mapping[str, Iterable[Mapping[str, Any]]],
    exclusive: bool = False,
    classes: Sequence[str] = (),
    contains: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a datalist in one stroke: a kill leaves the old file or the new one, never half of it.

    Args:
        path: the JSON file to write.
        labels: names of the K labels.
        splits: for each of ``training``, ``validation``, ``test``, ``unlabeled`` (those absent are written empty) its
            items: ``image`` (absolute, or relative to the datalist), ``patient``, optionally ``source``, and outside
            ``unlabeled`` the ``label``: K values 1, 0, or None or NaN for unknown, or a ``mask`` (a path, too) with the
            names of the classes that were ``outlined``; and whatever else there is to say.
        exclusive: each image has exactly one of the labels.
        classes: names of the C classes of masks.
        contains: class → the classes that make it up.

    Raises:
        UserError: what was given is no valid datalist; nothing is written then.
    """
    path = Path(path)
    unknown = set(splits) - set(SPLITS)
    if unknown:
        raise UserError(f"A datalist has no split {sorted(unknown)[0]!r}: use {', '.join(SPLITS)}.")
    folder = str(path.parent.resolve())
    content = {split: [_plain_item(item, folder) for item in splits.get(split, ())] for split in SPLITS}
    head: dict[str, Any] = {"labels": list(labels), **({"exclusive": True} if exclusive else {})}
    head |= {"classes": list(classes)} if classes else {}
    head |= {"contains": {whole: list(parts) for whole, parts in contains.items()}} if contains else {}
    _check(path, {**head, **content})
    # One item a line: as quick as json.dump, and a person can read and compare it.
    encode = json.JSONEncoder(allow_nan=False).encode
    parts = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    for split, items in content.items():
        rows = ",\n".join(map(encode, items))
        parts.append(f'"{split}": [\n{rows}\n]' if rows else f'"{split}": []')
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


@dataclass(frozen=True)
class DatalistFile:
    """What a datalist says, read and checked once by `read`; `medssl.data.Datalist` knows of the store, too.

    Args:
        path: the JSON file.
        labels: names of the K labels, in the order of `label`.
        exclusive: whether each image has exactly one of the labels (multi-class).
        content: the items of each split, as they stand in the file.
        classes: names of the C classes of masks, in the order of their bits.
        contains: class → the classes that make it up.
    """

    path: Path
    labels: list[str]
    exclusive: bool
    content: Mapping[str, list[dict[str, Any]]] = field(repr=False)
    classes: list[str] = field(default_factory=list)
    contains: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, data: str | Path) -> Self:
        """Read a datalist and hold it to its rules.

        Args:
            data: the JSON file, or the folder that `medssl prepare` wrote.

        Raises:
            MissingFileError: there is no such file.
            UserError: it breaks the rules of a datalist; the message names split and row.
        """
        path = Path(data) / DATALIST if Path(data).is_dir() else Path(data)
        if not path.is_file():
            raise MissingFileError(f"There is no datalist {path}: make one with `medssl prepare`.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        except ValueError as error:  # JSON's and Unicode's errors are kinds of it
            raise UserError(f"{path} is no valid JSON ({error}): make it again with `medssl prepare`.") from error
        _check(path, content)
        labels, exclusive = content.get("labels", []), content.get("exclusive", False)
        return cls(path, labels, exclusive, content, content.get("classes", []), content.get("contains", {}))

    def items(self, split: str, check_files: bool = True) -> list[dict[str, Any]]:
        """The items of one split, ready for a MONAI dataset.

        Args:
            split: `training`, `validation`, `test`, `unlabeled`, or `pretrain` for training and unlabelled images
                together, without their labels.
            check_files: look whether every image of the split exists; turn it off where looking is slow.

        Returns:
            For each image `image` (absolute path), `file` (the same, which stays when a transform loads `image`),
            `patient`, `study` and `source` ("" when not given) and, in the three labelled splits, `label`: float32
            [K] of 1, 0, NaN (unknown), which MONAI's DataLoader collates to [B, K]. For masks see `segmented`.

        Raises:
            MissingFileError: an image is missing.
            UserError: there is no such split.
        """
        wanted = ("training", "unlabeled") if split == PRETRAIN else (split,)
        if not set(wanted) <= set(SPLITS):
            raise UserError(f"A datalist has no split {split!r}: use {', '.join(SPLITS)} or {PRETRAIN}.")
        folder = str(self.path.parent.resolve())
        items = []
        for name in wanted:
            for row, stored in enumerate(self.content.get(name, ())):
                image = os.path.normpath(os.path.join(folder, stored["image"]))
                if check_files and not os.path.exists(image):
                    raise MissingFileError(
                        f"{self.path}, {name}[{row}]: there is no image {image}; the datalist and its images move "
                        "together."
                    )
                item = {"image": image, "file": image, "patient": stored["patient"]}
                item |= {key: stored.get(key, "") for key in ("study", "source")}
                if split in LABELLED_SPLITS:  # an image with a mask need not have labels
                    values = stored.get("label", [None] * len(self.labels))
                    item["label"] = np.array(values, dtype=np.float32)  # of None makes NaN
                items.append(item)
        return items

    def segmented(
        self, split: str, classes: Sequence[str] | None = None, may_be_empty: bool = False
    ) -> list[dict[str, Any]]:
        """The items of a split that have a mask, for a network whose classes may be others than the datalist's.

        Args:
            split: `training`, `validation` or `test`.
            classes: names of the C classes of the network; None for the datalist's own.
            may_be_empty: whether a split without masks will do.

        Returns:
            As `items`, without `label`, but with `mask` (absolute path) and `outlined`: float32 [C], 1 of a class that
            was outlined in the image, 0 of one of which it says nothing. Where the classes are not the datalist's own,
            in their order, there is `bit_order`, too: int [C], the bit of each in the mask, −1 where it has none; what
            `View.stored` and `View.random_crops` load has the network's own. A class that the datalist does not have is
            outlined nowhere, and one that the network does not know is left out; the log says so.

        Raises:
            MissingFileError: an image or a mask is missing.
            UserError: there are no masks, or none of the classes.
        """
        if split not in LABELLED_SPLITS:
            raise UserError(f"{self.path} has no masks in {split!r}: use {', '.join(LABELLED_SPLITS)}.")
        if not self.classes:
            raise UserError(f"{self.path} has no masks: prepare the images again with their masks (--masks).")
        classes = list(self.classes if classes is None else classes)
        order = np.array([self.classes.index(name) if name in self.classes else -1 for name in classes])
        if classes != self.classes:
            self._say_differences(split, classes)
        folder, items = str(self.path.parent.resolve()), []
        for item, stored in zip(self.items(split), self.content.get(split, ()), strict=True):
            if "mask" not in stored:
                continue
            mask = os.path.normpath(os.path.join(folder, stored["mask"]))
            if not os.path.exists(mask):
                raise MissingFileError(f"{self.path}, {split}: there is no mask {mask} of {item['image']}.")
            known = np.array([name in stored["outlined"] for name in classes], dtype=np.float32)
            del item["label"]
            own = {} if classes == self.classes else {"bit_order": order}
            items.append({**item, "mask": mask, "outlined": known, **own})
        if not items and not may_be_empty:
            raise UserError(f"{self.path} has no mask in {split}: name another split, or prepare the masks anew.")
        return items

    def _say_differences(self, split: str, classes: Sequence[str]) -> None:
        """Hold the classes of the masks against a network's."""
        unknown = [name for name in self.classes if name not in classes]
        lacking = [name for name in classes if name not in self.classes]
        if len(lacking) == len(classes):
            own, names = ", ".join(self.classes), ", ".join(classes)
            raise UserError(f"{self.path} has masks of {own}, and the network knows none of them but {names}.")
        if unknown:
            logger.warning("Of the masks of %s the network knows no %s: left out.", self.path, ", ".join(unknown))
        if lacking:
            logger.warning("In %s of %s nobody outlined %s.", split, self.path, ", ".join(lacking))

    def labelled(
        self,
        split: str,
        classes: Sequence[str] | None = None,
        exclusive: bool | None = None,
        may_be_empty: bool = False,
    ) -> list[dict[str, Any]]:
        """The items of a split for a network whose classes may stand in another order than the labels, or be others.

        Args:
            split: `training`, `validation` or `test`.
            classes: names of the K classes of the network; None for the datalist's own labels.
            exclusive: whether the network gives each image exactly one of them; None for as the datalist says.
            may_be_empty: whether a split without images will do.

        Returns:
            As `items` without those that have no `label`, which is float32 [K] of 1, 0, NaN (unknown). A class that the
            datalist does not have is unknown, and a label that the network does not know is left out; the log says so.
            Of exclusive classes, an image of none that the network knows is unknown.

        Raises:
            MissingFileError: an image is missing.
            UserError: the datalist has no labels or none of the classes, lets classes occur together that the network
                takes to exclude each other (or the reverse), or has no image in the split.
        """
        if split not in LABELLED_SPLITS:
            raise UserError(f"{self.path} has no labelled split {split!r}: use {', '.join(LABELLED_SPLITS)}.")
        classes = list(self.labels if classes is None else classes)
        exclusive = self.exclusive if exclusive is None else exclusive
        self._check_labels(split, classes, exclusive)
        items = [
            item for item, own in zip(self.items(split), self.content.get(split, ()), strict=True) if "label" in own
        ]
        if not items and not may_be_empty:
            raise UserError(f"{self.path} has no image in {split}: name another split, or prepare the images anew.")
        if classes != self.labels:
            for item in items:
                item["label"] = _reordered(dict(zip(self.labels, item["label"], strict=True)), classes, exclusive)
        return items

    def _check_labels(self, split: str, classes: Sequence[str], exclusive: bool) -> None:
        """Hold the labels against a network's classes."""
        if not self.labels:
            raise UserError(f"{self.path} has no labels: prepare the images again with a table (--csv).")
        unknown = [label for label in self.labels if label not in classes]
        lacking = [name for name in classes if name not in self.labels]
        labels, names = ", ".join(self.labels), ", ".join(classes)
        if len(unknown) == len(self.labels):
            raise UserError(f"{self.path} has the labels {labels}, and the network knows none of them but {names}.")
        if unknown:
            logger.warning("Of %s in %s the network knows no %s: left out.", split, self.path, ", ".join(unknown))
        if lacking:
            logger.warning("In %s of %s there is no %s: unknown throughout.", split, self.path, ", ".join(lacking))
        if exclusive != self.exclusive:
            words = {True: "exclude each other", False: "may occur together"}
            raise UserError(
                f"The network's classes ({names}) {words[exclusive]}, and the labels of {self.path} ({labels}) "
                f"{words[self.exclusive]}: probabilities of the one kind cannot be held against the other."
            )


def _reordered(of_label: Mapping[str, float], classes: Sequence[str], exclusive: bool) -> np.ndarray:
    label = np.array([of_label.get(name, np.nan) for name in classes], dtype=np.float32)
    if exclusive:  # whoever has one of the classes has none of the others, also of those that the datalist lacks
        label = np.where(label == 1, 1, 0) if (label == 1).any() else np.full_like(label, np.nan)
    return label.astype(np.float32)


def whole_parts(classes: Sequence[str], contains: Mapping[str, Sequence[str]]) -> dict[int, list[int]]:
    """The numbers of the classes that make up a class, by its number, as `medssl.transforms.known_targets` takes them.

    Args:
        classes: names of the C classes.
        contains: class → the classes that make it up; what is not all among ``classes`` is left out.
    """
    number = {name: place for place, name in enumerate(classes)}
    known = {whole: parts for whole, parts in contains.items() if {whole, *parts} <= number.keys()}
    return {number[whole]: [number[part] for part in parts] for whole, parts in known.items()}


def check_classes(place: str, classes: Any, contains: Any) -> None:
    """Whether these can be the classes of masks, and what they contain.

    Args:
        place: where they stand, for the message.
        classes: should be a list of names.
        contains: should be a mapping of names to lists of names, none of which contains itself.

    Raises:
        UserError: they cannot.
    """
    if not isinstance(classes, list) or not all(isinstance(name, str) and name for name in classes):
        raise UserError(f"{place}: classes are names, that is text, and not {classes!r}.")
    if len(set(classes)) != len(classes):
        raise UserError(f"{place}: a name occurs twice in classes {classes}.")
    if len(classes) > MOST_CLASSES:
        raise UserError(
            f"{place}: masks hold at most {MOST_CLASSES} classes, and there are {len(classes)}: leave some out."
        )
    if not isinstance(contains, dict) or not all(isinstance(parts, list) and parts for parts in contains.values()):
        raise UserError(f"{place}: contains is {contains!r}; write class: [the classes that make it up].")
    for whole, parts in contains.items():
        if unknown := [name for name in (whole, *parts) if name not in classes]:
            raise UserError(
                f"{place}: contains names {unknown[0]!r}, which is none of the classes {', '.join(classes)}."
            )
    try:
        TopologicalSorter(contains).prepare()
    except CycleError as error:
        raise UserError(f"{place}: in contains, {' is in '.join(error.args[1])}: nothing contains itself.") from error


def _plain_item(item: Mapping[str, Any], folder: str) -> dict[str, Any]:
    plain = {key: value for key, value in item.items() if key != "label"}
    plain["image"] = _relative(str(item.get("image", "")), folder)
    if "mask" in item:
        plain |= {"mask": _relative(str(item["mask"]), folder), "outlined": list(item.get("outlined", ()))}
    label = item.get("label")
    if label is not None:
        values = label.tolist() if isinstance(label, np.ndarray) else label
        plain["label"] = [_plain_value(value) for value in values]
    return plain


def _relative(image: str, folder: str) -> str:
    """The path as seen from the folder, with slashes."""
    if not image:
        return ""
    image = os.path.normpath(image)
    if image.startswith(folder + os.sep):  # `os.path.relpath` for all doubles the time of a large datalist
        image = image[len(folder) + 1 :]
    elif os.path.isabs(image):
        with contextlib.suppress(ValueError):  # another drive under Windows: no relative path leads there
            image = os.path.relpath(image, folder)
    return image.replace(os.sep, "/")


def _plain_value(value: Any) -> Any:
    if value is None or value != value:  # NaN
        return None
    return int(value) if value in (0, 1) else value


def _refuse_constant(name: str) -> NoReturn:
    raise UserError(f"{name} is no JSON; an unknown label is null")


def _check(path: Path, content: Any) -> None:
    """Hold the datalist to its rules; one pass, so 10^5 rows take well under a second."""
    labels = content.get("labels", [] if content.get("classes") else None) if isinstance(content, dict) else None
    if not isinstance(labels, list):
        raise UserError(f'{path} has no list "labels": is it a datalist?')
    if not all(isinstance(name, str) and name for name in labels):
        raise UserError(f"{path}: labels are names, that is text, and not {labels}.")
    if len(set(labels)) != len(labels):
        raise UserError(f"{path}: a name occurs twice in labels {labels}.")
    exclusive = content.get("exclusive", False)
    if not isinstance(exclusive, bool):
        raise UserError(f"{path}: exclusive is {exclusive!r}; it must be true or false.")
    check_classes(str(path), content.get("classes", []), content.get("contains", {}))
    classes = frozenset(content.get("classes", []))
    split_of_patient: dict[str, str] = {}
    place_of_image: dict[str, str] = {}
    for split in ("validation", "test", "training", "unlabeled"):
        items = content.get(split, [])
        if not isinstance(items, list):
            raise UserError(f"{path}: {split} is no list of images.")
        for row, item in enumerate(items):
            place = f"{path}, {split}[{row}]"
            _check_item(place, item, len(labels), split != "unlabeled", exclusive)
            _check_mask(place, item, classes, split != "unlabeled")
            other = place_of_image.setdefault(item["image"], place)
            if other is not place:
                raise UserError(f"{place}: the image {item['image']} is listed already at {other}.")
            before = split_of_patient.setdefault(item["patient"], split)
            if before != split and (before, split) != ("training", "unlabeled"):
                raise UserError(f"{place}: the patient {item['patient']!r} is in {before} too; keep it in one split.")


def _check_item(place: str, item: Any, count_labels: int, labelled: bool, exclusive: bool) -> None:
    if not isinstance(item, dict):
        raise UserError(f'{place} is no entry of the form {{"image": …, "patient": …}}.')
    for key in ("image", "patient"):
        if not isinstance(item.get(key), str) or not item[key]:
            raise UserError(f'{place} has no "{key}": give it as text.')
    if not labelled or ("mask" in item and "label" not in item):
        return
    label = item.get("label")
    if not isinstance(label, list) or len(label) != count_labels:
        count = len(label) if isinstance(label, list) else "no"
        raise UserError(
            f"{place} has {count} label values, and there are {count_labels} labels; unknown ones are null."
        )
    for value in label:
        if value not in (None, 0, 1):
            raise UserError(f"{place} has the label value {value!r}: a label is 1, 0 or null (unknown).")
    if exclusive and not (
        label.count(None) == count_labels or (label.count(1) == 1 and label.count(0) == count_labels - 1)
    ):
        raise UserError(f"{place}: labels exclude each other, so exactly one is 1 and the rest 0, or all are null.")


def _check_mask(place: str, item: Mapping[str, Any], classes: frozenset[str], labelled: bool) -> None:
    if "mask" not in item:
        if "outlined" in item:
            raise UserError(f'{place} says what is outlined and has no "mask": give it, or leave both out.')
        return
    if not labelled:
        raise UserError(f"{place} has a mask: put the image into {', '.join(LABELLED_SPLITS)}, or leave the mask out.")
    if not isinstance(item["mask"], str) or not item["mask"]:
        raise UserError(f"{place} has the mask {item['mask']!r}: give the path of its file as text.")
    outlined = item.get("outlined")
    if not isinstance(outlined, list) or not outlined:
        raise UserError(f'{place} has a mask: list in "outlined" the classes that were outlined in it.')
    for name in outlined:
        if not isinstance(name, str) or name not in classes:
            known = ", ".join(sorted(classes)) or "there are none"
            raise UserError(f"{place} has {name!r} outlined, which is none of the classes ({known}).")
    if len(set(outlined)) != len(outlined):
        raise UserError(f"{place}: a name occurs twice in outlined {outlined}.")
