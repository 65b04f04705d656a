"""Self-supervised pre-training and partially labelled fine-tuning of chest X-rays (2D) and CT (3D), on top of MONAI.

Importing the package imports nothing heavy; each room does when it is entered (``medssl.networks``, ``medssl.pretext``, …).
"""

__version__ = "0.1.0"
