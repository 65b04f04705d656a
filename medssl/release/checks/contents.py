"""What lies in a bundle: all that the model zoo asks for, and nothing that stays at home."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml
from monai.apps.utils import SUPPORTED_HASH_TYPES, check_hash

from medssl.errors import UserError
from medssl.networks import load_state_dict

from .bundle import METADATA, MODEL, WEIGHT_SUFFIXES, Bundle, Note, quiet

LARGEST_FILE = 25_000_000
"""Bytes of the largest file that the zoo's repository takes."""
LARGE_FILES = ("large_files.yml", "large_files.yaml", "large_files.json")
SECTIONS = (
    *("Authors", "Tags", "Model Description", "Data", "Performance", "MONAI Bundle Commands"),
    *("System Configuration", "Limitations", "References", "License"),
)
"""Headings of the zoo's template for `docs/README.md`."""
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
    """Name the files that are missing or empty; of the metadata another check speaks."""
    for file in ("LICENSE", "docs/README.md", *(() if bundle.is_training else ("docs/data_license.txt",))):
        if file not in bundle.files:
            yield f"{file} is missing."
        elif not (bundle.folder / file).read_bytes().strip():
            yield f"{file} is empty."
    if bundle.is_training:
        return
    if not bundle.config_file("inference"):
        yield "configs/inference.yaml (or .json) is missing: it says how the model is applied."
    if not bundle.has_weights and MODEL not in _listed(bundle):
        yield f"{MODEL} is missing: put the weights there, or name their address in large_files.yml."


def nothing_foreign(bundle: Bundle) -> Iterator[str]:
    """Name the files that should not be passed on."""
    for file in bundle.files:
        if (bundle.folder / file).is_symlink():
            yield f"{file} is a link: put the file itself there, for others do not have what it points to."
        reasons = (reason for pattern, reason in FOREIGN.items() if re.search(pattern, file, re.IGNORECASE))
        if reason := next(reasons, None):
            yield f"{file} {reason}: take it out."


def large_files(bundle: Bundle) -> Iterator[str]:
    """Hold files over 25 MB and `large_files.yml` against each other; Hugging Face takes files of any size."""
    listed = _listed(bundle)
    if not listed and _for_hub(bundle):
        return
    for file in bundle.files:
        size = (bundle.folder / file).stat().st_size
        if size > LARGEST_FILE and file not in listed:
            yield (
                f"{file} has {size / 1e6:.0f} MB, and the zoo takes files up to 25 MB: name its address and hash in "
                "large_files.yml."
            )
    for file, entry in listed.items():
        address = urlsplit(str(entry.get("url", ""))).netloc
        kind, expected = str(entry.get("hash_type", "")), str(entry.get("hash_val", ""))
        if not address:
            yield f'large_files.yml gives no "url" for {file}.'
        elif address.endswith(".invalid"):
            yield Note(f"large_files.yml has a placeholder as the address of {file}: fill it in before you publish.")
        with quiet():
            if not expected or kind not in SUPPORTED_HASH_TYPES:
                known = ", ".join(SUPPORTED_HASH_TYPES)
                yield f'large_files.yml gives no "hash_val" and "hash_type" ({known}) for {file}.'
            elif file in bundle.files and not check_hash(bundle.folder / file, expected.lower(), kind):
                yield f"large_files.yml gives {file} another {kind} than the file has: write the entry anew."


def _for_hub(bundle: Bundle) -> bool:
    try:
        return METADATA in bundle.files and bool(dict(bundle.metadata.get("export") or {}).get("hub"))
    except ValueError:  # that they are no JSON is what another check says
        return False


def _listed(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Path → entry of `large_files.yml`; empty where there is none."""
    name = next((file for file in LARGE_FILES if file in bundle.files), None)
    if name is None:
        return {}
    try:
        entries = yaml.safe_load((bundle.folder / name).read_text(encoding="utf-8"))["large_files"]
        return {str(entry["path"]): dict(entry) for entry in entries}
    except (yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise UserError(f'{name} is no list "large_files" of entries with "path" and "url".') from error


def readme_sections(bundle: Bundle) -> Iterator[str]:
    """Name the sections that `docs/README.md` lacks."""
    if "docs/README.md" not in bundle.files:
        return
    text = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8", errors="replace")
    headings = {heading.strip().lower() for heading in re.findall(r"^#+ +(.+?)#*$", text, re.MULTILINE)}
    if not re.search(r"^# +\S", text, re.MULTILINE):
        yield "docs/README.md has no title (# …)."
    missing = [section for section in SECTIONS if section.lower() not in headings]
    if missing:
        yield f"docs/README.md lacks the sections {', '.join(missing)} of the zoo's template."


def loadable_weights(bundle: Bundle) -> Iterator[str]:
    """Name weights that are no plain state dict by `torch.load(…, weights_only=True)`, or not finite."""
    for file in (file for file in bundle.files if file.endswith(WEIGHT_SUFFIXES)):
        state = load_state_dict(bundle.folder / file)
        bad = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
        if not state:
            yield f"{file} holds no weights."
        elif bad:
            yield f"{file} is not finite in {len(bad)} of its {len(state)} weights, the first is {bad[0]}."
