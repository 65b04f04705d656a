"""The report of one or several runs as a page to read, to print and to hand on: ``report.html`` and ``report.md``.

It names no patient and no folder of the machine, and images by their hashes only. Its pictures show images of the
split, though.
"""

from collections.abc import Sequence
from pathlib import Path

from medssl.errors import UserError
from medssl.files import whole_file, write_text
from medssl.runs import Run, shown_path

from .curves import is_curve
from .page import Picture, Section, html, markdown
from .sections import comparison_sections, curve_section, run_sections


def write_report(runs: Sequence[str | Path], output: str | Path, before: Sequence[Section] = ()) -> Path:
    """Write ``report.html`` (one file that needs no other), ``report.md``, and the pictures as PNG files.

    Args:
        runs: folders of runs, fine-tuning or pre-training, of which each further fine-tuning is compared with the
            first; and of what `medssl curve` wrote.
        output: folder to write to.
        before: sections that stand before those of the runs.

    Returns:
        Path of ``report.html``.

    Raises:
        UserError: when there is no run, a folder is none, or a file in it is damaged. What a run has not done yet is
            no mistake: the page says so, with the command that does it.
    """
    if not runs:
        raise UserError("There is nothing to report on: give the folder of at least one run.")
    folders = [Path(path) for path in runs]
    named_folders = zip(_names(folders), folders, strict=True)
    found = {name: path if is_curve(path) else Run.read(path) for name, path in named_folders}
    named = {name: each for name, each in found.items() if isinstance(each, Run)}
    classifiers = {name: run for name, run in named.items() if not (run.is_pretraining or run.is_segmentation)}
    sections = [*before, *comparison_sections(classifiers)]
    for name, run in named.items():
        sections += run_sections(name, run)
    sections += [curve_section(name, path) for name, path in found.items() if isinstance(path, Path)]
    output = Path(output)
    for picture in (part for section in sections for part in section.parts if isinstance(part, Picture)):
        with whole_file(output / picture.file) as temporary:
            temporary.write_bytes(picture.png)
    title = f"Report: {', '.join(found)}" if len(found) < 3 else f"Report of {len(named)} runs"
    write_text(output / "report.md", markdown(title, sections))
    write_text(output / "report.html", html(title, sections))
    return output / "report.html"


def _names(folders: Sequence[Path]) -> list[str]:
    """What to call each run: its folder, with a number where two would be called the same."""
    names = [shown_path(folder) for folder in folders]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]
