"""What happens when MkDocs builds the site: pages are written from the code, files outside `docs/` become pages, too.

Nothing is left in the checkout. A link on a page that leads to a file of the repository leads to its page where it has
one, and else becomes the file's name: a site that is opened from a disk cannot know where the repository is. Nor does a
page fetch anything from the network.
"""

import json
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from reference_pages import api, tasks
from reference_pages.commands import commands_page
from reference_pages.options import BUNDLES, options_page

from medssl.pretext import TASKS

ROOT = Path(__file__).parents[1]
RESULTS = "benchmarks/results"
PROJECT = {"CHANGELOG.md": "project/changelog.md", "CONTRIBUTING.md": "project/contributing.md",
           "SECURITY.md": "project/security.md", "CODE_OF_CONDUCT.md": "project/conduct.md",
           **{f"bundles/{name}/docs/README.md": f"reference/bundles/{name}.md" for name in BUNDLES}}  # fmt: skip
"""Files of the repository that have a page, and its address."""


SHIM, OURS = "https://unpkg.com/iframe-worker/shim", "assets/search_from_disk.js"
"""What the offline search would fetch when the site is opened from a disk, and what does its work here."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put a page for each task and each room below that which lists them."""
    sections = {
        f"{tasks.FOLDER}/index.md": [f"{tasks.FOLDER}/{name}.md" for name in TASKS],
        f"{api.FOLDER}/index.md": [f"{api.FOLDER}/{room}.md" for room in api.ROOMS],
    }
    (reference,) = (pages["Reference"] for pages in config.nav or [] if "Reference" in pages)
    for number, entry in enumerate(reference):
        title, address = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
        if address in sections:
            reference[number] = {title: [address, *sections[address]]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is not written by hand."""
    pages: dict[str, str | bytes] = {
        "reference/commands.md": commands_page(),
        "reference/options.md": options_page(ROOT),
        **api.api_pages(),
        **tasks.task_pages(ROOT / RESULTS),
        **tasks.task_pictures(),
        **{page: (ROOT / name).read_text(encoding="utf-8") for name, page in PROJECT.items()},
        **_results(),
        **_notebooks(files),
    }
    for address, content in pages.items():
        files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files of the repository to their pages, or leave the name alone."""
    source = page.file.src_uri
    named = {address: name for name, address in PROJECT.items()}
    folder = Path(named[source]).parent if source in named else Path("docs", source).parent
    if source.startswith("benchmarks/"):
        folder = Path(source).parent

    def led(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        path, _, fragment = target.partition("#")
        if "://" in target or not path or target.startswith("mailto:"):
            return match[0]
        if files.get_file_from_path(_plain(Path(source).parent / path)):
            return match[0]
        inside = _plain(folder / path)
        address = PROJECT.get(inside) or inside.removeprefix("docs/")
        if files.get_file_from_path(address) is None:
            return words
        up = "../" * source.count("/")
        return f"[{words}]({up}{address}{'#' + fragment if fragment else ''})"

    return re.sub(r"(?<!!)\[([^\[\]]+)\]\(([^()\s]+)\)", led, markdown)


@event_priority(-100)  # after the plugin that puts it there
def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Have the search run without the network, also from a disk."""
    return output.replace(SHIM, page.url.count("/") * "../" + OURS)


@event_priority(-100)
def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """Likewise for the page that says that there is no such page, which is served from the root."""
    return output.replace(SHIM, f"/{OURS}")


def _plain(path: Path) -> str:
    """A path without `..`, as MkDocs names files."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _results() -> dict[str, str | bytes]:
    """Every file of results as a page, with the pictures that lie beside them."""
    files = sorted((ROOT / RESULTS).iterdir())
    pages: dict[str, str | bytes] = {
        f"{RESULTS}/{path.name}": path.read_text(encoding="utf-8") for path in files if path.suffix == ".md"
    }
    pages |= {f"{RESULTS}/{path.name}": path.read_bytes() for path in files if path.suffix == ".png"}
    titles = {path.name: _title(path) for path in files if path.suffix == ".md" and path.name != "index.md"}
    listed = [f"| [{name.removesuffix('.md')}]({name}) | {title} |" for name, title in titles.items()]
    index = [
        "# What was measured",
        "",
        "Each is written by the benchmark of its name, or says where it is from.",
        "",
    ]
    return pages | {f"{RESULTS}/index.md": "\n".join([*index, "| file | |", "|---|---|", *listed]) + "\n"}


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").replace("|", "\\|")


def _notebooks(files: Files) -> dict[str, str | bytes]:
    """Each notebook as a page: its text, its code, and a link to the file."""
    pages: dict[str, str | bytes] = {}
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        cells = json.loads(file.content_string)["cells"]
        parts = ["".join(cell["source"]) for cell in cells]
        shown = [
            f"```python\n{text}\n```" if cell["cell_type"] == "code" else text
            for cell, text in zip(cells, parts, strict=True)
        ]
        note = f"[Download the notebook]({Path(file.src_uri).name}){{ .md-button }}"
        pages[file.src_uri.replace(".ipynb", ".md")] = "\n\n".join([shown[0], note, *shown[1:]]) + "\n"
    return pages
