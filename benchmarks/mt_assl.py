"""MT-ASSL's greedy search on phantoms, undisturbed and killed three times on the way: is the result the same?

`python benchmarks/mt_assl.py` searches over five tasks on chest phantoms, `--kind head` over three on head CT phantoms
in 3D. The search runs twice: once to the end, and once in a process that is killed (SIGKILL) in the middle of a
training, started again, and so on. It writes `results/mt_assl_KIND.json`, `.md` and `.png` beside this file. Trainings
that have ended in `--runs` are not repeated.
"""

import argparse
import filecmp
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from environment import environment

from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.phantoms import write_phantoms
from medssl.studies.mt_assl import MTASSL, run_mt_assl

RESULTS = Path(__file__).parent / "results"
BACKBONE = "resnet10_quarter"


@dataclass(frozen=True)
class Recipe:
    """What is searched on one kind of phantom."""

    kind: Literal["chest", "head"]
    count: int
    size: tuple[int, ...]
    labelled_per_class: int
    candidates: tuple[str, ...]
    shared: dict[str, Any]
    pretrain: dict[str, Any]
    finetune: dict[str, Any]

    def study(self, runs: Path, output: str, parallel: int = 1) -> MTASSL:
        """The search, on the data that `prepare_phantoms` has put there."""
        options = {"architecture": BACKBONE, "workers": 0, "learning_rate": 0.001, **self.shared}
        return MTASSL(
            runs / output,
            runs / "data",
            {name: {} for name in self.candidates},
            {**options, "probe_every": 0, **self.pretrain},
            {**options, **self.finetune},
            parallel=parallel,
        )

    def prepare_phantoms(self, runs: Path) -> None:
        """Draw and prepare the images, once."""
        if (runs / "data" / "datalist.json").exists():
            return
        size = self.size[0] if len(self.size) == 2 else self.size
        table = write_phantoms(runs / "phantoms", self.kind, self.count, size=size)
        prepare(
            [Source(images=runs / "phantoms" / "images", csv=table)],
            runs / "data",
            spatial_dims=len(self.size),
            size=self.size,
            spacing=(-1, -1, -1),  # the voxels as the phantoms have them
            fractions=(0.6, 0.2, 0.2),
            labelled_per_class=self.labelled_per_class,
            partial_test=False,
        )


RECIPES = {
    "chest": Recipe(
        kind="chest",
        count=800,
        size=(64, 64),
        labelled_per_class=40,
        candidates=("rotation", "src", "simclr", "inpainting", "jigsaw"),
        shared={"batch_size": 32},
        pretrain={"epochs": 8},
        finetune={"epochs": 10},
    ),
    "head": Recipe(
        kind="head",
        count=300,
        size=(32, 32, 16),
        labelled_per_class=24,
        candidates=("rotation", "rubiks_cube", "sc_assl"),
        shared={"batch_size": 16, "image_size": [32, 32, 16], "window": [-20.0, 120.0]},
        pretrain={"epochs": 8},
        finetune={"epochs": 10},
    ),
}


def kill_and_resume(recipe: Recipe, runs: Path, parallel: int) -> list[str]:
    """Run the search in other processes, all but the last of which are killed in a training; returns in which."""
    begun = 2 * len(recipe.candidates)  # trainings of the first iteration
    command = [sys.executable, __file__, "--kind", recipe.kind, "--runs", str(runs), "--parallel", str(parallel)]
    killed = []
    for moment in (1, begun - 1, begun + 1):
        process = subprocess.Popen([*command, "--killed"])
        while (inside := unfinished(runs / "killed", moment)) is None:
            if process.poll() is not None:
                raise SystemExit("The search ended before it could be killed: run again with an empty --runs.")
            time.sleep(0.02)
        process.kill()
        process.wait()
        killed.append(inside)
        print(f"\nKilled in {inside}.\n", flush=True)
        time.sleep(2)  # the trainings of a parallel search end with it
    subprocess.run([*command, "--killed"], check=True)
    return killed


def unfinished(output: Path, number: int) -> str | None:
    """The name of a training under way that has written a checkpoint, once so many have begun."""
    folders = [path for kind in ("pretrain", "finetune") for path in (output / kind).glob("*")]
    under_way = [path for path in folders if (path / "checkpoints").is_dir() and not (path / "ended").exists()]
    if len(folders) < number or not under_way:
        return None
    return under_way[0].relative_to(output).as_posix()


def differences(first: Path, second: Path) -> tuple[int, list[str]]:
    """How many files two searches must share (results, tables, weights, predictions), and those that differ."""
    patterns = ("results.json", "table.csv", "similarity/*/*", "*/*/model.pt", "*/*/backbone.pt", "finetune/*/*.csv")
    names = sorted(path.relative_to(first) for pattern in patterns for path in first.glob(pattern))
    return len(names), [str(name) for name in names if not same(first / name, second / name)]


def same(first: Path, second: Path) -> bool:
    if not second.exists():
        return False
    if first.suffix != ".pt":
        return filecmp.cmp(first, second, shallow=False)
    one, other = (torch.load(path, weights_only=True) for path in (first, second))
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def as_markdown(report: dict[str, Any]) -> str:
    recipe = report["recipe"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    compared, differ = report["compared"], report["differ"]
    lines = [
        f"# MT-ASSL on {recipe['kind']} phantoms",
        "",
        f"{report['machine']}; {versions}. {report['minutes']} minutes of training, undisturbed.",
        f"{recipe['count']} images of {' × '.join(map(str, recipe['size']))}, {recipe['labelled_per_class']} labelled "
        f"for each class, {BACKBONE}, {recipe['pretrain']['epochs']} epochs of pre-training, "
        f"{recipe['finetune']['epochs']} of fine-tuning, one seed. {report['metric']} on the validation split.",
        "",
        "| Iter. | A1 | A2 | similarity | average | maximum | aggregated | over average | over maximum |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        numbers = [(row["similarity"], ".4f"), *((row[name], ".3f") for name in ("average", "maximum", "score"))]
        score, average, maximum = row["score"], row["average"], row["maximum"]
        trained = score is not None and average is not None
        numbers += [(score - average if trained else None, "+.3f"), (score - maximum if trained else None, "+.3f")]
        cells = [str(row["iteration"]), " + ".join(row["pool"]), row["task"] or ""]
        cells += ["" if value is None else f"{value:{form}}" for value, form in numbers]
        lines.append("| " + " | ".join(f"**{cell}**" if cell and row["taken"] else cell for cell in cells) + " |")
    test = "; ".join(f"{name} {v:.3f} [{low:.3f}, {high:.3f}]" for name, (v, low, high) in report["test"].items())
    lines += [
        "",
        f"![The table as a picture](mt_assl_{recipe['kind']}.png)",
        "",
        f"Bold: taken into the pool. On the test split, which the search never saw: {test}.",
        "",
        f"Killed in {', in '.join(report['killed'])}, and started again each time: of {compared} files (results, "
        f"tables, similarities, predictions, weights of every network) {len(differ) or 'none'} "
        f"{'differ' if len(differ) > 1 else 'differs'} from those of the undisturbed search.",
        "",
        "It shows that the search works and can be stopped. It does not show that similarity is a good guide, nor "
        "which tasks suit real images: these are drawn, the trainings are short, and with one seed and a validation "
        "split of this size differences of a few hundredths are noise.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(RECIPES), default="chest")
    parser.add_argument("--runs", type=Path, help="where the runs are kept (default: demo/mt_assl_KIND)")
    parser.add_argument("--parallel", type=int, default=1, help="trainings at a time of the search that is killed")
    parser.add_argument("--killed", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.kind]
    runs = arguments.runs or Path("demo") / f"mt_assl_{arguments.kind}"
    if arguments.killed:
        recipe.study(runs, "killed", arguments.parallel).run(lambda what, run: print(what, flush=True))
        return
    recipe.prepare_phantoms(runs)
    study = recipe.study(runs, "undisturbed")
    choice = run_mt_assl(study)
    shutil.rmtree(runs / "killed", ignore_errors=True)
    killed = kill_and_resume(recipe, runs, arguments.parallel)
    compared, differ = differences(runs / "undisturbed", runs / "killed")
    report = {
        **environment(),
        "recipe": asdict(recipe),
        **asdict(choice),
        "minutes": round(study.minutes(), 1),
        "killed": killed,
        "compared": compared,
        "differ": differ,
    }
    RESULTS.mkdir(exist_ok=True)
    name = f"mt_assl_{recipe.kind}"
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    (RESULTS / f"{name}.md").write_text(as_markdown(json.loads(json.dumps(report))))
    shutil.copy(runs / "undisturbed" / "table.png", RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()
