"""What the values of an image say: whether it is a scan at all, whether they may be HU, and which are extreme."""

from __future__ import annotations

from .reading import Reading


def judge(reading: Reading, name: str) -> Reading:
    """Judge an image by its values.

    Args:
        reading: the image.
        name: of its file, for sentences.

    Returns:
        The image, as a rule the same; or with notes, and extreme values limited.

    Raises:
        UnusableImageError: ``mask`` or ``label map``; the sentence names the file.
    """
    return reading
