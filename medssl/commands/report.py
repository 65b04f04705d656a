"""``python -m medssl report``: one page on runs."""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to the commands."""
    report = commands.add_parser("report", help="one page on what came of one run, or of several beside each other")
    report.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="output_dir of a fine-tuning or pre-training")
    report.add_argument(
        "--output", type=Path, help="folder for report.html, report.md and the pictures (default: RUN/report)"
    )
    report.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    from medssl.report import write_report

    print(f"The report: {write_report(options.runs, options.output or options.runs[0] / 'report')}")
