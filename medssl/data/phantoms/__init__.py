"""Procedural chest radiographs and head CTs with known findings: data without patients, for tests, demo and benchmarks.

They are drawn, not learnt: good for checking that code works and that a method learns, no substitute for clinical data.
"""

from medssl.data.phantoms.chest_findings import CHEST_FINDINGS
from medssl.data.phantoms.head import draw_head
from medssl.data.phantoms.head_bleedings import HEAD_FINDINGS
from medssl.data.phantoms.radiograph import draw_radiograph
from medssl.data.phantoms.write import write_phantoms

__all__ = ["CHEST_FINDINGS", "HEAD_FINDINGS", "draw_head", "draw_radiograph", "write_phantoms"]
