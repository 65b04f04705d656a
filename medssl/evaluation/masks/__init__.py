"""Masks of segmentations: how they are found, judged, shown and written."""
