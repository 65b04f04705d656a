"""What a reader gives, an image and what the user should know of it, or the reason why there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from medssl.errors import UnusableImageError


@dataclass(frozen=True, eq=False)
class Reading:
    """One image as it was read from its file or files.

    Attributes:
        values: [H, W] of a radiograph, [X, Y, Z] of a volume; float32, finite, bright is high.
        affine: [4, 4] from a volume's voxels to RAS mm; None of a radiograph.
        notes: what was put right or assumed, one sentence or part of one each.
        modality: as DICOM has it (``CR``, ``DX``, ``CT``, ``MR``, ``US``, …); empty where the file states none.
    """

    values: np.ndarray
    affine: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    modality: str = ""


@contextmanager
def decoding(fault: str, advice: str, reason: str = "unreadable") -> Iterator[None]:
    """Refuse what a decoder cannot read; of a damaged file each of them raises nearly anything.

    Args:
        fault: what cannot be done, such as ``a.dcm cannot be read as DICOM``.
        advice: what the user may do.
        reason: of the refusal.

    Raises:
        UnusableImageError: instead of all that the block raises, between fault and advice what the decoder says.
    """
    try:
        yield
    except UnusableImageError:
        raise
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise UnusableImageError(reason, f"{fault} ({words}): {advice}.") from error
