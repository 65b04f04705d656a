"""Radiographs from PNG, JPEG, TIFF or DICOM files to grey tensors [1, H, W], and to the training size.

Why not MONAI's ``LoadImage``: its PydicomReader neither inverts MONOCHROME1 (white and black stay swapped), nor applies
the display window, nor turns colour to grey; its PILReader transposes rows and columns by default and leaves palette
indices and colour channels as they are; and every instance registers all of MONAI's readers, which warns about
nvImageCodec. After loading, MONAI's transforms serve: ``NormalizeIntensityd`` is Eq. 7 of Dong et al. 2024 (per image
(x − mean) / std), finite for a constant image as well.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from PIL import Image, ImageOps
from pydicom import pixels
from pydicom.uid import UID

from medssl.errors import MissingFileError, UnusableImageError, UserError

DICOM_MAGIC_OFFSET = 128
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601, which Pillow uses as well


class LoadRadiograph(Transform):
    """Load one radiograph as a grey float32 MetaTensor [1, H, W]; rows stay rows.

    Values are those of the file, with bright as high: an 8-bit PNG gives 0..255, a DICOM its values after the modality
    LUT or rescale and, with ``voi_lut``, its first display window. MONOCHROME1 is inverted within the image's own
    range. Scale them afterwards, as a rule with MONAI's ``NormalizeIntensityd``.

    Args:
        voi_lut: apply a DICOM's first VOI LUT or window. On by default: it is what the radiologist saw and what the
            public PNG sets hold, and it keeps markers and collimator edges from ruling the image's mean and spread.
            Turn it off for detectors whose windows are wrong.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file is empty, truncated, no image, or holds several frames; the message names it.
    """

    def __init__(self, voi_lut: bool = True) -> None:
        self.voi_lut = voi_lut

    def __call__(self, path: str | Path) -> MetaTensor:
        """Load the file at ``path``."""
        path = Path(path)
        grey = read_radiograph(path, self.voi_lut)
        meta = {"filename_or_obj": str(path), "spatial_shape": np.array(grey.shape), "original_channel_dim": 0}
        return MetaTensor(torch.from_numpy(grey)[None], meta=meta)


class ApplyToKeys(MapTransform):
    """Apply an array transform to each key of an item: what the dictionary forms here have in common."""

    def __init__(self, keys: KeysCollection, transform: Callable[[Any], Any], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform every key of one item; other keys stay."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.transform(item[key])
        return item


class LoadRadiographd(ApplyToKeys):
    """Dictionary form of `LoadRadiograph`: the paths under ``keys`` become tensors [1, H, W]."""

    def __init__(self, keys: KeysCollection, voi_lut: bool = True, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, LoadRadiograph(voi_lut), allow_missing_keys)


class ResizeRadiograph(Transform):
    """Resize [C, H, W] to ``size`` (rows, columns), bilinear with antialiasing.

    Why not MONAI's ``Resize(anti_aliasing=True)``: it takes 67 ms for 1024×1024 → 224×224 and 610 ms for 3000×2500 on
    one core, since it blurs the full image in three dimensions; this takes 1.0 ms and 6.6 ms. It blurs with a triangle
    as wide as the reduction, MONAI with a Gaussian, so values differ a little at edges.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Resize one image; a MetaTensor keeps its metadata."""
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        resized = torch.nn.functional.interpolate(plain[None], self.size, mode="bilinear", antialias=True)[0]
        return MetaTensor(resized, meta=image.meta) if isinstance(image, MetaTensor) else resized


class ResizeRadiographd(ApplyToKeys):
    """Dictionary form of `ResizeRadiograph`."""

    def __init__(self, keys: KeysCollection, size: int | Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, ResizeRadiograph(size), allow_missing_keys)


def read_radiograph(path: Path, voi_lut: bool = True) -> np.ndarray:
    """The grey image [H, W], float32, of a PNG, JPEG, TIFF or DICOM file; see `LoadRadiograph`."""
    if not path.is_file():
        raise MissingFileError(f"There is no image file {path}: check the path in the datalist.")
    if path.stat().st_size == 0:
        raise UnusableImageError(
            "empty file", f"{path} is empty (0 bytes): copy it again, or take it out of the datalist."
        )
    grey = _read_dicom(path, voi_lut) if is_dicom(path) else _read_picture(path)
    if grey.size == 0 or not np.isfinite(grey).all():
        raise UnusableImageError(
            "not finite", f"{path} has no pixels or pixels that are not finite: take it out of the datalist."
        )
    return np.require(grey, np.float32, ["C", "W"])


def is_dicom(path: Path) -> bool:
    """Whether the file begins as DICOM files do, whatever its name."""
    with path.open("rb") as file:
        return file.read(DICOM_MAGIC_OFFSET + 4)[DICOM_MAGIC_OFFSET:] == b"DICM"


def _read_picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                raise _several_frames(path, frames)
            upright = ImageOps.exif_transpose(picture)  # as every viewer shows it
            # Modes of 16 and 32 bit are grey already, and "L" would cut them to 8 bit.
            return np.asarray(upright if upright.mode.startswith(("I", "F")) else upright.convert("L"))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnusableImageError(
            "unreadable",
            f"{path} cannot be read as PNG, JPEG, TIFF or DICOM ({error}): it is damaged or no image; "
            "copy it again, or take it out of the datalist.",
        ) from error


def _read_dicom(path: Path, voi_lut: bool) -> np.ndarray:
    try:
        dataset = pydicom.dcmread(path)
        if "PixelData" not in dataset:
            if "Image Storage" in UID(dataset.file_meta.get("MediaStorageSOPClassUID") or "").name:
                raise UserError("it ends before its pixels")
            raise UnusableImageError("no pixels", f"{path} is DICOM without an image: take it out of the datalist.")
        frames = int(dataset.get("NumberOfFrames") or 1)
        if frames > 1:
            raise _several_frames(path, frames)
        return _grey(dataset, voi_lut)
    except UnusableImageError:
        raise
    # pydicom and its decoders raise nearly anything on a damaged file; all of it means the same to the user.
    except Exception as error:
        raise UnusableImageError(
            "unreadable",
            f"{path} cannot be read as a DICOM image ({error}): copy it again, or take it out of the datalist.",
        ) from error


def _grey(dataset: pydicom.Dataset, voi_lut: bool) -> np.ndarray:
    stored = pixels.pixel_array(dataset)  # colour comes as RGB, YBR included
    interpretation = str(dataset.PhotometricInterpretation)
    if interpretation == "PALETTE COLOR":
        stored = pixels.apply_color_lut(stored, dataset)
        stored = stored / np.float32(2 ** (8 * stored.dtype.itemsize - 8))  # palettes may have 16 bit
    if stored.ndim == 3:
        return stored[..., :3].astype(np.float32) @ LUMA
    image = pixels.apply_modality_lut(stored, dataset)
    if voi_lut:
        image = pixels.apply_voi_lut(image, dataset)
    if interpretation == "MONOCHROME1":
        image = image.astype(np.float64)
        image = image.max() + image.min() - image
    return image


def _several_frames(path: Path, frames: int) -> UnusableImageError:
    sentence = f"{path} holds {frames} frames, and a radiograph is one: save the frame you want as a file of its own."
    return UnusableImageError("several frames", sentence)
