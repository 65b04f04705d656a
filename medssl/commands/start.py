"""What a newcomer begins with: the demo, the bundles, phantoms, a picture of the puzzles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .options import Commands, command


def add_demo(commands: Commands) -> None:
    """The command `demo`."""
    option = command(commands, _demo, "the main job in small, on phantoms: is pre-training worth it?").add_argument
    option("--kind", choices=("chest", "head"), default="chest", help="chest radiographs (2D, default) or head CT (3D)")
    option("--output", type=Path, help="folder for data, runs and results (default: demo/KIND)")
    option("--seeds", type=int, help="repetitions (default: 2)")
    option("--task", help="pretext task or tasks, such as rotation or rotation,mim (default: the demo's own choice)")


def _demo(kind: str, output: Path | None = None, **given: Any) -> None:
    from ..studies.demo import RECIPES, run_demo

    run_demo(RECIPES[kind], output or Path("demo", kind), **given)


def add_bundles(commands: Commands) -> None:
    """The command `bundles`."""
    option = command(
        commands,
        _bundles,
        "lay the bundles, recipes and studies down where you work",
        "Writes bundles/ and configs/, whose files are given to python -m monai.bundle run. In a checkout they stand "
        "at the top already. A file that you changed is not touched, unless you say so.",
    ).add_argument
    option("--to", type=Path, required=True, metavar="DIR", help="folder that gets bundles/ and configs/, such as .")
    option("--overwrite", action="store_true", help="replace files with another content, such as an older version's")


def _bundles(to: Path, **given: bool) -> None:
    from ..scaffold import lay_down

    print(lay_down(to, **given))


def add_phantoms(commands: Commands) -> None:
    """The command `phantoms`."""
    option = command(commands, _phantoms, "write drawn chest radiographs or head CT with their labels").add_argument
    option("directory", metavar="output", type=Path, help="folder to write to: images/ and labels.csv")
    option("--kind", choices=("chest", "head"), default="chest", help="default: chest")
    option("--count", type=int, default=1000, help="number of images (default: 1000)")
    option("--size", type=int, nargs="+", help="pixels: one number (chest) or X Y Z (head)")
    option("--format", dest="image_format", choices=("png", "dicom", "nifti"), help="default: png or nifti, by kind")
    option("--seed", type=int, help="of the drawing (default: 0)")
    option("--scanner", choices=("north", "west", "south"), help="of a hospital of the demo (chest; default: any)")
    option("--first-patient", type=int, help="number of the first one, so that hospitals share none (default: 0)")
    option(
        "--masks",
        action="store_true",
        help="heads of three hospitals with masks of other classes each, and sources.yaml in place of labels.csv",
    )


def _phantoms(directory: Path, count: int, kind: Any, size: Sequence[int] = (), **given: Any) -> None:
    from ..phantoms import SCANNERS, write_phantoms, write_segmented_heads

    shape = size[0] if len(size) == 1 else tuple(size) or None
    if given.pop("masks", False):
        if kind != "head" or given.keys() - {"seed"}:
            raise UserError("--masks is for --kind head, with --count, --size and --seed alone.")
        given |= {"size": shape} if shape else {}
        print(f"{count} heads of three hospitals: {write_segmented_heads(directory, count, **given)}")
        return
    if scanner := given.pop("scanner", ""):
        given["scanner"] = SCANNERS[scanner]
    table = write_phantoms(directory, kind=kind, count=count, size=shape, **given)
    print(f"{count} {kind} phantoms: {directory / 'images'}, labels: {table}")


def add_puzzles(commands: Commands) -> None:
    """The command `puzzles`."""
    option = command(commands, _puzzles, "one picture of every pretext task, in 2D and 3D, on phantoms").add_argument
    option("path", metavar="output", type=Path, help="the picture to write (.png, .pdf, .svg)")
    option("--tasks", nargs="+", metavar="TASK", help="some of them, such as rotation mim (default: all)")
    option("--seed", type=int, help="of the phantoms and the puzzles (default: 0)")


def _puzzles(path: Path, **given: Any) -> None:
    from ..studies.gallery import draw_gallery

    draw_gallery(path, **given)
    print(f"What goes in, and what must be answered: {path}")
