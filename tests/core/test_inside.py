"""Inside the U-Net: the map agrees with the network itself, hooks leave no trace, and what is off is exactly what it says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core import Recipe, load_pipeline
from core.costs import unet_operations
from core.errors import UserError
from core.inside import effects, looks
from core.inside.hooks import given, outputs
from core.inside.parts import Map, map_of
from core.inside.switches import FAMILIES, Switch, denoiser, family, off, single, told
from core.nets.attention import TransformerBlock
from core.nets.configs import SD1_UNET, SD2_UNET, UNetConfig
from core.nets.unet import UNet
from core.observe import words
from core.pipeline import TextToImage
from core.sampling import Step
from tests.core.tiny import write_tiny

RECIPE = Recipe(prompt="a red cat", sampler="ddim", steps=4, gamma=2, seed=3)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    return load_pipeline(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu")


@pytest.fixture(scope="module")
def found(pipe: TextToImage) -> Map:
    return map_of(pipe.unet.config, 16, 16)


@pytest.fixture(scope="module")
def steps(pipe: TextToImage) -> list[Step]:
    return list(pipe.run(RECIPE))


def asked(pipe: TextToImage, switch: Switch | None = None, x: Tensor | None = None) -> Tensor:
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)) if x is None else x
    return told(pipe, x, pipe.schedule.at(300), ["a red cat", "a blue apple"], switch).v


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def every(pipe: TextToImage, found: Map) -> list[Switch]:
    spoken = words(pipe.tokenizer, RECIPE.prompt)
    wide = [switch for name in FAMILIES for switch in family(name, found, spoken)]
    narrow = [single(part.name, found) for part in found.parts] + [single(f"skip:{skip.target}", found) for skip in found.skips]
    return [*wide, *narrow]


# ------------------------------------------------------------------------------------------------------ the map


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 24), (9, 15)])
def test_the_map_has_the_shapes_that_the_real_network_puts_out(pipe: TextToImage, height: int, width: int) -> None:
    made = map_of(pipe.unet.config, height, width)
    with torch.no_grad(), outputs({part.name: pipe.unet.get_submodule(part.name) for part in made.parts}) as seen:
        pipe.unet(torch.randn(1, 4, height, width), 300, pipe.text_states([""]))
    assert {part.name: part.shape for part in made.parts} == {name: tuple(out.shape[1:]) for name, out in seen.items()}
    assert [part.name for part in made.parts] == list(seen)


@pytest.mark.parametrize("config", [SD1_UNET, SD2_UNET], ids=["SD 1", "SD 2"])
def test_parts_of_stable_diffusion_add_up_to_the_whole_but_for_the_last_norm(config: object) -> None:
    made = map_of(config, 64, 64)  # type: ignore[arg-type]
    with torch.device("meta"):
        whole = UNet(config)  # type: ignore[arg-type]
    count = sum(value.numel() for value in whole.parameters())
    assert sum(part.parameters for part in made.parts) == count - 2 * config.channels[0]  # type: ignore[attr-defined]
    assert 2 * sum(part.multiply_adds for part in made.parts) == unet_operations(config, 64).total  # type: ignore[arg-type]
    assert made.levels == 4 and made.part("mid_block.attentions.0").shape == (1280, 8, 8)
    assert len(made.skips) == 12 and made.skips[-1].source == "conv_in" and made.skips[0].shape == (1280, 8, 8)


def test_a_convolution_costs_what_its_formula_says(found: Map) -> None:
    part = found.part("conv_in")  # out·in·3·3 for each of 16·16 cells
    assert part.multiply_adds == 16 * 4 * 9 * 256 and part.parameters == 16 * 4 * 9 + 16


def test_every_skip_of_the_map_arrives_at_its_target_to_the_bit(pipe: TextToImage, found: Map) -> None:
    arrived: dict[str, Tensor] = {}
    modules = {skip.source: pipe.unet.get_submodule(skip.source) for skip in found.skips}
    with torch.no_grad(), outputs(modules) as sent:
        hooked = [
            pipe.unet.get_submodule(skip.target).register_forward_pre_hook(
                lambda _, args, name=skip.target: arrived.update({name: args[0].clone()})
            )
            for skip in found.skips
        ]
        pipe.unet(torch.randn(1, 4, 16, 16), 300, pipe.text_states([""]))
        for hook in hooked:
            hook.remove()
    for skip in found.skips:
        assert torch.equal(arrived[skip.target][:, -skip.shape[0] :], sent[skip.source])


# ------------------------------------------------------------------------------------------------------ switches


def test_everything_can_be_switched_off_and_leaves_no_trace(pipe: TextToImage, found: Map) -> None:
    before = asked(pipe)
    for switch in every(pipe, found):
        changed = asked(pipe, switch)
        assert changed.isfinite().all() and not torch.equal(changed, before), switch
        assert torch.equal(asked(pipe), before) and hooks(pipe.unet) == 0


def test_in_a_network_of_stable_diffusion_s_form_everything_can_be_switched_off_too() -> None:
    """Four levels, two blocks each, the coarsest without attention; two conditions of one x in one call, and no square."""
    config = UNetConfig((16, 16, 32, 32), (True, True, True, False), (2, 2, 4, 4), 2, 24, groups=8, linear_projection=True)
    torch.manual_seed(0)
    unet, made = UNet(config).eval(), map_of(config, 16, 24)
    x, context = torch.randn(1, 4, 16, 24), torch.randn(2, 1, 5, 24)
    levels = {name: len(family(name, made)) for name in ("skips", "attention", "self", "cross")}
    assert levels == {"skips": 4, "attention": 5, "self": 5, "cross": 5}  # three levels attend, then the middle, then all
    parts = [single(name, made) for name in (*(part.name for part in made.parts), *(f"skip:{s.target}" for s in made.skips))]
    with torch.no_grad():
        before = unet(x, 300, context)
        for switch in [*(one for name in FAMILIES[:-1] for one in family(name, made)), *parts]:
            with off(unet, switch):
                assert unet(x, 300, context).shape == before.shape and not torch.equal(unet(x, 300, context), before), switch
        assert torch.equal(unet(x, 300, context), before) and hooks(unet) == 0


def test_an_error_within_leaves_no_hook_behind(pipe: TextToImage, found: Map) -> None:
    with pytest.raises(ZeroDivisionError), off(pipe.unet, family("middle", found)[0]):
        raise ZeroDivisionError
    assert hooks(pipe.unet) == 0


def test_removing_a_skip_is_the_same_as_zero_weights_for_it(pipe: TextToImage, found: Map) -> None:
    """The block's first layers see zeros: so would they if the skip's source put out zeros for it alone."""
    skip = found.skips[0]
    block = pipe.unet.get_submodule(skip.target)

    def zeroed(args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = args[0].clone()
        x[:, -skip.shape[0] :] = 0
        return (x, *args[1:])

    removed = asked(pipe, single(f"skip:{skip.target}", found))
    with given(block, zeroed):
        assert torch.equal(asked(pipe), removed)


def test_the_skips_of_a_level_are_its_single_skips_together(pipe: TextToImage, found: Map) -> None:
    level = family("skips", found)[0]
    alone = [single(f"skip:{name}", found) for name in level.names]
    with off(pipe.unet, alone[0]):
        together = asked(pipe, alone[1])
    assert len(alone) == 2 and torch.equal(asked(pipe, level), together)


def test_an_attention_that_is_off_is_one_whose_last_layer_is_zero(pipe: TextToImage, found: Map) -> None:
    name = family("self", found)[-1].names[0]
    last = pipe.unet.get_submodule(f"{name}.transformer_blocks.0.attn1.to_out.0")
    without, before = asked(pipe, Switch("", "self", (name,))), asked(pipe)
    kept = [value.clone() for value in last.parameters()]
    with torch.no_grad():
        for value in last.parameters():
            value.zero_()
        zero = asked(pipe)
        for value, was in zip(last.parameters(), kept, strict=True):
            value.copy_(was)
    assert torch.allclose(zero, without, atol=1e-5) and torch.equal(asked(pipe), before)


def test_without_its_time_embedding_the_network_does_not_know_t(pipe: TextToImage, found: Map) -> None:
    (switch,) = family("time", found)
    x, context = torch.randn(1, 4, 16, 16), pipe.text_states([""])
    with torch.no_grad(), off(pipe.unet, switch):
        blind = [pipe.unet(x, t, context) for t in (10, 900)]
    with torch.no_grad():
        knowing = [pipe.unet(x, t, context) for t in (10, 900)]
    assert torch.equal(*blind) and not torch.equal(*knowing)


def test_without_all_cross_attention_words_say_nothing(pipe: TextToImage, found: Map) -> None:
    deaf = family("cross", found)[-1]
    x = torch.randn(1, 4, 16, 16).expand(2, -1, -1, -1)
    one, other = asked(pipe, deaf, x)
    assert torch.allclose(one, other, atol=1e-6) and not torch.allclose(*asked(pipe, None, x), atol=1e-6)


def test_a_word_is_left_out_of_the_context(pipe: TextToImage, found: Map) -> None:
    first, *_, last = family("words", found, words(pipe.tokenizer, "red cat"))
    assert first.title == "“red”" and set(first.positions) < set(last.positions) and last.title == "all words"
    states = pipe.text_states(["red cat"])
    with torch.no_grad():
        left = [i for i in range(states.shape[1]) if i not in first.positions]
        x = torch.randn(1, 4, 16, 16)
        expected = pipe.unet(x, 300, states[:, left])
    said = told(pipe, x, pipe.schedule.at(300), ["red cat"], first)
    assert torch.allclose(getattr(said, pipe.parts.prediction), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["", "skip:conv_in", "conv_norm_out", "mid_block", "__class__", "skip:"])
def test_what_is_not_on_the_map_is_refused(found: Map, name: str) -> None:
    with pytest.raises(UserError, match="has no part"):
        single(name, found)


def test_a_prompt_without_words_has_none_to_leave_out(found: Map) -> None:
    with pytest.raises(UserError, match="no words"):
        family("words", found, [])


# ------------------------------------------------------------------------------------------------------ what changes


def test_a_run_with_nothing_off_is_the_run_itself_to_the_bit(pipe: TextToImage, steps: list[Step]) -> None:
    again = list(effects.finished(pipe, RECIPE, None))
    assert all(torch.equal(a.x_next, b.x_next) for a, b in zip(again, steps, strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_run_with_something_off_starts_from_the_same_noise_and_ends_elsewhere(
    pipe: TextToImage, found: Map, steps: list[Step], name: str
) -> None:
    switch = family(name, found, words(pipe.tokenizer, RECIPE.prompt))[-1]
    without = list(effects.finished(pipe, RECIPE, switch))
    assert torch.equal(without[0].x, steps[0].x) and not torch.equal(without[-1].x_next, steps[-1].x_next)


def test_between_two_steps_of_such_a_run_the_network_is_whole(pipe: TextToImage, found: Map) -> None:
    before = asked(pipe)
    for _ in effects.finished(pipe, RECIPE, family("middle", found)[0]):
        assert hooks(pipe.unet) == 0 and torch.equal(asked(pipe), before)


def test_a_word_left_out_of_a_guided_run_changes_only_the_conditional_half(
    pipe: TextToImage, found: Map, steps: list[Step]
) -> None:
    (word, *_) = family("words", found, words(pipe.tokenizer, RECIPE.prompt))
    whole, less = steps[0].evaluations[0].parts, denoiser(pipe, RECIPE, word)(steps[0].x, steps[0].cur).parts
    assert torch.allclose(less["uncond"].v, whole["uncond"].v, atol=1e-5)
    assert not torch.allclose(less["cond"].v, whole["cond"].v, atol=1e-5)


def test_what_is_off_is_off_in_the_fast_tier_too(
    pipe: TextToImage, found: Map, steps: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.pipeline.BF16", True)
    switch, step = family("middle", found)[0], steps[0]
    fast = denoiser(pipe, RECIPE.replace(tier="fast"), switch)(step.x, step.cur)
    assert torch.equal(fast.x0, denoiser(pipe, RECIPE, switch)(step.x, step.cur).x0)
    assert not torch.allclose(fast.x0, step.x0, rtol=1e-3)


def test_a_word_is_left_out_under_the_guidance_of_the_recipe(pipe: TextToImage, steps: list[Step]) -> None:
    (word, *_) = family("words", None, words(pipe.tokenizer, RECIPE.prompt))
    step, recipe = steps[0], RECIPE.replace(guidance={"interval": (0.0, 1e-3)})
    assert denoiser(pipe, recipe, word)(step.x, step.cur).parts.keys() == {"cond"}
    with pytest.raises(UserError, match="the network hears no words"):
        denoiser(pipe, RECIPE.replace(guidance={"kind": "classifier"}), word)


def test_the_loss_is_the_mean_square_of_what_is_missing_of_v(pipe: TextToImage, steps: list[Step]) -> None:
    made = effects.trial(pipe, pipe.schedule.at(400), RECIPE, steps[-1].x_next, count=5)
    said = told(pipe, made.x, made.at, made.texts)
    true = [made.at.alpha * e - made.at.sigma * z for e, z in zip(made.eps, made.z, strict=True)]
    by_hand = [float((one - v).pow(2).mean()) for one, v in zip(true, said.v, strict=True)]
    assert effects.losses(made, said) == pytest.approx(by_hand, rel=1e-5) and made.of == "5 training pictures"
    exact = type(said)(made.z, made.eps, made.at)
    assert effects.losses(made, exact).max() < 1e-10


def test_changes_are_paired_and_those_of_the_whole_network_are_nought(pipe: TextToImage, found: Map, steps: list[Step]) -> None:
    made = effects.trial(pipe, pipe.schedule.at(400), RECIPE, steps[-1].x_next)
    whole, *rest = effects.effects(pipe, made, family("skips", found))
    assert whole.switch is None and tuple(whole.change) == (0, 0, 0)
    for one in rest:
        assert one.change.value == pytest.approx(one.loss.value - whole.loss.value)
        assert one.change.low <= one.change.value <= one.change.high


def test_words_are_tried_on_pictures_that_the_prompt_names_and_else_on_the_run_s_own(pipe: TextToImage, steps: list[Step]) -> None:
    at, last = pipe.schedule.at(400), steps[-1].x_next
    named = effects.of_prompt(pipe, at, RECIPE.replace(prompt="a red cat, flat"), last)
    assert named.of == "6 training pictures of “red cat”" and set(named.texts) == {"a red cat, flat"}
    other = effects.of_prompt(pipe, at, RECIPE.replace(prompt="qzxv"), last)
    assert "picture of this run" in other.of and torch.equal(other.z[0], last[0]) and not torch.equal(other.eps[0], other.eps[1])


def test_white_noise_has_a_flat_spectrum_of_its_variance() -> None:
    z = 0.5 * torch.randn(64, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    found = effects.spectrum(z)
    assert found.power == pytest.approx(np.full(len(found.power), 0.25), rel=0.1) and found.frequency[0] == 1 / 16


def test_a_wave_stands_at_its_own_frequency() -> None:
    wave = torch.cos(2 * torch.pi * 3 * torch.arange(16) / 16).expand(1, 1, 16, 16)
    found = effects.spectrum(wave)
    assert found.frequency[found.power.argmax()] == 3 / 16 and np.delete(found.power, found.power.argmax()).max() < 1e-10


def test_told_the_true_time_the_loss_is_the_usual_one(pipe: TextToImage, steps: list[Step]) -> None:
    made = effects.trial(pipe, pipe.schedule.at(300), RECIPE, steps[-1].x_next, count=4)
    (whole,) = effects.effects(pipe, made, [])
    times = dict(effects.losses_told(pipe, made, (0, 300)))
    assert times[300].value == pytest.approx(whole.loss.value, rel=1e-6) and times[0].value != times[300].value


# ------------------------------------------------------------------------------------------------------ looks


def test_activations_of_every_part_have_the_shape_of_the_map(pipe: TextToImage, found: Map, steps: list[Step]) -> None:
    for part in found.parts:
        assert tuple(looks.activation(pipe, RECIPE, steps[1], part.name).shape) == part.shape
    assert hooks(pipe.unet) == 0


def test_the_last_activation_is_what_the_network_said_with_its_words(pipe: TextToImage, steps: list[Step]) -> None:
    step = steps[2]
    out = looks.activation(pipe, RECIPE, step, "conv_out")
    assert torch.allclose(out, getattr(step.evaluations[0].parts["cond"], pipe.parts.prediction)[0], atol=1e-4)


def test_groups_are_normalised_and_silu_follows(pipe: TextToImage, steps: list[Step]) -> None:
    one = looks.normalised(pipe, RECIPE, steps[1], "mid_block.resnets.0")
    groups = one.normalised.reshape(one.groups, -1)
    assert groups.mean(1).abs().max() < 1e-5 and (groups.var(1, unbiased=False) - 1).abs().max() < 1e-2
    with torch.no_grad():
        norm = pipe.unet.mid_block.resnets[0].norm1  # type: ignore[union-attr, index]
        expected = nn.SiLU()(norm(one.before[None]))[0]  # type: ignore[operator]
    assert torch.allclose(one.after, expected, atol=1e-5)
    with pytest.raises(UserError, match="no residual block"):
        looks.normalised(pipe, RECIPE, steps[1], "conv_in")


def transformers(found: Map) -> Sequence[str]:
    return [part.name for part in found.parts if part.kind == "attention"]


def test_a_row_of_self_attention_sums_to_one_and_is_that_of_the_whole_matrix(
    pipe: TextToImage, found: Map, steps: list[Step]
) -> None:
    for name in transformers(found):
        block = pipe.unet.get_submodule(name).transformer_blocks[0]  # type: ignore[index, union-attr]
        assert isinstance(block, TransformerBlock)
        matrices: list[Tensor] = []
        with given(block.attn1, lambda args, block=block, kept=matrices: kept.append(block.attn1.weights(args[0]))):
            looks.again(pipe, RECIPE, steps[1])
        side = found.part(name).shape[-1]
        row = looks.attended(pipe, RECIPE, steps[1], name, 0.99, 0.0)
        assert row.shape == (block.attn1.heads, side, side)
        assert torch.allclose(row.flatten(1).sum(1), torch.ones(len(row)), atol=1e-5)
        assert torch.allclose(row.flatten(1), matrices[0][0, :, (side - 1) * side], atol=1e-6)


def test_what_does_not_attend_is_told_so(pipe: TextToImage, steps: list[Step]) -> None:
    with pytest.raises(UserError, match="has no attention"):
        looks.attended(pipe, RECIPE, steps[0], "conv_in", 0.5, 0.5)
    with pytest.raises(UserError, match="has no part"):
        looks.activation(pipe, RECIPE, steps[0], "__class__")
