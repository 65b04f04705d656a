"""From raw folders and tables to one checked datalist with its store: what ``medssl prepare`` does."""

from .prepare import prepare
from .summary import Summary

__all__ = ["Summary", "prepare"]
