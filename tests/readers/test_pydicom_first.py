"""pydicom and its decoders beside folders and files that are called as modules which they would like to have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

AS_MONAI_DOES = "try:\n    import pydicom\nexcept Exception as error:\n    print('before:', error)\n"
DECODE = """
from medssl.readers import read_radiograph
import pydicom
from pathlib import Path
print(read_radiograph(Path(pydicom.__file__).parent / "data" / "test_files" / "JPEGLSNearLossless_16.dcm").values.shape)
"""
FORMS = {"folder": "{}/notes.txt", "package": "{}/__init__.py", "file": "{}.py"}


@pytest.mark.parametrize("before", [AS_MONAI_DOES, ""], ids=["after MONAI", "by itself"])
@pytest.mark.parametrize(
    ("name", "form"),
    [("dl", "folder"), ("dl", "package"), ("dl", "file"), ("DLFCN", "folder"), ("pylibjpeg", "folder")],
)
def test_compressed_images_are_read_beside_a_folder_of_a_modules_name(
    name: str, form: str, before: str, tmp_path: Path
) -> None:
    path = tmp_path / FORMS[form].format(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine = True\n")
    last = f"import {name}\nprint(list({name}.__path__) if hasattr({name}, '__path__') else {name}.__file__)\n"
    done = subprocess.run(
        [sys.executable, "-c", before + DECODE + last],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, shape, place = done.stdout.splitlines()
    assert len(shape.split(",")) == 2
    assert str(tmp_path / name) in place  # the user's own is found as ever
    assert ("before:" in done.stdout) is (bool(before))  # else nothing was put right
