"""Inception-v3 against an independent implementation with the same weights of chance; and what is no file of its weights."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from core.checkpoints.inception import load_inception
from core.errors import UserError
from core.nets.inception import InceptionV3, resized
from tests.conftest import Parity
from tests.core.inception import shapes, weights, write_hollow, write_inception

ROOT = Path(__file__).parents[2]
PEER = "torch-fidelity FeatureExtractorInceptionV3"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inception(tmp_path_factory.mktemp("inception") / "inception.safetensors")


@pytest.fixture(scope="module")
def network(file: Path) -> InceptionV3:
    return load_inception(file)


def peer(module: str) -> Any:
    try:
        return importlib.import_module(f"torch_fidelity.{module}")
    except ImportError:
        pytest.skip("torch-fidelity is not installed (requirements-peers.txt)")


def pictures(count: int, *size: int) -> torch.Tensor:
    """From blocks of colour to noise, each finer than the one before, over the whole range of colours."""
    generator, made = torch.Generator().manual_seed(0), []
    for number in range(count):
        coarse = torch.rand(1, 3, *(min(side, 4**number + 1) for side in size), generator=generator)
        made.append(F.interpolate(coarse, size=size, mode="nearest"))
    return (255 * torch.cat(made)).round().to(torch.uint8)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


# ------------------------------------------------------------------------------------------------- the network


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The peer with the same weights, which it reads from a pickle alone."""
    made, path = peer("feature_extractor_inceptionv3").FeatureExtractorInceptionV3, tmp_path_factory.mktemp("peer") / "weights.pth"
    torch.save(weights(), path)
    return made("peer", ["2048", "logits_unbiased"], str(path)).eval()


@pytest.mark.parametrize("size", [(64, 64), (299, 299), (128, 333)], ids=str)
def test_features_and_probabilities_are_those_of_torch_fidelity(
    network: InceptionV3, other: Any, parity: Parity, size: tuple[int, int]
) -> None:
    x = pictures(3, *size)
    with torch.no_grad():
        ours, (features, logits) = network(x), other(x)
    assert features.shape == (3, 2048) and logits.shape == (3, 1008)
    assert relative(features[:2], features[1:]) > 0.05 and 0.5 < float(logits.std()) < 5  # weights that tell pictures apart
    parity("features", "Inception-v3", PEER, relative(ours.features, features), 1e-5)
    parity("probabilities", "Inception-v3", PEER, relative(ours.probabilities, logits.softmax(-1)), 1e-5)


@pytest.mark.parametrize("size", [(7, 5), (64, 64), (299, 299), (400, 333)], ids=str)
def test_pictures_are_resized_as_tensorflow_1_did(parity: Parity, size: tuple[int, int]) -> None:
    theirs = peer("interpolate_compat_tensorflow").interpolate_bilinear_2d_like_tensorflow1x
    x = pictures(1, *size).float()
    parity("resize", "Inception-v3", "torch-fidelity", relative(resized(x), theirs(x, (299, 299), align_corners=False)), 1e-6)


def test_resizing_starts_at_the_first_pixel_and_repeats_the_last() -> None:
    x = torch.tensor([0.0, 2.0]).expand(1, 1, 2, 2)
    assert resized(x, 4)[0, 0, 0].tolist() == [0, 1, 2, 2]  # a half-pixel grid would give 0, 0.5, 1.5, 2
    x = torch.rand(1, 3, 8, 6)
    assert torch.equal(resized(resized(x, 6), 6), resized(x, 6)) and torch.equal(resized(x, 4)[..., 0, 0], x[..., 0, 0])
    assert torch.equal(resized(torch.arange(8.0).expand(1, 1, 8, 8), 4)[0, 0, 0], torch.tensor([0.0, 2, 4, 6]))  # no antialias


@torch.no_grad()
def test_a_picture_is_seen_alike_alone_and_among_others(network: InceptionV3) -> None:
    x = pictures(3, 32, 32)
    together, alone = network(x), network(x[1:2])
    torch.testing.assert_close(together.features[1:2], alone.features, rtol=1e-5, atol=1e-5)
    assert together.probabilities.sum(1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


# ------------------------------------------------------------------------------------------------- its file


def test_every_weight_of_the_file_is_where_its_name_says(network: InceptionV3) -> None:
    assert all(torch.equal(value, weights()[name]) for name, value in network.state_dict().items())
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())


def test_how_long_a_norm_was_trained_may_stand_in_the_file(file: Path, tmp_path: Path) -> None:
    norms = [name.removesuffix(".weight") for name in weights() if name.endswith("bn.weight")]
    counted = {f"{norm}.num_batches_tracked": torch.tensor(0) for norm in norms}
    save_file(load_file(file) | counted, tmp_path / "counted.safetensors")
    assert isinstance(load_inception(tmp_path / "counted.safetensors"), InceptionV3)


def refused(path: Path) -> str:
    """The one sentence, or two, of a refusal; it does not say where on the machine the file is."""
    with pytest.raises(UserError) as told:
        load_inception(path)
    text = str(told.value)
    assert text.endswith(".") and "\n" not in text and str(path.parent) not in text and "Stable Diffusion" not in text
    return text


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"fc.bias": None}, r"lacks 1 of its 472 weights: 'fc\.bias'"),
        ({name: None for name in list(shapes()) if name.startswith("Mixed_7c")}, "lacks 45 of its 472 weights: 'Mixed_7c"),
        ({"fc.weight": (1000, 2048), "fc.bias": (1000,)}, r"has 2 of its 472 weights in another shape: .*'fc\.weight.*1000"),
        ({"AuxLogits.fc.weight": (1000, 768)}, r"holds 1 weights that .* has not: 'AuxLogits\.fc\.weight'"),
    ],
    ids=["one missing", "a block missing", "another network's classes", "more than it has"],
)
def test_weights_that_are_not_those_of_this_network_are_named(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    claimed = {name: shape for name, shape in (shapes() | changed).items() if shape is not None}
    told = refused(write_hollow(tmp_path / "other.safetensors", claimed))
    assert re.search(says, told) and "pt_inception-2015-12-05" in told


def test_a_file_of_zeros_and_one_with_nan_are_refused(tmp_path: Path) -> None:
    assert "is zero" in refused(write_hollow(tmp_path / "zeros.safetensors", shapes()))
    spoilt = {name: value.half() for name, value in weights().items()}
    spoilt["fc.bias"] = spoilt["fc.bias"].index_fill(0, torch.tensor([7]), float("nan"))
    save_file(spoilt, tmp_path / "nan.safetensors")
    assert "'fc.bias' holds NaN" in refused(tmp_path / "nan.safetensors")


@pytest.mark.parametrize("name", ["inception.pth", "inception.safetensors"])
def test_a_pickle_is_never_opened_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    torch.save({"fc.bias": torch.zeros(3)}, tmp_path / name)
    assert re.search(r"is a pickle file.*README\.md", refused(tmp_path / name))


def test_what_is_no_file_of_weights_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html><html>" + " " * 600)
    assert "incomplete" in refused(tmp_path / "empty.safetensors") and "web page" in refused(tmp_path / "page.safetensors")
    assert "is no file" in refused(tmp_path) and "No such file" in refused(tmp_path / "nothing.safetensors")


def test_the_command_of_the_readme_makes_the_file_of_the_public_one(tmp_path: Path) -> None:
    command = re.search(r"^python -c (\".*save_file.*\") (\S+) (\S+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert command is not None and command[2].startswith("pt_inception-2015-12-05") and command[2].endswith(".pth")
    turned = {name: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value for name, value in weights().items()}
    torch.save(turned, tmp_path / command[2])  # strides may lie in it in any order
    subprocess.run([sys.executable, "-c", *shlex.split(command[1]), command[2], command[3]], cwd=tmp_path, check=True)
    found = load_inception(tmp_path / command[3]).state_dict()
    assert all(torch.equal(found[name], value) for name, value in weights().items())
