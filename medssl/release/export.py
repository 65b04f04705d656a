"""From a run to a bundle in the form of the model zoo, which needs MONAI and the libraries of its readers alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from medssl.errors import MissingFileError

from .bundle_files import write_bundle, write_hub_card, write_large_files, write_manifest
from .conversions import check_onnx, write_onnx, write_torchscript
from .data_card import write_data_card
from .metadata import evaluation_figures, metadata, needed_versions
from .model import Model, read_model
from .target import check_archive, earlier_export, place, write_archive
from .travelling import travelling_modules

READERS = {
    2: ("medssl.transforms.load_radiograph", "medssl.readers.radiograph"),
    3: ("medssl.transforms.load_volume", "medssl.transforms.covering", "medssl.readers.volume"),
}
FOR_INFERENCE = (
    "medssl.evaluation.image_inferer",
    "medssl.transforms.accounted",
    "medssl.evaluation.prediction_rows",
    "medssl.release.scripts.begin",
    "medssl.readers.pydicom_first",
)
FOR_MASKS = ("medssl.evaluation.masks.mask_inferer", "medssl.evaluation.masks.written_masks")
FOR_EVALUATION = (
    "medssl.data.datalist_file",
    "medssl.evaluation.predictions_metric",
    "medssl.release.scripts.evaluation_files",
)


@dataclass(frozen=True)
class Exported:
    """What an export wrote; as text, for the screen.

    Attributes:
        folder: of the bundle.
        files: in it, relative to it.
        archive: the zip beside it; None where none was wanted.
        to_do: what is left to the user before the bundle can be published, in sentences.
    """

    folder: Path
    files: list[str]
    archive: Path | None
    to_do: list[str]

    def __str__(self) -> str:
        beside = f", and as {self.archive}" if self.archive else ""
        to_do = ["Before you publish it:", *(f"- {sentence}" for sentence in self.to_do)] if self.to_do else []
        return "\n".join([f"The bundle: {self.folder} ({len(self.files)} files){beside}", *to_do])


def export_run(
    run: str | Path,
    to: str | Path,
    *,
    name: str | None = None,
    authors: str | None = None,
    version: str = "0.1.0",
    changes: str = "first version",
    torchscript: bool = False,
    onnx: bool = False,
    archive: bool = True,
    hub: bool = False,
    versions: Mapping[str, str] | None = None,
    data_license: str | Path | None = None,
    image_list: bool = True,
) -> Exported:
    """Write a bundle whose inference gives what the run's own inference gives, and that needs no medssl.

    An earlier export in the same folder is replaced; what others put there stays.

    Args:
        run: output_dir of a fine-tuning, which becomes a classifier; of a segmentation; or of a pre-training, which
            becomes a backbone with pooled features as output.
        to: folder of the bundle.
        name: to show; None for one after the kind of images.
        authors: of the model.
        version: of the bundle.
        changes: what is new in this version, for the changelog, which keeps the entries of an earlier export.
        torchscript: write ``models/model.ts`` too.
        onnx: write ``models/model.onnx`` too, which needs onnx and onnxscript.
        archive: write a zip beside the folder.
        hub: write what Hugging Face shows and takes: a model card at the top, no list of large files, no zip. Nothing
            is uploaded: that is what ``python -m monai.bundle push_to_hf_hub`` does with this folder.
        versions: distribution → version to require instead of the installed one, such as ``{"torch": "2.9.0"}``.
        data_license: a text file on the terms of the training data.
        image_list: hand on the hashes of the images that it learned from, see `medssl.data.SeenImages`.

    Returns:
        What was written.

    Raises:
        UserError: it is no run, or an unfinished one; something else is in the way; ONNX is not installed; a version
            is given of something that the bundle does not need.
        MissingFileError: there is no such licence, or the description of the weights is missing.
    """
    folder = Path(to).absolute()
    zipped = folder.with_name(f"{folder.name}.zip")
    before = earlier_export(folder)
    check_archive(zipped)
    if data_license is not None and not Path(data_license).is_file():
        raise MissingFileError(f"There is no data licence {data_license}.")
    if onnx:
        check_onnx()

    model = read_model(run)
    further = FOR_MASKS if model.segments else FOR_EVALUATION if model.classes else ()
    travelling = travelling_modules([*READERS[model.view.spatial_dims], *FOR_INFERENCE, *further, *model.modules])
    earlier = {key: text for key, text in (before or {}).get("changelog", {}).items() if key != version}
    needed = needed_versions([*travelling.packages, *model.architecture.packages], versions)
    described = metadata(model, needed, name, authors, changelog={version: changes, **earlier})
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True) as name_beside:
        temporary = Path(name_beside)  # on the same disk
        write_bundle(temporary, model, described, travelling, data_license)
        write_data_card(temporary / "docs", model, described, image_list)
        if torchscript:
            write_torchscript(temporary, None if model.scripted else model.view.image_size)
        if onnx:
            write_onnx(temporary, model.view.image_size)
        if hub:
            write_hub_card(temporary, model)
        else:
            write_large_files(temporary)
        write_manifest(temporary, hub)
        written = place(temporary, folder)
    zipped.unlink(missing_ok=True)
    archived = archive and not hub
    if archived:
        write_archive(folder, written, zipped)
    to_do = _left_to_do(model, written, authors, data_license)
    if hub:
        push = f"push_to_hf_hub --repo YOU/{folder.name} --name {folder.name} --bundle_dir {Path(to).parent}"
        to_do.append(f"Push it, which needs huggingface_hub and your token: python -m monai.bundle {push}")
    return Exported(Path(to), written, Path(to).with_name(zipped.name) if archived else None, to_do)


def _left_to_do(model: Model, written: list[str], authors: str | None, data_license: str | Path | None) -> list[str]:
    sentences = []
    if not authors:
        sentences.append("Name the authors: --authors.")
    if not data_license:
        sentences.append("State the terms of the training data: --data-license FILE.")
    if model.classes and not evaluation_figures(model.run):
        sentences.append("Evaluate the run on its test split and export it again: it has no test figures yet.")
    if "large_files.yml" in written:
        sentences.append("Host the files that large_files.yml lists, and fill in where: their urls are placeholders.")
    return sentences
