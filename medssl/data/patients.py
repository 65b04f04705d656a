"""Whose image it is: a patient's number however it is spelled, what a path tells of it, and names that tell nothing."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from medssl.readers.suffixes import without_suffix

from .tables import patient_in_path

PATIENT_WORDS = "patient|pat|pt|pid|subject|subj|sub"
_NUMBER = re.compile(rf"(?:(?:{PATIENT_WORDS}|p)[-_.# ]*)?0*(\d+)(?:\.0+)?")
_NEEDLESS = re.compile(r"(?<![\d.])0+(?=\d)|(?<!\d) | (?!\d)")  # leading zeros; blanks, unless they part two numbers
_SAYS_PATIENT = re.compile(rf"(?:{PATIENT_WORDS})[-_ ]?\d+(?![^\W_])", re.IGNORECASE)
_GENERIC = """
    acq acquisition all anat ap axial bone cbct chest coronal cr ct cta cxr data dataset dcm dicom dwi dx exam
    export file files flair folder frontal head im image images imaging img imgs input lateral left ll lung mask
    masks mr mri neg nifti nii normal orig original pa pet pneumonia png pos raw recon right rl sagittal scan scans
    se segmentation segmentations ser series ses session slice slices sr st std studies study t test thorax thx
    train training unlabeled val valid validation view visit vol volume volumes w x xray
"""
_LIKE_PATIENT = re.compile(r"\d{4}|[^\W\d].*\d|\d.*[^\W\d]")
GENERIC_WORDS = frozenset(_GENERIC.split())
"""Words of file and folder names that tell nobody apart."""
FEW = 8  # images beside each other that may be one patient's
_WORD = re.compile(r"[^\W\d_]+")
_SEPARATORS = "_. -"


def normal_patient(number: str) -> str:
    """A patient's number in the one spelling by which numbers of a site are compared.

    One and the same are numbers that differ in leading zeros, a ``.0`` that a spreadsheet added, upper and lower case,
    Unicode form, invisible characters, blanks (but between two numbers), or a word for patient before a mere number
    (p, pt, pat, patient, pid, sub, subj, subject): ``4``, ``0004``, ``4.0``, ``P004`` and ``patient 4``; ``ab 07`` and
    ``AB7``. Different are those with other letters or signs: ``4``, ``4a``, ``case 4`` and ``4-1``.
    """
    text = unicodedata.normalize("NFKC", number)
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf").casefold()
    text = " ".join(text.split())
    mere = _NUMBER.fullmatch(text)
    return mere[1] if mere else _NEEDLESS.sub("", text)


def hash_patient(salt: str, number: str, site: str = "") -> str:
    """A short name for a patient (of a site) that nobody without the salt can trace back: 16 hexadecimal digits.

    Other spellings of a number, see `normal_patient`, have the same name.
    """
    text = f"{site}/{normal_patient(number)}" if site else normal_patient(number)
    name = text.encode("utf-8", "surrogateescape")  # file names need not be UTF-8
    return hashlib.blake2b(name, key=hashlib.blake2b(salt.encode()).digest(), digest_size=8).hexdigest()


def patient_places(paths: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """Where in its paths a site writes the patient's number, learned from images whose patients a table names.

    Args:
        paths: of images, below the folder of images.
        numbers: the patients of these images.

    Returns:
        Places for `patients_at`, folders first; none where the paths tell no patient.
    """
    if len({normal_patient(number) for number in numbers}) < 2:
        return []
    step = -(-len(paths) // 1000)  # enough to tell chance from rule
    pairs = list(zip(paths, numbers, strict=True))[::step]
    hits = Counter(
        place
        for path, number in pairs
        for place, text in _parts(path)
        if text and normal_patient(text) == normal_patient(number)
    )
    return [place for place, count in hits.items() if count >= 0.95 * len(pairs)]


def patients_at(path: str, places: Iterable[str]) -> list[str]:
    """What stands in a path at places where a site writes the patient's number, see `patient_places`."""
    parts = dict(_parts(path))
    return [parts[place] for place in places if parts.get(place)]


def _parts(path: str) -> Iterator[tuple[str, str]]:
    """What of a path may be a patient's number, with its place, outermost first."""
    *folders, name = path.split("/")
    yield from ((f"folder {depth}", folder) for depth, folder in enumerate(folders))
    yield from ((f"folder -{height}", folder) for height, folder in enumerate(reversed(folders), 1))
    stem = without_suffix(name)
    words = re.split(f"[{_SEPARATORS}]+", stem)
    yield from ((f"word {number}", word) for number, word in enumerate(words))
    yield from ((f"word -{number}", word) for number, word in enumerate(reversed(words), 1))
    for sign in _SEPARATORS:
        yield f"before the first {sign}", stem.partition(sign)[0]
        yield f"before the last {sign}", stem.rpartition(sign)[0]
        yield f"after the first {sign}", stem.partition(sign)[2]
    yield "name", stem


def said_patient(path: str, folder: Path) -> str:
    """The patient that a path names by a public data set's rule, or in words as ``sub-01/anat/T1.nii``; "" if none.

    Args:
        path: of an image, below the folder.
        folder: of images, which may lie below the one that names the patient.
    """
    if known := patient_in_path(f"{folder.as_posix()}/{path}"):
        return known
    *folders, name = path.split("/")
    matches = map(_SAYS_PATIENT.match, (*folders, without_suffix(name)))
    return next((match[0] for match in matches if match), "")


def folders_like_patients(path: str) -> list[str]:
    """Folders of a path that may be called after a patient: with letters and digits, or with four digits or more."""
    return [name for name in path.split("/")[:-1] if _LIKE_PATIENT.search(name)]


def telling_names(paths: Sequence[str]) -> list[str]:
    """For each image of a folder, the name from which its patient is taken where nothing else says who it is.

    That of the file; but where it tells nobody apart (``ct.nii.gz`` or ``view1.jpg`` in a folder for each patient,
    ``IM_0001`` among few), that of the nearest folder which does; and the whole path where there is none.

    Args:
        paths: below the folder of images, of all images there.
    """
    split = [(path.rpartition("/")[0], without_suffix(path)) for path in paths]
    beside = Counter(folder for folder, _ in split)
    spread = Counter(name for _, name in set(split))
    return [_telling_name(folder, name, beside[folder], spread[name]) for folder, name in split]


def _telling_name(folder: str, name: str, beside: int, spread: int) -> str:
    """Of an image with ``beside`` images in its folder and files of its name in ``spread`` folders."""
    words = _WORD.findall(name.casefold())
    if not GENERIC_WORDS.issuperset(words):
        alike = spread > 2 and spread > 2 * beside
    elif any(sign.isdigit() for sign in name):
        alike = beside <= max(FEW, spread)
    else:
        alike = True
    if not alike:
        return name
    for above in reversed(folder.split("/")):
        words = _WORD.findall(above.casefold())
        if above and not (words and GENERIC_WORDS.issuperset(words)):
            return above
    return name if spread == 1 else f"{folder}/{name}"
