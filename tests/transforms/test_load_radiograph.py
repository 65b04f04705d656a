import logging
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.data import DataLoader, Dataset, PydicomReader
from monai.transforms import Compose, NormalizeIntensity, NormalizeIntensityd, Resize
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medssl.transforms.load_radiograph import LoadRadiograph, LoadRadiographd, ResizeRadiograph, ResizeRadiographd

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder of real images at {SHARED}")

RAMP = np.arange(12 * 17).reshape(12, 17)  # rows and columns differ, every value differs


def save_dicom(path: Path, stored: np.ndarray, **tags: object) -> Path:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = (
        stored.shape[-2:] if stored.ndim != 3 or "NumberOfFrames" in tags else stored.shape[:2]
    )
    bits = 8 * stored.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 0, 1, "MONOCHROME2"
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = stored.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def load(path: Path) -> np.ndarray:
    image = LoadRadiograph()(path)
    assert image.dtype == torch.float32
    assert image.shape[0] == 1
    return image[0].numpy()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("8bit.png", RAMP.astype(np.uint8)),
        ("16bit.png", (RAMP * 300).astype(np.uint16)),
        ("16bit.tif", (RAMP * 300).astype(np.uint16)),
        ("float.tif", (RAMP / 7).astype(np.float32)),
        ("one_row.png", RAMP[:1].astype(np.uint8)),
    ],
)
def test_grey_pictures_keep_values_and_rows(tmp_path: Path, name: str, array: np.ndarray) -> None:
    Image.fromarray(array).save(tmp_path / name)
    np.testing.assert_array_equal(load(tmp_path / name), array.astype(np.float32))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1"])
def test_colour_and_palette_become_grey(tmp_path: Path, mode: str) -> None:
    grey = ((RAMP % 2) * 255 if mode == "1" else RAMP).astype(np.uint8)
    picture = Image.fromarray(grey).convert("RGB" if mode == "P" else mode)
    if mode == "P":  # indices that run against the brightness, so that taking them for values shows
        picture = Image.fromarray(255 - grey, mode="P")
        picture.putpalette([255 - index for index in range(256) for _ in "rgb"])
    picture.save(tmp_path / "picture.png")
    np.testing.assert_allclose(load(tmp_path / "picture.png"), grey, atol=1)


def test_jpeg_lies_as_viewers_show_it(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 32 * 48).reshape(32, 48).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to view
    Image.fromarray(smooth).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    np.testing.assert_allclose(load(tmp_path / "turned.jpg"), np.rot90(smooth, -1), atol=8)


def test_monochrome1_is_inverted_and_its_pair_is_the_same(tmp_path: Path) -> None:
    full = (RAMP * (4095 / RAMP.max())).astype(np.uint16)
    window = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2000, "WindowWidth": 1000}
    for tags in ({"BitsStored": 12, "HighBit": 11}, window):
        bright = save_dicom(tmp_path / "2.dcm", full, **tags)
        centre = {"WindowCenter": 4095 - 2000 + 1} if "WindowCenter" in tags else {}  # windows are half open
        tags = {**tags, **centre, "PhotometricInterpretation": "MONOCHROME1"}
        dark = save_dicom(tmp_path / "1.dcm", 4095 - full, **tags)
        np.testing.assert_allclose(load(dark), load(bright), atol=0.01)
    reader = PydicomReader()
    monai_dark = reader.get_data(reader.read(dark))[0].T
    assert np.corrcoef(monai_dark.ravel(), full.ravel())[0, 1] < -0.99  # why LoadRadiograph exists


def test_dicom_rescale_and_window(tmp_path: Path) -> None:
    stored = RAMP.astype(np.uint16)
    rescaled = save_dicom(tmp_path / "rescaled.dcm", stored, RescaleSlope=2, RescaleIntercept=-50, RescaleType="US")
    np.testing.assert_array_equal(load(rescaled), 2.0 * RAMP - 50)
    path = save_dicom(tmp_path / "window.dcm", stored, BitsStored=8, HighBit=7, WindowCenter=100.5, WindowWidth=51)
    # DICOM PS3.3 C.11.2.1.2.1 written out
    expected = np.clip(((RAMP - (100.5 - 0.5)) / (51 - 1) + 0.5) * 255, 0, 255)
    np.testing.assert_allclose(load(path), expected, rtol=1e-6)
    np.testing.assert_array_equal(LoadRadiograph(voi_lut=False)(path)[0].numpy(), RAMP)


def test_colour_dicom_becomes_grey(tmp_path: Path) -> None:
    rgb = np.stack([RAMP] * 3, axis=-1).astype(np.uint8)
    tags = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    np.testing.assert_allclose(load(save_dicom(tmp_path / "rgb.dcm", rgb, **tags)), RAMP, atol=1e-4)


def test_what_is_no_radiograph_is_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint8)).resize((200, 200)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-100])
    save_dicom(tmp_path / "cut.dcm", RAMP.astype(np.uint16))
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "cut.dcm").read_bytes()[:-100])
    save_dicom(tmp_path / "film.dcm", np.stack([RAMP] * 3).astype(np.uint16), NumberOfFrames=3)
    pages = [Image.fromarray(RAMP.astype(np.uint8))] * 2
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)).save(tmp_path / "nan.tif")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "fake.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"rubbish" * 20)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=path.name):
            LoadRadiograph()(path)
    with pytest.raises(ValueError, match="3 frames"):
        LoadRadiograph()(tmp_path / "film.dcm")
    for missing in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(FileNotFoundError, match=missing.name):
            LoadRadiograph()(missing)


@pytest.mark.parametrize("value", [0.0, 255.0, 0.1, 1000.1, 65535.0])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-30])
def test_monai_normalisation_is_finite_on_constant_images(value: float, noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    image = value + noise * torch.randn(1, 64, 65, generator=generator)
    normalised = NormalizeIntensity()(image)
    assert normalised.isfinite().all()
    assert normalised.abs().max() < 10


def test_monai_normalisation_is_equation_7() -> None:
    image = torch.randn(1, 30, 40, generator=torch.Generator().manual_seed(0)) * 50 + 300
    torch.testing.assert_close(NormalizeIntensity()(image), (image - image.mean()) / image.std(unbiased=False))


@pytest.mark.parametrize(("shape", "size"), [((301, 257), (64, 60)), ((40, 50), 64)])
def test_resize_agrees_with_monai_and_a_reference(shape: tuple[int, int], size: int | tuple[int, int]) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]] / 40
    image = torch.from_numpy((np.sin(rows) * np.cos(2 * columns)).astype(np.float32))[None]
    ours = ResizeRadiograph(size)(image)
    target = (size, size) if isinstance(size, int) else size
    monai = Resize(target, mode="bilinear", anti_aliasing=True)(image)
    assert ours.shape == (1, *target)
    inside = (0, slice(2, -2), slice(2, -2))  # MONAI's Gaussian sees zeros beyond the border
    assert (ours - monai)[inside].abs().max() < 0.05
    pillow = Image.fromarray(image[0].numpy()).resize(target[::-1], Image.Resampling.BILINEAR)
    torch.testing.assert_close(ours[0], torch.from_numpy(np.array(pillow)), atol=1e-4, rtol=0)


@needs_shared
def test_real_radiographs_load_and_batch_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        files = [
            *sorted((SHARED / "cxr_dicom").glob("*.dcm")),
            *sorted((SHARED / "nih_cxr" / "images").glob("*.png"))[:3],
        ]
        keys = ["image"]
        chain = Compose([LoadRadiographd(keys), ResizeRadiographd(keys, 224), NormalizeIntensityd(keys)])
        batch = next(iter(DataLoader(Dataset([{"image": str(path)} for path in files], chain), batch_size=6)))["image"]
    assert batch.shape == (6, 1, 224, 224)
    assert batch.meta["filename_or_obj"] == [str(path) for path in files]
    torch.testing.assert_close(batch.mean((1, 2, 3)).as_tensor(), torch.zeros(6), atol=1e-4, rtol=0)
    assert not caplog.records
    # The lossy and the lossless file hold the same MONOCHROME1 radiograph of a leg: bone is brighter than air.
    lossy, lossless = batch[0, 0], batch[1, 0]
    assert (lossy - lossless).abs().mean() < 0.01
    assert lossless[56, 104:112].min() > lossless[56, 62:74].max() + 1
