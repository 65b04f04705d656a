"""What was typed and what the config holds: nothing is mangled without a word, nothing impossible begins."""

import ast
import os
from pathlib import Path
from typing import Any

import pytest
from fire.parser import DefaultParseValue
from hypothesis import assume, given
from hypothesis import strategies as st

from medssl.errors import UserError
from medssl.training.options import check_typed, check_values, make_folder, split_words

CONFIG: dict[str, Any] = {
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/runs'",
    "datalist": "data/datalist.json",
    "pretrained": "",
    "split": "test",
    "epochs": 3,
    "val_interval": 1,
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.1},
    "network_def": {"_target_": "medssl.networks.build_classifier", "spatial_dims": 2},
}


def test_words_are_split_as_python_fire_does() -> None:
    words = ["training", "--a", "1", "--b=2=3", "-cc", "x y", "--d-e", "-1", "--f", "--noresume", "--g", ""]
    options = {"a": "1", "b": "2=3", "cc": "x y", "d_e": "-1", "f": "True", "resume": "False", "g": ""}
    assert split_words(words) == (options, ["training"])
    assert split_words(["--last"]) == ({"last": "True"}, [])
    assert split_words([]) == ({}, [])


def arrived(name: str, text: str) -> dict[str, Any]:
    """The config after MONAI's command line has read an option."""
    value = DefaultParseValue(text)
    if value is None:
        return CONFIG
    # In a config # is ::.
    return {**CONFIG, name: value.replace("#", "::") if isinstance(value, str) else value}


def check(options: dict[str, str], config: dict[str, Any]) -> None:
    check_typed(options, [], config)
    check_values(config)


MANGLED = ["run#1", "./run#1", "'run#1'", "2024", "1e3", "a,b", "[x]", "{a}", "(a)", "None", "True", "0x10", "1_000"]
MANGLED += ["00", "1j", "-1", "...", "run ", "e\u0301te\u0301", "~", "~/runs", "", " ", "a::b"]


@pytest.mark.parametrize("text", MANGLED)
@pytest.mark.parametrize("name", ["output_dir", "datalist"])
def test_a_name_that_does_not_arrive_as_it_was_typed_is_refused(name: str, text: str) -> None:
    with pytest.raises(UserError, match=name) as caught:
        check({name: text}, arrived(name, text))
    assert text.strip() in str(caught.value)


WHOLE = ["run", "runs/1", "007", "2024-01-01", "été", "my run", "a.b", "./2024", "./a,b", "./None", "'2024'", "a=b"]
WHOLE += ["/data/me@home/x", "$'x' + 'y'", "@datalist", "C:\\runs\\1"]


@pytest.mark.parametrize("text", WHOLE)
def test_a_name_that_arrives_passes(text: str) -> None:
    check({"output_dir": text}, arrived("output_dir", text))


@given(text=st.text(min_size=1) | st.from_regex(r"[-\w.,'\"#:()\[\]{}~]{1,6}", fullmatch=True))
def test_whatever_passes_has_arrived(text: str) -> None:
    assume(not text.startswith(("$", "@", "%")))
    config = arrived("output_dir", text)
    try:
        check({"output_dir": text}, config)
    except UserError:
        return
    assert isinstance(config["output_dir"], str)
    assert config["output_dir"] == text or config["output_dir"] == ast.literal_eval(text)  # in Python's own quotes
    assert "#" not in text


@pytest.mark.parametrize(
    ("options", "stray", "said"),
    [
        ({"epochs": "None"}, [], "--epochs None changes nothing"),
        ({"optimizer#lr": "None"}, [], "--optimizer#lr None changes nothing"),
        ({"split": "test#2"}, [], "--split test#2 does not arrive whole"),
        ({}, ["folder"], "no part 'folder' to run"),
        ({"run_id": "training"}, [], "no part 'training' to run"),
    ],
)
def test_what_else_is_lost_on_the_way_is_said(options: dict[str, str], stray: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_typed(options, stray, CONFIG)


def test_nested_options_files_and_monai_s_own_are_left_alone() -> None:
    options = {"optimizer#lr": "0.5", "optimizer": "%other.json#optimizer", "config_file": "['a#b.yaml']"}
    check_typed({**options, "tracking": "None", "network_def": "$@x#y"}, ["epochs"], CONFIG)


@pytest.mark.parametrize("value", [2024, 1e3, None, True, ("a", "b"), Path("run")])
def test_a_name_in_a_file_must_be_text(value: Any) -> None:
    with pytest.raises(UserError, match=r"output_dir is .* no text"):
        check_values({**CONFIG, "output_dir": value})


IMPOSSIBLE: dict[str, list[Any]] = {
    "epochs": [0, -1, 1.5, "abc", True, [1]],
    "batch_size": [0, -1, 1.5, "8"],
    "workers": [-1, 0.5],
    "val_interval": [0],
    "steps": [-1, 0.5],
    "accumulate": [0],
    "optimizer_name": ["lion", 3],
    "rate_schedule": ["linear"],
    "warmup": [1, -0.1],
    "momentum": [1.0],
    "weight_decay": [-0.1, "1e-3"],
    "clip": [-1],
    "augmentation": [-1, True],
    "crops": ["edge"],
    "learning_rate": [0, -0.1, "1e-3", float("nan"), float("inf"), (0, 1)],
    "cache_rate": [-0.1, 1.1],
    "seed": [-1, "abc"],
    "amp": ["false", 0],
    "resume": ["yes"],
    "architecture": ["resnet19", 18, ["resnet18"]],
    "device": ["gpu", "cuda:99", 1.5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in IMPOSSIBLE.items() for value in values])
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"--{name}\b") as caught:
        check_values({**CONFIG, name: value})
    assert str(value) in str(caught.value)


POSSIBLE = {"epochs": 1, "batch_size": 1, "workers": 0, "learning_rate": 1, "cache_rate": 0.0, "seed": 0, "amp": False}
POSSIBLE |= {"architecture": "resnet18", "device": "cpu"}


@pytest.mark.parametrize("name", POSSIBLE)
def test_plain_values_and_expressions_pass(name: str) -> None:
    check_values({**CONFIG, name: POSSIBLE[name]})
    check_values({**CONFIG, name: "$whatever()"})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot be made a folder"):
            make_folder(path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(UserError, match="may not be written to"):
        make_folder(tmp_path)
