"""TorchScript and ONNX of an exported bundle, by MONAI's own commands in this process."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from monai.bundle import ckpt_export, onnx_export

from medssl.errors import UserError
from medssl.files import whole_file

from .checks.bundle import MODEL, Bundle, own_scripts, quiet


def check_onnx() -> None:
    """Raise `UserError` when what ONNX needs is not installed."""
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs {' and '.join(missing)}: pip install 'medssl[onnx]', or export without.")


def write_torchscript(bundle: Path, traced: Sequence[int] | None = None) -> None:
    """Write ``models/model.ts``, which holds metadata and inference config too.

    Args:
        bundle: its folder.
        traced: size of an image to trace the network with, where it cannot be scripted.
    """
    path = bundle / "models" / "model.ts"
    how: dict[str, Any] = {"use_trace": True, "input_shape": [1, 1, *traced]} if traced else {}
    with own_scripts(bundle), quiet():
        ckpt_export("network_def", str(path), str(bundle / MODEL), **how, **Bundle(bundle).monai_options)
    _drop_source_paths(path)


def write_onnx(bundle: Path, image_size: Sequence[int]) -> None:
    """Write ``models/model.onnx``, from ``image`` to ``pred``, for any number of images at a time."""
    path = bundle / "models" / "model.onnx"
    shape = [2, 1, *image_size]  # a sample of one image would fix their number at one
    any_number = {name: {0: "batch"} for name in ("image", "pred")}
    names = {"input_names": ["image"], "output_names": ["pred"], "dynamic_axes": any_number}
    with own_scripts(bundle), quiet():
        files = Bundle(bundle).monai_options
        onnx_export("network_def", str(path), str(bundle / MODEL), input_shape=shape, converter_kwargs=names, **files)
    _drop_stack_traces(path)


def _drop_source_paths(path: Path) -> None:
    """Leave out of a TorchScript file where each line of code stood on this machine, which is for debugging only."""
    with ZipFile(path) as whole, whole_file(path) as temporary, ZipFile(temporary, "w") as without:
        for record in whole.infolist():
            if not record.filename.endswith(".debug_pkl"):
                without.writestr(record, whole.read(record))


def _drop_stack_traces(path: Path) -> None:
    """The same of an ONNX file."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    nodes = [*graph.node, *(node for function in model.functions for node in function.node)]
    for part in (graph, *nodes, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    with whole_file(path) as temporary:
        onnx.save(model, temporary)
