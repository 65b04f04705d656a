"""Is a bundle fit to be passed on? Every check of the model zoo without a network, and those of our own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medssl.errors import MissingFileError, UserError

from .checks import (
    IDENTIFIERS,
    MUST_BE_READABLE,
    READING,
    READING_CONFIGS,
    RUNNING,
    RUNNING_WEIGHTS,
    WEIGHTS,
    Bundle,
    Check,
    Note,
    run_names,
)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        check: what is not so, such as "the configs can be read".
        message: what is wrong, where, and what to do, in one sentence.
    """

    check: str
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Verification:
    """What came of verifying a bundle.

    Attributes:
        folder: of the bundle.
        kind: ``training`` (it trains, may need medssl, and carries no weights) or ``exported`` (it needs MONAI alone).
        passed: what was found to be so.
        findings: what was not.
        left_out: what could not be looked at, and why.
        notes: what should be known, and is no fault.
    """

    folder: Path
    kind: str
    passed: list[str]
    findings: list[Finding]
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
    bundle = Bundle(folder, None if run is None else run_names(Path(run)))
    result = Verification(folder, "training" if bundle.is_training else "exported", [], [], [], [])
    _check(bundle, {**READING, **(WEIGHTS if bundle.has_weights else {})}, result)
    if bundle.names is None:
        _leave_out(result, IDENTIFIERS, "give the run with --run")
    else:
        _check(bundle, IDENTIFIERS, result)
    if any(finding.check in MUST_BE_READABLE for finding in result.findings):
        _leave_out(result, READING_CONFIGS, "the configs must be readable first")
    else:
        _check(bundle, READING_CONFIGS, result)
    running = {**RUNNING, **(RUNNING_WEIGHTS if bundle.has_weights else {})}
    if not bundle.has_weights:
        _leave_out(result, (*WEIGHTS, *RUNNING_WEIGHTS), "there are no weights in the bundle")
    while running and result.ok:  # each builds on what the one before has shown
        name = next(iter(running))
        _check(bundle, {name: running.pop(name)}, result)
    if running:
        _leave_out(result, running, "the configs are code, which runs only when nothing else is wrong")
    return result


def _leave_out(result: Verification, checks: Iterable[str], reason: str) -> None:
    result.left_out.append(f"{'; '.join(checks)} ({reason})")


def _check(bundle: Bundle, checks: Mapping[str, Check], result: Verification) -> None:
    for name, check in checks.items():
        said = _said(bundle, check)
        wrong = [sentence for sentence in said if not isinstance(sentence, Note)]
        result.findings.extend(Finding(name, sentence) for sentence in wrong)
        result.notes.extend(sentence for sentence in said if isinstance(sentence, Note))
        if not wrong:
            result.passed.append(name)


def _said(bundle: Bundle, check: Check) -> list[str]:
    """The sentences of a check; one that breaks off says so, for a bundle can be wrong in ways that nobody foresaw."""
    said: list[str] = []
    try:
        said.extend(check(bundle))
    except Exception as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        said.append(words if isinstance(error, UserError) else f"The check broke off: {type(error).__name__}: {words}")
    # Whoever reads the sentence knows the folder.
    return [type(sentence)(sentence.replace(f"{bundle.folder}/", "")) for sentence in said]
