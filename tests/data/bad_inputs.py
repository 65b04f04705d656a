"""Folders of bad inputs with good ones among them, and what `prepare` must say of every file and every row.

``python tests/data/bad_inputs.py FOLDER`` writes them and prints the latter.
"""

import contextlib
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pydicom
import yaml
from PIL import Image
from pydicom import uid

REFUSED = ("no image", "no pixels")
SHAPE = (24, 20)  # rows, columns
SAGITTAL = [0, 1, 0, 0, 0, -1]
RANDOM = np.random.default_rng(0)


class Said(NamedTuple):
    """A row of ``report.csv``."""

    source: str
    file: str
    row: int
    status: str
    reason: str


class Hospital:
    """A folder of images with its table, and what must be said of each; patients and labels where none are given.

    Args:
        folder: of all hospitals.
        name: of this one, whose images lie in a folder of this name.
        columns: of its table; none without one. The first are image and patient.
        images: the name of the folder, where it is another hospital's.
        separator: of the table.
    """

    def __init__(self, folder: Path, name: str, columns: str = "", images: str = "", separator: str = ",") -> None:
        self.folder, self.name = folder / (images or name), name
        self.lines = [columns] if columns else []
        self.labels = separator.join(["1", "0", "1", "0"][: columns.count(separator) - 1])
        self.said: list[Said] = []
        self.separator = separator
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def row(
        self,
        image: str,
        reason: str = "",
        labels: str | None = None,
        patient: str | None = None,
        files: Sequence[str] = ("",),
    ) -> None:
        """A line of the table, and what is said of it and the files that it names (none: "")."""
        line = len(self.lines) + 1
        name = '"' + image.replace('"', '""') + '"' if set(image) & {*'",;\n'} else image
        cells = [
            name,
            f"{self.name[0]}{line}" if patient is None else patient,
            self.labels if labels is None else labels,
        ]
        self.lines.append(self.separator.join(cells))
        self.say(reason, files, line)

    def say(self, reason: str, files: Sequence[str], row: int = 0) -> None:
        """Without a line: of files that no row names."""
        status = "refused" if reason in REFUSED else "set aside" if reason else "used"
        for file in files:
            written = file.encode("utf-8", "backslashreplace").decode()  # names need not be UTF-8
            self.said.append(Said(self.name, written, row, status, reason))

    def file(
        self, name: str, content: "bytes | Image.Image | Callable[[Path], object]", reason: str = "", **row: str
    ) -> None:
        """A file, named by a row of the table if there is one."""
        path = self.path(name)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, Image.Image):
            content.save(path)
        else:
            content(path)
        if self.lines:
            self.row(name, reason, **row, files=[name])  # type: ignore[arg-type]
        else:
            self.say(reason, [name])

    def other(self, name: str, content: bytes, reason: str = "no image") -> None:
        """A file that no row names."""
        self.path(name).write_bytes(content)
        self.say(reason, [name])

    def source(self) -> dict[str, str]:
        """Its entry in ``sources.yaml``; the table is written."""
        entry = {"name": self.name, "images": self.folder.name}
        if self.lines:
            (self.folder.parent / f"{self.name}.csv").write_bytes("\n".join([*self.lines, ""]).encode())
            entry["csv"] = f"{self.name}.csv"
        return entry


def write_bad_radiographs(folder: Path) -> list[Said]:
    """Write ``folder/sources.yaml`` with its hospitals; returns the rows of the report."""
    north = Hospital(folder, "north", "image,patient,Edema,Mass")
    _good_radiographs(north)
    _bad_radiographs(north)
    _bad_rows(north)
    given = Hospital(folder, "given", "image,patient,split,Edema")
    _copies_and_splits(given)
    south = Hospital(folder, "south", "Image;Patient;Mass;Müdigkeit", separator=";")
    for name in ("Müller.png", "a;b.png", "röntgen/one.jpg", "röntgen/TWO.JPEG"):
        south.file(name, grey())
    again = Hospital(folder, "again", "image,patient,Hernia", images="north")
    again.row("good 0.png", "same image twice")  # the file is told of in north's row
    loose = Hospital(folder, "loose")
    for name in ("one.png", "deep/er/two.png", "no_suffix"):
        loose.file(name, grey() if name.endswith("png") else lambda path: save_radiograph(path))
    loose.file(os.fsdecode(b"h\xfcfte.png"), lambda path: grey().save(path, "PNG"))
    loose.file("of a test patient.dcm", lambda path: save_radiograph(path, PatientID="G-test"), "patient in test")
    loose.file("north's.png", Image.open(north.folder / "good 1.png"), "same image twice")
    loose.other("broken.png", b"none", "unreadable")
    return _write_sources(folder, [north, given, south, again, loose])


def _good_radiographs(north: Hospital) -> None:
    for number in range(12):
        north.file(f"good {number}.png", grey())
    for mode in ("RGB", "RGBA", "LA", "P", "1"):
        north.file(f"mode {mode}.png", grey().convert(mode))
    north.file("16 bit.png", Image.fromarray(RANDOM.integers(0, 65535, SHAPE).astype(np.uint16)))
    north.file("cmyk.jpg", grey().convert("CMYK"))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    north.file("rotated.jpg", lambda path: grey().save(path, exif=rotated))
    for name in (
        "UPPER.PNG",
        "ümlaut.png",
        'comma, "quotes".png',
        "picture.tif",
        "picture.bmp",
        "folder.png/inner.png",
    ):
        north.file(name, grey())
    north.file("monochrome1.dcm", lambda path: save_radiograph(path, PhotometricInterpretation="MONOCHROME1"))
    north.file("radiograph.dcm", save_radiograph)
    north.file("0001", save_radiograph)
    north.path("deep/by its name.png").write_bytes(png())
    north.row("by its name.png", files=["deep/by its name.png"])
    north.path("view/frontal.png").write_bytes(png())
    north.row("CheXpert/train/view/frontal.png", files=["view/frontal.png"])
    north.path("absolute.png").write_bytes(png())
    north.row(str(north.folder / "absolute.png"), files=["absolute.png"])
    north.path("linked.png").symlink_to(north.folder.parent / "outside.png")
    (north.folder.parent / "outside.png").write_bytes(png())
    north.row("linked.png", files=["linked.png"])
    north.path(".hidden.png").write_bytes(png())
    north.path(".hidden/image.png").write_bytes(png())
    north.path("up").symlink_to(north.folder, target_is_directory=True)  # a circle


def _bad_radiographs(north: Hospital) -> None:
    jpeg, tiff, dicom = BytesIO(), BytesIO(), BytesIO()
    grey().save(jpeg, "JPEG")
    grey().save(tiff, "TIFF")
    save_radiograph(dicom)
    for name, whole in (("cut.png", png()), ("cut.jpg", jpeg.getvalue()), ("cut.tif", tiff.getvalue())):
        north.file(name, whole[: len(whole) // 2], "unreadable")
    whole = dicom.getvalue()
    north.file("cut.dcm", whole[:-100], "unreadable")
    north.file("cut header.dcm", whole[:300], "unreadable")
    for name in ("empty.png", "empty.dcm", "empty.jpeg"):
        north.file(name, b"", "empty file")
    for name in ("text.png", "text.dcm", "text.tiff"):
        north.file(name, b"no image at all", "unreadable")
    north.file("png.jpg", png())  # what counts is what it holds
    for value in (0, 255):
        north.file(f"all {value}.png", Image.new("L", (20, 24), value), "constant image")
    north.file("constant.dcm", lambda path: save_radiograph(path, np.full(SHAPE, 7, np.uint16)), "constant image")
    north.file("pixel.png", Image.new("L", (1, 1), 9), "constant image")
    north.file("no pixels.png", png_header(0, 0), "unreadable")
    north.file("bomb.png", png_header(60_000, 60_000), "unreadable")
    for number, value in enumerate((np.nan, np.inf)):
        values = RANDOM.random(SHAPE).astype(np.float32)
        values[3, 4] = value
        north.file(f"not finite {number}.tif", Image.fromarray(values), "not finite")
    north.file("pages.tif", lambda path: grey().save(path, save_all=True, append_images=[grey()]), "several frames")
    frames = RANDOM.integers(0, 999, (3, *SHAPE)).astype(np.uint16)
    north.file("frames.dcm", lambda path: save_radiograph(path, frames, NumberOfFrames=3), "several frames")
    damaged = tiff.getvalue().replace(struct.pack("<HHI", 256, 4, 1), struct.pack("<HHI", 999, 4, 1))
    north.file("no width.tif", damaged, "unreadable")
    north.file("slice.dcm", lambda path: save_slice(path, 0), "not a radiograph")
    north.file("structures.dcm", lambda path: save_other(path, uid.RTStructureSetStorage), "no pixels")
    north.file("report", lambda path: save_other(path, uid.BasicTextSRStorage), "no pixels")
    north.file("document.dcm", lambda path: save_other(path, uid.EncapsulatedPDFStorage), "no pixels")
    north.file("undecodable.dcm", save_radiograph, "unreadable")
    spoil_pixels(north.folder / "undecodable.dcm")
    north.file("dangling.png", lambda path: path.symlink_to("nowhere"), "unreadable")
    north.file("dangling.dcm", lambda path: path.symlink_to("nowhere"), "unreadable")
    for name in ("pipe.png", "pipe.dcm"):
        north.file(name, os.mkfifo, "unreadable")
    os.mkfifo(north.path("pipe"))
    north.say("no image", ["pipe"])
    north.other("DICOMDIR", whole)
    for name in ("notes.txt", "volume.nii.gz", "film.gif", "table.csv", "no suffix"):
        north.other(name, b"something")
    north.other("nobody's.png", png(), "not in the CSV")


def _bad_rows(north: Hospital) -> None:
    north.row("gone.png", "no such image")
    north.row("folder.png", "no such image")
    north.row("", "no image")
    for number, labels in enumerate(("maybe,1", "2,0", "0.5,0")):
        north.file(f"label {number}.png", png(), "not a label", labels=labels)
    north.file("uncertain.png", png(), labels="-1,1")
    north.file("nothing known.png", png(), labels=",")
    north.file("no patient.png", png(), "no patient", patient="")
    north.file("repeated.png", png(), patient="r")
    north.row("repeated.png", "repeated row", patient="r", labels="1,")
    north.file("contradiction.png", png(), "contradiction", patient="k", labels="1,1")
    north.row("contradiction.png", "contradiction", patient="k", labels="1,0")
    north.file("two patients.png", png(), "contradiction", patient="k")
    north.row("two patients.png", "contradiction", patient="l")
    for folder in ("one", "two", "three"):
        north.path(f"{folder}/same name.png").write_bytes(png())
    north.row("same name.png", "several such images")
    north.row("one/same name.png", files=["one/same name.png"])
    north.say("several such images", ["two/same name.png", "three/same name.png"])
    north.file("new\nline.png", png())


def _copies_and_splits(given: Hospital) -> None:
    for split in ("train", "training", "TRAIN", "val", "valid", "validation", "test", "unlabeled"):
        for value in (0, 1):
            given.file(f"{split} {value}.png", png(), labels=f"{split},{value}")
    given.file("test.png", png(), patient="G-test", labels="test,1")
    given.file("its unlabelled.png", png(), "patient in test", patient="G-test", labels="train,")
    given.file("later.png", png(), "no split", labels="later,1")
    given.file("no split.png", png(), "no split", labels=",1")
    given.file("unknown.png", png(), "no label", labels="val,")
    for split in ("train", "test"):
        given.file(f"torn {split}.png", png(), "patient in two splits", patient="torn", labels=f"{split},1")
    for name, patient in (("own", "own"), ("other", "other")):
        image = grey()
        given.file(f"{name}.png", image, patient="own", labels="train,1")
        given.file(f"{name} again.bmp", image, "same image twice", patient=patient, labels="train,")
    for name, rows in (("labels", ("train,1", "train,0")), ("splits", ("train,1", "test,1"))):
        image = grey()
        for number, labels in enumerate(rows):
            given.file(f"{name} {number}.png", image, "same image, contradiction", labels=labels)


def write_bad_volumes(folder: Path) -> list[Said]:
    """Write ``folder/sources.yaml`` with its hospitals; returns the rows of the report."""
    nifti = Hospital(folder, "nifti", "image,patient,Bleeding")
    _volumes(nifti)
    series = Hospital(folder, "series", "image,patient,Bleeding")
    _listed_series(series)
    more = Hospital(folder, "more")
    _unlisted_series(more)
    return _write_sources(folder, [nifti, series, more])


def _volumes(nifti: Hospital) -> None:
    for number in range(6):
        nifti.file(f"good {number}.nii.gz", volume())
    nifti.file("plain.nii", volume())
    nifti.file(
        "UPPER.NII.GZ", lambda path: path.write_bytes((nifti.folder / "good 0.nii.gz").read_bytes()), "same image twice"
    )
    nifti.file("one more axis.nii", volume(voxels()[..., None]))
    nifti.file("turned.nii", volume(affine=np.array([[0, -1, 0, 5], [0, 0, 2, 0], [-1, 0, 0, 0], [0, 0, 0, 1.0]])))
    whole = (nifti.folder / "good 1.nii.gz").read_bytes()
    nifti.file("empty.nii.gz", b"", "unreadable")
    nifti.file("empty.nii", b"", "unreadable")
    nifti.file("cut.nii.gz", whole[: len(whole) // 2], "unreadable")
    nifti.file("cut header.nii.gz", whole[:40], "unreadable")
    plain = (nifti.folder / "plain.nii").read_bytes()
    nifti.file("cut.nii", plain[:-9], "unreadable")
    for name in ("text.nii", "text.nii.gz"):
        nifti.file(name, b"no volume at all", "unreadable")
    nifti.file("constant.nii.gz", volume(np.full((9, 8, 7), -1024)), "constant image")
    for value in (np.nan, np.inf):
        values = voxels().astype(np.float32)
        values[2, 3, 4] = value
        nifti.file(f"{value}.nii", volume(values, kind=np.float32), "not finite")
    nifti.file("4D.nii", volume(RANDOM.random((9, 8, 7, 2)) * 99), "not a volume")
    nifti.file("2D.nii", volume(voxels()[..., 0]), "not a volume")
    nifti.file("singular.nii", volume(affine=np.diag([1.0, 0, 1, 1])), "wrong affine")
    flat = np.array([[1, 1, 0, 0], [0, 1e-3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    nifti.file("two axes in one.nii", volume(affine=flat), "wrong affine")
    nifti.file("kilometres.nii", volume(affine=np.diag([1e5, 1e5, 1e5, 1])), "too large")
    nifti.file("micrometres.nii", volume(affine=np.diag([1e-3, 1e-3, 1e-3, 1])), "too small")
    nifti.file("slice.nii", volume(voxels()[..., :1]), "too small")
    nifti.file("kind of number.nii", plain[:70] + struct.pack("<h", 999) + plain[72:], "unreadable")
    nifti.file("offset.nii", plain[:108] + struct.pack("<f", 12) + plain[112:], "unreadable")
    nifti.file("sides.nii", plain[:40] + struct.pack("<4h", 3, -9, 8, 7) + plain[48:], "unreadable")
    nifti.file("dangling.nii.gz", lambda path: path.symlink_to("nowhere"), "unreadable")
    nifti.file("pipe.nii", os.mkfifo, "unreadable")
    nifti.other("radiograph.png", png())
    nifti.other("notes", b"about")
    nifti.other("nobody's.nii", b"not looked at", "not in the CSV")
    nifti.row("gone.nii.gz", "no such image")


def _listed_series(series: Hospital) -> None:
    def add(folder: str, row: str, reason: str = "", **values: object) -> list[str]:
        files = save_series(series.path(f"{folder}/x").parent, **values)  # type: ignore[arg-type]
        series.row(row, reason, files=files)
        return files

    def add_pieces(folder: str, reason: str, **values: object) -> None:
        """Of files that form no volume each has its reason; the row stands at the first."""
        first, *rest = save_series(series.path(f"{folder}/x").parent, **values)  # type: ignore[arg-type]
        series.row(folder, reason, files=[first])
        series.say(reason, rest)

    add("even", "even")
    add("by a slice", "by a slice/2.dcm")
    add("tilted", "tilted", tilt=0.3)
    add("one missing", "one missing", places=[0, 2, 4, 6, 10, 12, 14])
    add_pieces("gap", "uneven slices", places=[0, 2, 4, 6, 40, 42])
    add("constant", "constant", "constant image", values=5)
    add_pieces("alone", "single slice", places=[0])
    add_pieces("overviews", "localiser", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    files = add("undecodable", "undecodable", "unreadable")
    spoil_pixels(series.folder / files[0])
    copied = add("copied", "copied")
    shutil.copytree(series.folder / "copied", series.folder / "copy")
    series.row("copy", "same image twice", files=[file.replace("copied", "copy") for file in copied])
    two = [*save_series(series.path("two/x").parent, name="a"), *save_series(series.path("two/x").parent, name="b")]
    series.row("two", "several volumes", files=two)
    for name in ("a", "b"):
        add("told apart", f"told apart/{name}3.dcm", name=name)
    series.row("told apart/c.dcm", "no such image")
    (series.folder / "no volume").mkdir()
    series.row("no volume", "no such image")


def _unlisted_series(more: Hospital) -> None:
    def add(folder: str, reason: str = "", **values: object) -> list[str]:
        files = save_series(more.path(f"{folder}/x").parent, **values)  # type: ignore[arg-type]
        more.say(reason, files)
        return files

    series = uid.generate_uid()
    add("two orientations", SeriesInstanceUID=series)
    add("two orientations", name="s", cosines=SAGITTAL, SeriesInstanceUID=series)
    for phase in (1, 2):
        add("two phases", name=f"p{phase} ", SeriesInstanceUID="1.2.7", AcquisitionNumber=phase)
    for name in ("a", "b"):
        add("two that overlap", "slices that overlap", name=name, SeriesInstanceUID="1.2.8")
    add("shifted", "shifted slices", tilt=1.3)
    add("beside", SeriesInstanceUID="1.2.9")
    beside = more.path("beside/x").parent

    def lies_beside(name: str, reason: str, save: Callable[[Path], object]) -> None:
        save(beside / name)
        more.say(reason, [f"beside/{name}"])

    lies_beside("copy.dcm", "duplicate slice", lambda path: shutil.copy(beside / "1.dcm", path))
    lies_beside("scout.dcm", "localiser", lambda path: save_slice(path, 0, ImageType=["ORIGINAL", "LOCALIZER"]))
    lies_beside(
        "other size.dcm",
        "other matrix",
        lambda path: save_slice(path, 30, SeriesInstanceUID="1.2.9", PixelSpacing=[2, 2]),
    )
    lies_beside("empty.dcm", "damaged", Path.touch)
    lies_beside("text.dcm", "damaged", lambda path: path.write_text("no slice"))
    lies_beside("cut.dcm", "damaged", lambda path: path.write_bytes((beside / "1.dcm").read_bytes()[:-50]))
    lies_beside("dangling.dcm", "damaged", lambda path: path.symlink_to("nowhere"))
    lies_beside("pipe.dcm", "damaged", os.mkfifo)
    lies_beside("structures.dcm", "no image", lambda path: save_other(path, uid.RTStructureSetStorage))
    lies_beside("report", "no image", lambda path: save_other(path, uid.BasicTextSRStorage))
    lies_beside("document.dcm", "no image", lambda path: save_other(path, uid.EncapsulatedPDFStorage))
    capture = {"SOPClassUID": uid.SecondaryCaptureImageStorage}
    lies_beside("screen.dcm", "secondary capture", lambda path: save_radiograph(path, **capture))
    colour = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "SOPClassUID": uid.CTImageStorage,
    }
    lies_beside(
        "colour.dcm", "colour image", lambda path: save_radiograph(path, np.zeros((*SHAPE, 3), np.uint16), **colour)
    )
    lies_beside("no place.dcm", "missing tags", lambda path: save_slice(path, 0, ImagePositionPatient=None))
    lies_beside("DICOMDIR", "no image", lambda path: path.write_bytes(b"\0" * 128 + b"DICM"))
    lies_beside("notes.txt", "no image", lambda path: path.write_text("about"))
    more.file("volume.nii.gz", volume())
    more.file("broken.nii.gz", b"broken", "unreadable")


def _write_sources(folder: Path, hospitals: list[Hospital]) -> list[Said]:
    entries = [hospital.source() for hospital in hospitals]
    south = folder / "south.csv"
    if south.is_file():  # as Excel saves it
        south.write_bytes(b"\xef\xbb\xbf" + south.read_bytes().replace(b"\n", b"\r\n"))
    (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": entries}))
    return [said for hospital in hospitals for said in hospital.said]


def grey() -> Image.Image:
    """A picture that no other is alike."""
    return Image.fromarray(RANDOM.integers(0, 255, SHAPE, dtype=np.uint8))


def png() -> bytes:
    """The same as a file."""
    file = BytesIO()
    grey().save(file, "PNG")
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG file that announces a size and ends there."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0" * 40


def voxels() -> np.ndarray:
    """Volumes' values that no others are alike."""
    return RANDOM.integers(-1000, 1000, (9, 8, 7)).astype(np.int16)


def volume(
    values: np.ndarray | None = None, affine: np.ndarray | None = None, kind: type = np.int16
) -> Callable[[Path], object]:
    """Saves a NIfTI file."""
    image = nibabel.Nifti1Image((voxels() if values is None else values).astype(kind), None)
    image.header.set_sform(np.diag([1.0, 1, 5, 1]) if affine is None else affine, code=1)
    return lambda path: nibabel.save(image, path)


def _dataset(kind: str, **tags: object) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, uid.generate_uid()
    dataset.PatientName, dataset.PatientBirthDate, dataset.StudyDate = "Doe^Jane", "19610203", "20190405"
    dataset.PatientID = "DOE-4711"
    for name, value in tags.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _pixels(stored: np.ndarray) -> dict[str, object]:
    return {
        "Rows": SHAPE[0],
        "Columns": SHAPE[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": stored.tobytes(),
    }


def save_radiograph(path: "Path | BytesIO", stored: np.ndarray | None = None, **tags: object) -> None:
    """A computed radiograph; each is another patient's unless ``tags`` say whose."""
    stored = RANDOM.integers(0, 4000, SHAPE).astype(np.uint16) if stored is None else stored
    own = {"Modality": "CR", "PatientID": f"radiograph {RANDOM.integers(10**9)}", **_pixels(stored), **tags}
    _dataset(uid.ComputedRadiographyImageStorage, **own).save_as(path, enforce_file_format=True)


def save_slice(path: Path, place: float, shift: float = 0, values: int | None = None, **tags: object) -> None:
    """A CT slice at ``place`` mm along its normal, moved by ``shift`` mm within its plane."""
    stored = RANDOM.integers(0, 2000, SHAPE).astype(np.uint16) if values is None else np.full(SHAPE, values, np.uint16)
    cosines = np.array(tags.pop("cosines", [1, 0, 0, 0, 1, 0]), dtype=float)
    corner = place * np.cross(cosines[:3], cosines[3:]) + shift * cosines[3:]
    own = {
        "Modality": "CT",
        "SeriesInstanceUID": "1.2.3",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PixelSpacing": [1, 1],
        "ImagePositionPatient": [f"{value:.4f}" for value in corner],
        "ImageOrientationPatient": cosines.tolist(),
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    _dataset(uid.CTImageStorage, **{**own, **_pixels(stored), **tags}).save_as(path, enforce_file_format=True)


def save_series(
    folder: Path, places: Sequence[float] = (0, 2, 4, 6, 8), tilt: float = 0, name: str = "", **tags: object
) -> list[str]:
    """Slices of one series; returns their files, below the folder of images."""
    tags = {"SeriesInstanceUID": uid.generate_uid(), "PatientID": folder.name, **tags}
    files = [folder / f"{name}{number}.dcm" for number in range(len(places))]
    for file, place in zip(files, places, strict=True):
        shift = tilt * place if tilt < 1 else 3.0 * (place > 4)  # more is no gantry's
        save_slice(file, place, shift, **tags)  # type: ignore[arg-type]
    return [f"{folder.name}/{file.name}" for file in files]


def save_other(path: Path, kind: str) -> None:
    """DICOM without an image."""
    _dataset(kind, Modality="OT").save_as(path, enforce_file_format=True)


def spoil_pixels(path: Path) -> None:
    """Put compressed pixels that are none into a DICOM file."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"no picture at all"])
    dataset.save_as(path)


MISTAKES: list[tuple[str, str]] = [
    ("--images images --csv t.csv t.csv", "give each CSV its folder"),
    ("--images images --csv t.csv", "1 patient(s) cannot fill 3 splits"),
    ("--images none --csv t.csv", "no folder none"),
    ("--images images --csv none.csv", "no CSV none.csv"),
    ("--images images --csv t.csv --labels B", "'B'"),
    ("--images images --csv t.csv --dims 3", "a.png is there, but by its name and first bytes no volume"),
    ("--images images --csv unnamed.csv", "no column 'image'"),
    ("--images images --csv nobody.csv", "no column 'patient'"),
    ("--images images --csv header.csv", "no rows"),
    ("--images images --csv empty.csv", "cannot be read as a CSV"),
    ("--images images --csv torn.csv", "cannot be read as a CSV"),
    ("--images images --csv gone.csv", "No image can be used"),
    ("--images images --csv side.csv", "1 × other view): see"),
    ("--sources s.yaml --blank negative", "write them into the file"),
    ("--sources s.yaml --images images", "names every source"),
    ("--unlabeled images --size 4", "--size"),
    ("--unlabeled images --views oblique", "--views"),
    ("--unlabeled images --folds 1", "--folds"),
    ("--unlabeled images --fractions 70 10 20", "sum to 1, not 70.0 10.0 20.0"),
    ("--unlabeled images --crop 64 64 32", "--crop"),
    ("--unlabeled images --window lung", "--window"),
    ("--unlabeled images --dims 3 --spacing 1 0 1", "--spacing"),
    ("--unlabeled images --dims 3 --crop 64 0 32", "--crop"),
    ("--unlabeled images --dims 3 --window lungs", "window is 'lungs'"),
    ("--unlabeled images --dims 3 --window 240 -160", "the lower first"),
    ("--unlabeled images --dims 3 --window -160", "window is -160"),
    ("--unlabeled images --dims 3 --window 1 2 3", "two numbers"),
]
"""Options of `prepare` that cannot be right, in a folder of `write_mistakes`, and what the one sentence must say."""


def write_mistakes(folder: Path) -> None:
    """One image, and tables of it that are wrong, each in its way."""
    (folder / "images").mkdir()
    grey().save(folder / "images" / "a.png")
    tables = {
        "t.csv": "image,patient,A\na.png,1,1\n",
        "unnamed.csv": "pixels,patient,A\na.png,1,1\n",
        "nobody.csv": "image,A\na.png,1\n",
        "header.csv": "image,patient,A\n",
        "empty.csv": "",
        "torn.csv": 'image,patient,A\na.png,1,1,1,1\na.png,"',
        "gone.csv": "image,patient,A\nb.png,1,1\n",
        "side.csv": "image,patient,A,view\na.png,1,1,lateral\n",
        "s.yaml": "sources: [{images: images}]",
    }
    for name, text in tables.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    for part, write in (("radiographs", write_bad_radiographs), ("volumes", write_bad_volumes)):
        with contextlib.suppress(BrokenPipeError):
            print(*write(Path(sys.argv[1]) / part), sep="\n")
