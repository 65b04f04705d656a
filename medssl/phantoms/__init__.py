"""Procedural chest radiographs and head CTs with known findings: data without patients, for tests, demo and benchmarks.

They are drawn, not learnt: good for checking that code works and that a method learns, no substitute for clinical data.
"""

from medssl.phantoms.chest_findings import CHEST_FINDINGS
from medssl.phantoms.head import draw_head
from medssl.phantoms.head_bleedings import HEAD_FINDINGS
from medssl.phantoms.radiograph import draw_radiograph
from medssl.phantoms.write import write_phantoms

__all__ = ["CHEST_FINDINGS", "HEAD_FINDINGS", "draw_head", "draw_radiograph", "write_phantoms"]
