"""Where an export goes: beside what others put there, in place of an earlier export, and never over anything else."""

import json
import os
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from medssl.errors import UserError
from medssl.files import whole_file

from .checks.bundle import METADATA, Bundle

EXPORT = "export"
"""Entry of the metadata that marks a bundle as exported: ``medssl`` (the version) and ``files`` (what was written)."""
ARCHIVE_COMMENT = b"exported by medssl"
ALREADY_COMPRESSED = (".pt", ".ts", ".onnx")  # as good as: weights are noise


def earlier_export(folder: Path) -> dict | None:
    """The metadata of the export that lies in a folder; None where there is no folder, or an empty one.

    Raises:
        UserError: something else is there.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    with suppress(OSError, ValueError, TypeError):
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        if EXPORT in metadata:
            return metadata
    raise UserError(f"{folder} holds something that is no export of medssl: name a new folder.")


def check_archive(path: Path) -> None:
    """Raise `UserError` when there is a file that is no archive of an export."""
    if not path.exists():
        return
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        if archive.comment == ARCHIVE_COMMENT:
            return
    raise UserError(f"{path} is in the way of the archive: move it, or name another folder.")


def place(new: Path, folder: Path) -> list[str]:
    """Move the files of a new export to where they belong, one by one; those of an earlier one go.

    Args:
        new: folder of the new export, on the same disk.
        folder: where it belongs.

    Returns:
        The files, relative to the folder.

    Raises:
        UserError: a file is in the way that no export wrote; nothing is moved then.
    """
    before = (earlier_export(folder) or {EXPORT: {"files": []}})[EXPORT]["files"]
    files = Bundle(new).files
    for file in set(files) - set(before):
        if (folder / file).exists():
            raise UserError(f"{folder / file} is in the way, which no export wrote: move it, or name another folder.")
    # The metadata first: where this is stopped, the next export knows all files as those of an export.
    for file in sorted(files, key=lambda file: file != METADATA):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(new / file, folder / file)
    for file in set(before) - set(files):
        (folder / file).unlink(missing_ok=True)
    return files


def write_archive(folder: Path, files: Iterable[str], path: Path) -> None:
    """Write files of a folder into a zip, below the folder's name."""
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = ARCHIVE_COMMENT
        for file in files:
            kind = zipfile.ZIP_STORED if file.endswith(ALREADY_COMPRESSED) else zipfile.ZIP_DEFLATED
            archive.write(folder / file, f"{folder.name}/{file}", kind)
