"""Procedural chest radiographs and head CTs with known findings: data without patients, for tests, demo and benchmarks.

They are drawn, not learnt: good for checking that code works and that a method learns, no substitute for clinical data.
"""

from .chest_findings import CHEST_FINDINGS
from .head import HEAD_CLASSES, draw_head, draw_head_masks
from .head_bleedings import HEAD_FINDINGS
from .radiograph import draw_radiograph
from .scanner import SCANNERS, Scanner
from .segmented import write_segmented_heads
from .write import write_phantoms

__all__ = [
    "CHEST_FINDINGS",
    "HEAD_CLASSES",
    "HEAD_FINDINGS",
    "SCANNERS",
    "Scanner",
    "draw_head",
    "draw_head_masks",
    "draw_radiograph",
    "write_phantoms",
    "write_segmented_heads",
]
