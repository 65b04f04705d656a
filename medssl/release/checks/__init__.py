"""The checks of a bundle: each takes a :class:`Bundle` and yields a sentence for everything that is wrong."""

from collections.abc import Callable, Iterator, Mapping

from . import configs, files, metadata, privacy, running, weights
from .bundle import Bundle, Note
from .identifiers import run_names
from .metadata import schema_file

Check = Callable[[Bundle], Iterator[str]]

READING: Mapping[str, Check] = {
    "all required files are there": files.required_files,
    "nothing lies in it that others should not get": files.nothing_foreign,
    "archives are whole": files.archives_whole,
    "files over 25 MB are in large_files.yml": files.large_files,
    "docs/README.md has the sections of the zoo's template": files.readme_sections,
    "metadata.json can be read": metadata.readable,
    "metadata.json fits the schema": metadata.fits_schema,
    "version and changelog are in step, packages have plain versions": metadata.versions,
    "the metadata agree with themselves": metadata.consistent,
    "the configs can be read": configs.readable,
    "no absolute path stands in any file": privacy.absolute_paths,
}
"""What a check proves → the check; these read files only."""

MUST_BE_READABLE = ("metadata.json can be read", "the configs can be read")

WEIGHTS: Mapping[str, Check] = {"weights load with weights_only=True and are finite": weights.loadable}
"""These read weights."""

IDENTIFIERS: Mapping[str, Check] = {"no patient and no image of the run is named": privacy.identifiers}
"""These need the run."""

READING_CONFIGS: Mapping[str, Check] = {
    "the configs have the ids of MONAI's tools (check_properties)": configs.properties,
    "the configs have the ids that the zoo asks for": configs.needed_ids,
    "what the configs refer to is there": configs.references,
    "expressions are Python, and can be sent to workers": configs.expressions,
    "what is imported is listed": configs.imports,
}
"""These read the configs, and begin when those can be read."""

RUNNING: Mapping[str, Check] = {
    "every _target_ is there": running.targets,
}
"""These run the configs, which are code, and begin when nothing else was found."""

RUNNING_WEIGHTS: Mapping[str, Check] = {
    "the weights fit network_def": running.weights_fit,
    "the network takes and gives what the metadata say (verify_net_in_out)": running.shapes,
    "TorchScript gives the same (ckpt_export)": running.torchscript,
    "the inference runs on drawn images": running.inference_runs,
}
"""Likewise, where there are weights."""

__all__ = [
    "IDENTIFIERS",
    "MUST_BE_READABLE",
    "READING",
    "READING_CONFIGS",
    "RUNNING",
    "RUNNING_WEIGHTS",
    "WEIGHTS",
    "Bundle",
    "Check",
    "Note",
    "run_names",
    "schema_file",
]
