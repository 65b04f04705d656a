"""Is a bundle fit to be passed on? Every check of the model zoo without a network, and those of our own."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from medssl.errors import MissingFileError, UserError

from .checks import configs, contents, identifiers, running
from .checks.bundle import Bundle, Note


class Need(Enum):
    """What a check needs, and why it is left out without."""

    RUN = "give the run with --run"
    WEIGHTS = "there are no weights in the bundle"
    READABLE = "the configs must be readable first"
    NOTHING_WRONG = "the configs are code, which runs only when nothing else is wrong"


class Check(NamedTuple):
    """A function that yields a sentence for everything that is wrong, or raises a `UserError`."""

    proves: str
    find: Callable[[Bundle], Iterable[str] | None]
    needs: tuple[Need, ...] = ()


READABLE = Check("metadata.json and the configs can be read", configs.readable)
TO_READ, TO_RUN = (Need.READABLE,), (Need.WEIGHTS, Need.NOTHING_WRONG)
CHECKS = (
    Check("all required files are there", contents.required_files),
    Check("nothing lies in it that others should not get", contents.nothing_foreign),
    Check("files over 25 MB are in large_files.yml", contents.large_files),
    Check("docs/README.md has the sections of the zoo's template", contents.readme_sections),
    READABLE,
    Check("metadata.json fits the schema and agrees with itself", configs.fits_schema, TO_READ),
    Check("no absolute path stands in any file", identifiers.absolute_paths),
    Check("weights load with weights_only=True and are finite", contents.loadable_weights, (Need.WEIGHTS,)),
    Check("no patient and no image of the run is named", identifiers.identifiers, (Need.RUN,)),
    Check("the configs have the ids of MONAI's tools (check_properties) and the zoo", configs.properties, TO_READ),
    Check("what is imported is listed", configs.imports, TO_READ),
    Check("every _target_ is there", running.targets, (Need.NOTHING_WRONG,)),
    Check("the weights fit network_def", running.weights_fit, TO_RUN),
    Check("the network takes and gives what the metadata say (verify_net_in_out)", running.shapes, TO_RUN),
    Check("TorchScript gives the same (ckpt_export)", running.torchscript, TO_RUN),
    Check("the inference runs on drawn images", running.inference_runs, TO_RUN),
)
"""In this order, for each builds on what those before it have shown."""


@dataclass(frozen=True)
class Verification:
    """What came of verifying a bundle.

    Attributes:
        folder: of the bundle.
        kind: `training` (it trains, may need medssl, and carries no weights) or `exported` (it needs MONAI alone).
        passed: what was found to be so.
        findings: what was not: what is wrong, where, and what to do, a sentence each.
        left_out: what could not be looked at, and why.
        notes: what should be known, and is no fault.
    """

    folder: Path
    kind: str
    passed: list[str]
    findings: list[str]
    left_out: list[str]
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def __str__(self) -> str:
        lines = [f"{self.folder}, verified as {'a training' if self.kind == 'training' else 'an exported'} bundle"]
        lines += [f"  passed: {sentence}" for sentence in self.passed]
        lines += [f"  FAILED: {finding}" for finding in self.findings]
        lines += [f"  left out: {sentence}" for sentence in self.left_out]
        lines += [f"  note: {sentence}" for sentence in self.notes]
        count = len(self.findings)
        lines.append("Nothing is wrong." if self.ok else f"{count} {'thing is' if count == 1 else 'things are'} wrong.")
        return "\n".join(lines)


def verify_bundle(folder: str | Path, run: str | Path | None = None) -> Verification:
    """Check a bundle offline.

    The configs of a bundle are code. They are run only when everything that can be read without running them is in
    order, and even then only those of a bundle that you trust should be.

    Args:
        folder: of the bundle.
        run: output_dir of the run that it was exported from: the names of its patients and images are searched for in
            every file. None leaves this search out.

    Returns:
        What was found.

    Raises:
        MissingFileError: there is no such folder.
        UserError: the run is none, or does not know its images any more.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise MissingFileError(f"There is no bundle {folder}: give its folder (unpack an archive first).")
    if run is not None and not Path(run).is_dir():
        raise MissingFileError(f"There is no run {run}.")
    bundle = Bundle(folder, None if run is None else identifiers.run_names(Path(run)))
    result = Verification(folder, "training" if bundle.is_training else "exported", [], [], [], [])
    left_out: dict[Need, list[str]] = {need: [] for need in Need}
    for check in CHECKS:
        unmet = {
            Need.RUN: bundle.names is None,
            Need.WEIGHTS: not bundle.has_weights,
            Need.READABLE: READABLE.proves not in result.passed,
            Need.NOTHING_WRONG: not result.ok,
        }
        if need := next((need for need in check.needs if unmet[need]), None):
            left_out[need].append(check.proves)
            continue
        said = _said(bundle, check)
        wrong = [sentence for sentence in said if not isinstance(sentence, Note)]
        result.findings.extend(wrong)
        result.notes.extend(sentence for sentence in said if isinstance(sentence, Note))
        result.passed.extend([] if wrong else [check.proves])
    result.left_out.extend(f"{'; '.join(names)} ({need.value})" for need, names in left_out.items() if names)
    return result


def _said(bundle: Bundle, check: Check) -> list[str]:
    """The sentences of a check; one that breaks off says so, for a bundle can be wrong in ways that nobody foresaw."""
    said: list[str] = []
    try:
        said.extend(check.find(bundle) or ())
    except UserError as error:
        said.append(str(error))
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        said.append(f"The check broke off: {type(error).__name__}: {reason}")
    # Whoever reads the sentence knows the folder.
    return [type(sentence)(sentence.replace(f"{bundle.folder}/", "")) for sentence in said]
