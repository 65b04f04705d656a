"""What travels in an exported bundle's ``scripts/`` beside the readers: written for there, kept and tested here.

These modules import MONAI, and of ours only modules that travel too (see ``medssl.release.travelling``).
"""
