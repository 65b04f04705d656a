"""What only running tells: the configs are code, so these checks come after all others.

What is found where code breaks off is raised, as a `UserError`.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from pydoc import locate
from typing import Any

import numpy as np
import SimpleITK
import torch
from monai.bundle import ComponentLocator, ConfigParser, ckpt_export, run, verify_net_in_out

from medssl.errors import UserError
from medssl.networks import load_model_weights

from .bundle import METADATA, MODEL, Bundle, Note, own_scripts, quiet

CPU = "$torch.device('cpu')"
SMALL = {"device": CPU, "workers": 0, "batch_size": 1, "amp": False}
TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
ANY_SIZE = 64
"""Voxels of a side that the metadata leave open (`*`)."""


def targets(bundle: Bundle) -> Iterator[str]:
    """Name the `_target_` of every config that is nowhere to be found."""
    locator = ComponentLocator()
    with _running(bundle):
        for file in bundle.configs:
            for target in sorted(set(_targets(ConfigParser.load_config_file(str(bundle.folder / file))))):
                with _explained(f"{file} names {target}, which cannot be imported"):
                    found = locate(target) if "." in target else locator.get_component_module_name(target)
                if not found:
                    yield f"{file} names {target}, which is not there: see how it is spelt, and what must be installed."


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, dict) and isinstance(target := config.get("_target_"), str) and target[:1] not in "$@%":
        yield target
    items = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    for value in items:
        yield from _targets(value)


def weights_fit(bundle: Bundle) -> None:
    """Build `network_def` and load the weights."""
    parser = ConfigParser()
    with _running(bundle), _explained("network_def cannot be built"):
        parser.read_config(bundle.monai_options["config_file"])
        parser.update({"bundle_root": str(bundle.folder), "device": CPU})
        network = parser.get_parsed_content("network_def")
    load_model_weights(network, bundle.folder / MODEL)


def shapes(bundle: Bundle) -> None:
    """Let the network take and give what the metadata say (`verify_net_in_out`)."""
    with _running(bundle), _explained(f"The network and network_data_format in {METADATA} do not fit"):
        verify_net_in_out("network_def", device="cpu", any=ANY_SIZE, **bundle.monai_options)


def torchscript(bundle: Bundle) -> Iterator[str]:
    """Make TorchScript of the network (`ckpt_export`), and compare the outputs, those of `models/model.ts` too."""
    shape = _image_shape(bundle)
    with _running(bundle), tempfile.TemporaryDirectory() as folder, torch.no_grad():
        made = f"{folder}/model.ts"
        files = {"filepath": made, "ckpt_file": str(bundle.folder / MODEL), **bundle.monai_options}
        options = {"verify": True, "device": torch.device("cpu"), **TOLERANCE}
        with _explained("TorchScript cannot be made of network_def, or gives something else"):
            try:
                ckpt_export("network_def", input_shape=shape, converter_kwargs=options, **files)
            except Exception:  # whatever scripting a network raises
                if not _takes_pyramid(bundle):
                    raise
                ckpt_export("network_def", input_shape=shape, use_trace=True, converter_kwargs=options, **files)
                yield Note(
                    "The network can be traced, but not scripted: ckpt_export needs --use_trace True and "
                    "--input_shape, and the zoo has to list the bundle in exclude_verify_torchscript_list."
                )
        if "models/model.ts" in bundle.files:
            images = torch.rand(shape)
            paths = (made, str(bundle.folder / "models/model.ts"))
            expected, found = (torch.jit.load(path, map_location="cpu").eval()(images) for path in paths)
            if not torch.allclose(found, expected, **TOLERANCE):
                yield f"models/model.ts gives something else than network_def with {MODEL}: export it again."


def inference_runs(bundle: Bundle) -> Iterator[str]:
    """Run the inference on two drawn images, from another folder than the bundle's."""
    if bundle.config_file("inference") is None:
        return
    config = ConfigParser.load_config_file(bundle.paths("inference")[0])
    options: dict[str, Any] = {key: value for key, value in SMALL.items() if key in config}
    options["logging_file"] = False  # it would change how this process logs
    with _running(bundle), tempfile.TemporaryDirectory() as folder, chdir(folder):
        _draw(Path("images"), _image_shape(bundle)[2:])
        places = {"dataset_dir": f"{folder}/images", "output_dir": f"{folder}/output", **bundle.monai_options}
        with _explained("The inference does not run on drawn images"):
            run(**places, **options)
        if not any(path.is_file() for path in Path("output").rglob("*")):
            yield "The inference runs on drawn images, and writes nothing into output_dir."


def _draw(folder: Path, size: Sequence[int]) -> None:
    """Two images of noise: PNG in 2D, NIfTI in 3D."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    for name in ("first", "second"):
        grey = SimpleITK.GetImageFromArray(noise.integers(0, 256, size[::-1], dtype=np.uint8))
        SimpleITK.WriteImage(grey, folder / f"{name}{'.png' if len(size) == 2 else '.nii.gz'}")


def _takes_pyramid(bundle: Bundle) -> bool:
    """Whether the network takes the function of its backbone's maps as a value, as a segmenter and `with_head` do."""
    config = ConfigParser.load_config_files(bundle.monai_options["config_file"])
    return "'pyramid'" in str(config["network_def"])


def _image_shape(bundle: Bundle) -> list[int]:
    image = bundle.metadata["network_data_format"]["inputs"]["image"]
    return [1, image["num_channels"], *(n if isinstance(n, int) else ANY_SIZE for n in image["spatial_shape"])]


@contextmanager
def _running(bundle: Bundle) -> Iterator[None]:
    """Run the bundle's code without a trace: not on the screen, and not in how this process shows errors."""
    hook = sys.excepthook
    try:
        with own_scripts(bundle.folder), quiet():
            yield
    finally:
        sys.excepthook = hook


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Say of any error what it means for the bundle, and its first cause: MONAI wraps errors in errors."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise UserError(f"{what}: {reason.strip().rstrip('.')}.") from error
