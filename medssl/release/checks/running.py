"""What only running tells: the configs are code, so these checks come after all others."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from pydoc import locate
from typing import Any

import nibabel
import numpy as np
import torch
from monai.bundle import ComponentLocator, ConfigParser, ConfigWorkflow, ckpt_export, verify_net_in_out
from PIL import Image
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import load_model_weights

from .bundle import METADATA, Bundle, own_scripts, quiet

WEIGHTS = "models/model.pt"
CPU = "$torch.device('cpu')"
TOLERANCE = 1e-5
ANY_SIZE = 64
"""Voxels of a side that the metadata leave open (``*``)."""


def targets(bundle: Bundle) -> Iterator[str]:
    """Name the ``_target_`` of every config that is nowhere to be found."""
    locator = ComponentLocator()
    with own_scripts(bundle.folder), quiet():
        for file in bundle.configs:
            for target in sorted(set(_targets(ConfigParser.load_config_file(str(bundle.folder / file))))):
                if not (locate(target) if "." in target else locator.get_component_module_name(target)):
                    yield f"{file} names {target}, which is not there: see how it is spelt, and what must be installed."


def _targets(config: Any) -> Iterator[str]:
    items = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    if isinstance(config, dict) and isinstance(target := config.get("_target_"), str) and target[:1] not in "$@%":
        yield target
    for value in items:
        yield from _targets(value)


def weights_fit(bundle: Bundle) -> Iterator[str]:
    """Say why ``network_def`` cannot be built, or the weights are not its own."""
    with _running(bundle):
        try:
            network = _network(bundle)
        except Exception as error:
            yield f"network_def cannot be built: {_reason(error)}."
            return
        try:
            load_model_weights(network, bundle.folder / WEIGHTS)
        except UserError as error:
            yield str(error)


def shapes(bundle: Bundle) -> Iterator[str]:
    """Say where the network does not take or give what the metadata say (``verify_net_in_out``)."""
    with _running(bundle):
        try:
            verify_net_in_out("network_def", device="cpu", any=ANY_SIZE, **_monai_files(bundle))
        except Exception as error:
            yield f"The network and network_data_format in {METADATA} do not fit: {_reason(error)}."


def torchscript(bundle: Bundle) -> Iterator[str]:
    """Say why TorchScript cannot be made of the network (``ckpt_export``), or computes something else."""
    with _running(bundle), tempfile.TemporaryDirectory() as folder, torch.no_grad():
        made = str(Path(folder) / "model.ts")
        try:
            ckpt_export("network_def", filepath=made, ckpt_file=str(bundle.folder / WEIGHTS), **_monai_files(bundle))
        except Exception as error:
            yield f"TorchScript cannot be made of network_def: {_reason(error)}."
            return
        network = load_model_weights(_network(bundle), bundle.folder / WEIGHTS).eval()
        images = _images(bundle)
        expected = network(images)
        scripts = {"TorchScript of network_def": made}
        if "models/model.ts" in bundle.files:
            scripts["models/model.ts"] = str(bundle.folder / "models" / "model.ts")
        for name, path in scripts.items():
            found = torch.jit.load(path, map_location="cpu").eval()(images)
            if not torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
                yield f"{name} gives something else than network_def with models/model.pt: export it again."


def inference_runs(bundle: Bundle) -> Iterator[str]:
    """Say why the inference does not come to its end on two drawn images, from another folder than the bundle's."""
    if bundle.config_file("inference") is None:
        return
    with _running(bundle), tempfile.TemporaryDirectory() as folder:
        images, output = Path(folder) / "images", Path(folder) / "output"
        _draw(bundle, images)
        places = {"bundle_root": str(bundle.folder), "dataset_dir": str(images), "output_dir": str(output)}
        options = {key: value for key, value in _small().items() if key in bundle.parser("inference")}
        try:
            workflow = ConfigWorkflow(
                bundle.paths("inference"), logging_file=False, workflow_type="infer", **places, **options
            )
            workflow.initialize()
            missing = workflow.check_properties()
            workflow.run()
            workflow.finalize()
        except Exception as error:
            yield f"The inference does not run on drawn images: {_reason(error)}."
            return
        if missing:
            yield f"The inference lacks {', '.join(missing)} of MONAI's list when it is built."
        if not any(path.is_file() for path in output.rglob("*")):
            yield "The inference runs on drawn images, and writes nothing into output_dir."


def _small() -> dict[str, Any]:
    return {"device": CPU, "workers": 0, "batch_size": 1, "amp": False}


def _draw(bundle: Bundle, folder: Path) -> None:
    """Two images of the size that the metadata give: PNG in 2D, NIfTI in 3D."""
    folder.mkdir()
    size = _size(bundle)
    noise = np.random.default_rng(0)
    for name in ("first", "second"):
        if len(size) == 2:
            grey = noise.integers(0, 256, size[::-1]).astype(np.uint8)
            Image.fromarray(grey).save(folder / f"{name}.png")
        else:
            volume = nibabel.Nifti1Image(noise.integers(-1000, 1000, size).astype(np.int16), np.eye(4))
            nibabel.save(volume, folder / f"{name}.nii.gz")


def _size(bundle: Bundle) -> list[int]:
    shape = _tensor(bundle, "inputs", "image")["spatial_shape"]
    return [one if isinstance(one, int) else ANY_SIZE for one in shape]


def _images(bundle: Bundle) -> Tensor:
    return torch.rand(1, _tensor(bundle, "inputs", "image")["num_channels"], *_size(bundle))


def _tensor(bundle: Bundle, side: str, name: str) -> dict[str, Any]:
    return bundle.metadata["network_data_format"][side][name]


def _network(bundle: Bundle) -> nn.Module:
    parser = bundle.parser("inference" if bundle.config_file("inference") else "train")
    parser.update({"bundle_root": str(bundle.folder), "device": CPU})
    return parser.get_parsed_content("network_def")


def _monai_files(bundle: Bundle) -> dict[str, Any]:
    config = bundle.paths("inference" if bundle.config_file("inference") else "train")
    return {"meta_file": str(bundle.folder / METADATA), "config_file": config, "bundle_root": str(bundle.folder)}


@contextmanager
def _running(bundle: Bundle) -> Iterator[None]:
    """Run the bundle's code without a trace: not on the screen, and not in how this process shows errors."""
    hook = sys.excepthook
    try:
        with own_scripts(bundle.folder), quiet(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        sys.excepthook = hook


def _reason(error: BaseException) -> str:
    """The first cause of a chain, in one line: MONAI wraps errors in errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")
