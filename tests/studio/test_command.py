"""`launch.py generate`: a picture file with its recipe inside, one line for each mistake, and no time lost at the start."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core import Recipe, load_pipeline
from studio import command
from studio.formats.png import read_png

ROOT = Path(command.__file__).parents[1]
SMALL = ("--width", "32", "--height", "32", "--steps", "3")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Stable Diffusion, as one file."""
    pytest.importorskip("diffusers")
    from tests.checkpoints import builders

    return builders.write_single(builders.build(builders.SMALL_1), tmp_path_factory.mktemp("model") / "small.safetensors")


def generate(*args: str) -> int:
    return command.run(command.parse(["generate", *args]))


def test_the_picture_is_the_one_that_the_pipeline_makes_and_holds_its_recipe(model, tmp_path, capsys) -> None:
    out = tmp_path / "apple.png"
    assert generate("a red apple", "--model", str(model), *SMALL, "--cfg", "7", "--seed", "3", "--out", str(out)) == 0
    seen = capsys.readouterr()
    assert seen.out == f"{out}\n"  # nothing else on stdout: scripts read it
    assert "step 3/3" in seen.err and "6 network evaluations" in seen.err

    pipe = load_pipeline(model)
    recipe = Recipe(prompt="a red apple", width=32, height=32, steps=3, gamma=6, seed=3)
    assert np.array_equal(Image.open(out), pipe.images(recipe)[0])
    assert read_png(out).recipe == pipe.complete(recipe)


def test_a_batch_is_numbered_and_each_picture_knows_its_own_seed(model, tmp_path, capsys) -> None:
    out = tmp_path / "cat.png"
    generate("a cat", "--model", str(model), *SMALL, "--seed", "5", "--batch", "2", "--out", str(out))
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == ["cat-1.png", "cat-2.png"]
    assert [read_png(path).recipe.seed for path in paths] == [5, 6]


def test_a_seed_of_minus_one_is_drawn_and_told(model, tmp_path, capsys) -> None:
    generate("a cat", "--model", str(model), *SMALL, "--seed", "-1", "--out", str(tmp_path / "a.png"))
    assert f"seed {read_png(tmp_path / 'a.png').recipe.seed}\n" in capsys.readouterr().err


def test_knobs_reach_the_sampler(model, tmp_path) -> None:
    pictures = []
    for eta in ("0", "1"):
        out = tmp_path / f"{eta}.png"
        generate("a cat", "--model", str(model), *SMALL, "--sampler", "ddim", "--knob", f"eta={eta}", "--out", str(out))
        pictures.append(np.asarray(Image.open(out)))
    assert not np.array_equal(*pictures)


def test_words_that_do_not_fit_are_named(model, tmp_path, capsys) -> None:
    generate("cat " * 100 + "zebra", "--model", str(model), *SMALL, "--out", str(tmp_path / "a.png"))
    assert "zebra" in capsys.readouterr().err


def test_what_is_assumed_of_a_model_is_said_unless_it_is_told(model, tmp_path, capsys) -> None:
    pictures = {}
    for told in ([], ["--prediction", "eps"], ["--prediction", "v"]):
        out = tmp_path / "a.png"
        generate("a cat", "--model", str(model), *SMALL, *told, "--out", str(out))
        assert ("eps is assumed" in capsys.readouterr().err) == (not told)
        pictures["".join(told)] = out.read_bytes()
    assert pictures[""] == pictures["--predictioneps"] != pictures["--predictionv"]


@pytest.mark.parametrize(("args", "words"), [
    (["--steps", "1.5"], "steps is 1.5"),
    (["--steps", "nan"], "steps is NaN"),
    (["--steps", "many"], "steps is 'many'"),
    (["--sampler", "magic"], "dpmpp_2m"),
    (["--width", "65"], "multiple of 8"),
    (["--knob", "eta"], "NAME=NUMBER"),
    (["--cfg", "1e6"], "gamma"),
    (["--seed", "-2"], "seed is -2"),
    (["--sigmas", "1,2,3"], "sigmas"),
    (["--device", "toaster"], "toaster"),
    (["--dtype", "int4"], "int4"),
    (["--prediction", "noise"], "eps, v or x0, not 'noise'"),
])  # fmt: skip
def test_a_mistake_ends_in_one_line_and_exit_code_2(args, words, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        generate("a cat", *args, "--out", str(tmp_path / "a.png"))
    error = capsys.readouterr().err
    assert left.value.code == 2 and words in error and error.count("\n") == 1


def test_a_file_that_is_no_model_ends_in_one_line(tmp_path, capsys) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(SystemExit):
        generate("a cat", "--model", str(tmp_path / "model.safetensors"))
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("args", "words"), [
    (["--model", "cut.safetensors"], "cut.safetensors is incomplete"), (["--device", "toaster"], "device is 'toaster'"),
    (["--dtype", "int4"], "dtype is 'int4'"), (["--prediction", "noise"], "not 'noise'"),
    (["--inception", "cut.safetensors"], "cut.safetensors is incomplete"),
    (["--inception", "none.pth"], "no inception at 'none.pth'"),
])  # fmt: skip
def test_what_the_app_cannot_load_ends_in_one_line_too(args, words, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.safetensors").write_bytes(bytes(5))
    with pytest.raises(SystemExit) as left:
        command.run(command.parse(args))
    seen = capsys.readouterr()
    assert left.value.code == 2 and words in seen.err and seen.err.count("\n") == 1 and not seen.out


def test_a_fault_of_ours_is_not_passed_off_as_a_mistake_of_the_user(monkeypatch) -> None:
    def broken(options: object) -> None:
        raise ValueError("a slip")

    monkeypatch.setattr("studio.app.serve", broken)
    with pytest.raises(ValueError, match="a slip"):
        command.run(command.parse([]))


def test_a_folder_that_cannot_be_written_to_is_named_before_the_picture_is_made(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(command.os, "access", lambda path, mode: mode != command.os.W_OK)  # root may write anywhere
    with pytest.raises(SystemExit) as left:
        command.parse(["generate", "a cat", "--out", str(tmp_path / "a.png")])
    assert left.value.code == 2 and f"{str(tmp_path)!r} cannot be written to" in capsys.readouterr().err


def test_generate_brings_in_neither_the_app_nor_a_compiler(model, tmp_path) -> None:
    code = """
import sys, launch
code = launch.main(sys.argv[1:])
print(code, sorted({"gradio", "matplotlib", "pandas", "sympy", "torch._dynamo", "diffusers"} & set(sys.modules)))
"""
    args = ("generate", "a cat", "--model", str(model), *SMALL, "--out", str(tmp_path / "a.png"))
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
