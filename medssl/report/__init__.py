"""The report of runs: what is read, how it is told, what the page looks like."""

from .write import write_report

__all__ = ["write_report"]
