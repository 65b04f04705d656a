"""What lies in a bundle: all that the model zoo asks for, and nothing that stays at home."""

import hashlib
import re
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import yaml

from medssl.errors import UserError

from .bundle import Bundle, Note

LARGEST_FILE = 25_000_000
"""Bytes of the largest file that the zoo's repository takes."""
LARGE_FILES = ("large_files.yml", "large_files.yaml", "large_files.json")
SECTIONS = (
    "Authors",
    "Tags",
    "Model Description",
    "Data",
    "Performance",
    "MONAI Bundle Commands",
    "System Configuration",
    "Limitations",
    "References",
    "License",
)
"""Headings of the zoo's template for ``docs/README.md``."""
FOREIGN = {
    r"(^|/)__pycache__/|\.pyc$": "is left over from Python",
    r"(^|/)(\.DS_Store|\.git|\.ipynb_checkpoints|\.idea|\.vscode)(/|$)": "belongs to a tool, not to the bundle",
    r"^(eval|runs|data)/": "is data or the outcome of a run",
    r"(^|/)events\.out\.tfevents": "is the log of a training",
    r"(^|/)(checkpoint[^/]*|backbone)\.pt$": "is the state of a training",
    r"\.(dcm|dicom|ima|nii|nii\.gz|mhd|nrrd|npz|npy|b2nd|h5)$": "is an image or made of images",
    r"\.(csv|tsv|xlsx|parquet)$": "is a table, and tables name patients",
}
"""Pattern of a path → why it does not belong in a bundle that others get."""


def required_files(bundle: Bundle) -> Iterator[str]:
    """Name the files that are missing; of the metadata another check speaks."""
    needed = ["LICENSE", "docs/README.md"]
    if not bundle.is_training:
        needed += ["docs/data_license.txt"]
        if not bundle.config_file("inference"):
            yield "configs/inference.yaml (or .json) is missing: it says how the model is applied."
        if not bundle.has_weights and "models/model.pt" not in listed_large_files(bundle):
            yield "models/model.pt is missing: put the weights there, or name their address in large_files.yml."
    yield from (f"{file} is missing." for file in needed if file not in bundle.files)
    for file in ("LICENSE", "docs/README.md"):
        if file in bundle.files and not (bundle.folder / file).read_bytes().strip():
            yield f"{file} is empty."


def nothing_foreign(bundle: Bundle) -> Iterator[str]:
    """Name the files that should not be passed on."""
    for file in bundle.files:
        if (bundle.folder / file).is_symlink():
            yield f"{file} is a link: put the file itself there, for others do not have what it points to."
        for pattern, reason in FOREIGN.items():
            if re.search(pattern, file, re.IGNORECASE):
                yield f"{file} {reason}: take it out."
                break


def archives_whole(bundle: Bundle) -> Iterator[str]:
    """Name archives that cannot be read to their end."""
    for file in bundle.files:
        if PurePosixPath(file).suffix not in (".zip", ".ts", ".pt"):
            continue
        path = bundle.folder / file
        if not zipfile.is_zipfile(path):
            if not file.endswith(".pt"):  # weights may have torch's older form
                yield f"{file} is a damaged archive: write it again."
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                member = archive.testzip()
        except zipfile.BadZipFile:
            member = "its directory"
        if member:
            yield f"{file} is a damaged archive ({member} is not what was written): write it again."


def large_files(bundle: Bundle) -> Iterator[str]:
    """Hold files over 25 MB and ``large_files.yml`` against each other."""
    listed = listed_large_files(bundle)
    for file in bundle.files:
        size = (bundle.folder / file).stat().st_size
        if size > LARGEST_FILE and file not in listed:
            yield (
                f"{file} has {size / 1e6:.0f} MB, and the zoo takes files up to 25 MB: name its address and hash in "
                "large_files.yml."
            )
    for file, entry in listed.items():
        url = urlsplit(str(entry.get("url", "")))
        if not url.netloc:
            yield f'large_files.yml gives no "url" for {file}.'
        elif url.netloc.endswith(".invalid"):
            yield Note(f"large_files.yml has a placeholder as the address of {file}: fill it in before you publish.")
        yield from _wrong_hash(bundle, file, entry)


def listed_large_files(bundle: Bundle) -> dict[str, dict]:
    """Path → entry of ``large_files.yml``; empty where there is none.

    Raises:
        UserError: it is damaged.
    """
    name = next((file for file in LARGE_FILES if file in bundle.files), None)
    if name is None:
        return {}
    try:
        entries = yaml.safe_load((bundle.folder / name).read_text(encoding="utf-8"))["large_files"]
        return {str(entry["path"]): dict(entry) for entry in entries}
    except (yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise UserError(f'{name} is no list "large_files" of entries with "path" and "url".') from error


def _wrong_hash(bundle: Bundle, file: str, entry: dict) -> Iterator[str]:
    kind, expected = str(entry.get("hash_type", "")), str(entry.get("hash_val", ""))
    if kind not in ("md5", "sha1", "sha256", "sha512") or not expected:
        yield f'large_files.yml gives no "hash_val" and "hash_type" (md5, sha1, sha256, sha512) for {file}.'
    elif file in bundle.files:
        with (bundle.folder / file).open("rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
        if found != expected.lower():
            yield f"large_files.yml gives {file} another {kind} than the file has: write the entry anew."


def readme_sections(bundle: Bundle) -> Iterator[str]:
    """Name the sections that ``docs/README.md`` lacks."""
    if "docs/README.md" not in bundle.files:
        return
    text = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8", errors="replace")
    headings = {heading.strip().lower() for heading in re.findall(r"^#+ +(.+?)#*$", text, re.MULTILINE)}
    if not re.search(r"^# +\S", text, re.MULTILINE):
        yield "docs/README.md has no title (# …)."
    missing = [section for section in SECTIONS if section.lower() not in headings]
    if missing:
        yield f"docs/README.md lacks the sections {', '.join(missing)} of the zoo's template."
