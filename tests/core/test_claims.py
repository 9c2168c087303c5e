"""Claims that measure themselves: every row has one, the quick ones hold, and CLAIMS.md says what the code says."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from core import Recipe, load_pipeline
from core.claims import CLAIMS, CONFIRMED, OPEN, REFUTED, THEMES, VERDICTS, Claim, Finding, Progress, claim, decided, together
from core.claims.assuming import times
from core.claims.guiding import steered
from core.claims.latents import WEIGHTS, by_the_clock
from core.claims.networks import by_level, told_alone
from core.claims.sampling import posterior
from core.claims.table import document, expected, number, renewed, rows, shown, verdicts
from core.inside.effects import mistimed
from core.metrics import Interval
from core.nets.layers import ResnetBlock
from core.perfect import noised, predicted, some_of
from core.pipeline import TextToImage
from core.prediction import unconditional
from core.sampling import sample
from core.schedules import make, make_path
from core.toy import ring
from core.tradeoff import PointNoise
from tests.core.tiny import write_tiny

FILE = Path(__file__).parents[2] / "CLAIMS.md"
EXACT = [one for one in CLAIMS.values() if not one.needs_model]
ON_MODEL = [one for one in CLAIMS.values() if one.needs_model]
CANNOT_BE_SETTLED = {"benchmark_numbers"}
BUSY = "other work keeps this machine busy"
SLOW = "The time ran out before the training was over"  # as a busy machine may be; then nothing may be said


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    return load_pipeline(write_tiny(Path(tmp_path_factory.mktemp("tiny"))), device="cpu")


def named(claims: list[Claim]) -> list:
    return [pytest.param(one, id=one.id, marks=[pytest.mark.slow] if one.slow else []) for one in claims]


def sound(finding: Finding) -> None:
    """What holds of every finding, whatever the numbers are."""
    value = finding.value
    if math.isnan(value.value):  # there was nothing to measure
        assert finding.verdict == OPEN and shown(value, "dB") == "nothing to measure"
    else:
        assert value.low <= value.value <= value.high
    assert finding.verdict in VERDICTS and finding.told.endswith(".")
    Recipe(**{"prompt": "", **finding.recipe})


def test_every_row_of_the_experiments_has_a_claim() -> None:
    assert {one.row for one in CLAIMS.values()} == set(range(1, 39))
    assert {one.theme for one in CLAIMS.values()} == set(THEMES)


@pytest.mark.parametrize("one", CLAIMS.values(), ids=str)
def test_a_claim_can_be_read_by_a_student(one: Claim) -> None:
    assert one.says.endswith(".") and "?" in one.asks and one.unit
    assert one.doc.endswith(".") and re.fullmatch(r"\d{4}\.\d{5}", one.paper) and (not one.note or one.note.endswith("."))


@pytest.mark.parametrize("one", named(EXACT))
def test_a_claim_on_exact_models_is_confirmed(one: Claim) -> None:
    finding = one.finding()
    sound(finding)
    if SLOW in finding.told:
        pytest.skip(SLOW)
    assert finding.verdict == (OPEN if one.id in CANNOT_BE_SETTLED else CONFIRMED), finding.told


@pytest.mark.slow
@pytest.mark.parametrize("one", ON_MODEL, ids=lambda one: one.id)
def test_a_claim_about_a_model_measures_any_model(one: Claim, tiny: TextToImage) -> None:
    sound(one.finding(tiny))


def test_a_long_measurement_tells_how_far_it_is_and_can_be_left() -> None:
    work = CLAIMS["gaussian_reverse"].measure()
    first, second = next(work), next(work)
    assert isinstance(first, Progress) and 0 < first.part < second.part < 1
    work.close()


def test_qualified_statements_carry_their_qualification() -> None:
    assert {2, 4, 6, 19, 21, 22, 23, 26, 30, 33} <= {one.row for one in CLAIMS.values() if one.note}


def test_an_interval_decides_only_where_all_of_it_lies_on_one_side() -> None:
    assert decided(Interval(2, 1.5, 2.5), low=1) == CONFIRMED
    assert decided(Interval(2, 1.5, 2.5), low=3) == REFUTED and decided(Interval(2, 1.5, 2.5), high=1) == REFUTED
    assert decided(Interval(2, 1.5, 2.5), low=2) == OPEN and decided(Interval(2, math.nan, math.nan), low=1) == OPEN


def test_several_things_hold_together_only_if_each_does() -> None:
    assert together(CONFIRMED, CONFIRMED) == CONFIRMED
    assert together(CONFIRMED, OPEN) == OPEN and together(OPEN, REFUTED, CONFIRMED) == REFUTED


def test_a_measure_is_steered_if_it_goes_one_way_and_nowhere_back() -> None:
    runs = np.random.default_rng(0).standard_normal(8)
    up = [runs + place for place in (0.0, 1.0, 1.0, 3.0)]
    assert steered(up) == CONFIRMED and steered(up, up=False) == REFUTED
    assert steered(up[::-1], up=False) == CONFIRMED
    assert steered([runs, runs + 2, runs + 1, runs + 3]) == REFUTED  # back between the second and the third
    assert steered([runs, runs[::-1].copy()]) == OPEN  # as often up as down


def test_the_posterior_that_ddim_is_held_to_is_bayes_rule() -> None:
    mixture, schedule = ring(), make("linear")
    path = make_path(schedule, "trailing", 10, end="first")
    for step in sample(unconditional(mixture), path, "ddim", PointNoise(4), eta=1.0):
        a, b = (float(schedule.alpha_bar[int(level.t)]) for level in (step.cur, step.nxt))
        prior, likelihood = 1 / (1 - b), (a / b) / (1 - a / b)  # precisions of x_{t-1}: from x0, and from x_t
        x0 = (step.x - (1 - a) ** 0.5 * step.eps) / a**0.5
        mean = (prior * b**0.5 * x0 + likelihood * step.x / (a / b) ** 0.5) / (prior + likelihood)
        ours, variance = posterior(step, schedule)
        torch.testing.assert_close(ours, mean, rtol=1e-9, atol=1e-9)
        assert variance == pytest.approx(1 / (prior + likelihood), rel=1e-9)


def test_levels_that_are_told_another_time_one_by_one_are_all_of_the_network(tiny: TextToImage) -> None:
    blocks, at = by_level(tiny), tiny.schedule.at(300)
    x, _ = noised(some_of(tiny, 2), at)
    true = predicted(tiny, x, at, ["", ""]).eps
    every = [name for names in blocks.values() for name in names]
    assert len(every) == sum(isinstance(module, ResnetBlock) for module in tiny.unet.modules())
    torch.testing.assert_close(told_alone(tiny, x, at, 300, every), true)
    torch.testing.assert_close(told_alone(tiny, x, at, 700, every), mistimed(tiny, x, at, 700, ["", ""]).eps)
    assert not torch.allclose(told_alone(tiny, x, at, 700, blocks[0]), true)


def test_a_convolution_that_is_not_given_silu_of_the_norm_refutes_the_claim(tiny: TextToImage) -> None:
    assert CLAIMS["group_norm"].finding(tiny).verdict == CONFIRMED
    conv = next(module for module in tiny.unet.modules() if isinstance(module, ResnetBlock)).conv2
    hook = conv.register_forward_pre_hook(lambda _, args: (args[0] + 1,))
    try:
        assert CLAIMS["group_norm"].finding(tiny).verdict == REFUTED
    finally:
        hook.remove()


def test_text_that_came_in_some_other_way_would_refute_cross_attention(tiny: TextToImage) -> None:
    assert CLAIMS["text_enters"].finding(tiny).verdict != REFUTED
    hook = tiny.unet.register_forward_pre_hook(lambda _, args: (args[0] + args[2].mean(), *args[1:]))
    try:
        assert CLAIMS["text_enters"].finding(tiny).verdict == REFUTED
    finally:
        hook.remove()


def test_what_a_tiny_clip_retrieves_stands_beside_the_loss_and_decides_nothing(
    tiny: TextToImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.claims.attending.TAUGHT", 1)
    finding = CLAIMS["clip_loss"].finding(tiny)
    assert finding.verdict == CONFIRMED and re.search(r"2 held-out pictures .* among 2; by chance 50.0 %\.$", finding.told)
    monkeypatch.setitem(tiny.extras.__dict__, "training", type(tiny.extras.training)(tiny.extras.training.latents[:0], ()))
    without = CLAIMS["clip_loss"].finding(tiny)
    assert (without.verdict, without.value) == (CONFIRMED, finding.value) and "too few for a tiny CLIP" in without.told


def test_seconds_on_no_line_are_not_followed_to_a_thousand_steps(tiny: TextToImage, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    monkeypatch.setattr("time.perf_counter", lambda: float(random.uniform(0, 100)))
    finding = CLAIMS["thousand_calls"].finding(tiny)
    assert finding.verdict == OPEN and "busy" in finding.told


def test_evaluations_on_latents_and_on_pixels_are_timed_by_turns_unless_they_are_too_long(
    tiny: TextToImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[int] = []
    monkeypatch.setattr("core.claims.latents.once", lambda network, side, context: sides.append(side) or side / 100)
    small, large = tiny.size // tiny.vae.factor, tiny.size
    told = CLAIMS["cheaper_latents"].finding(tiny).told
    assert sides == [small, *[small, large] * 3] and f": {large / small:.3g} times as long" in told
    monkeypatch.setattr("core.claims.latents.MOST_TIMED", 0)
    assert "too long to be timed" in CLAIMS["cheaper_latents"].finding(tiny).told and len(sides) == 7


@pytest.mark.parametrize(
    ("pixels", "decides"),
    [((0.5, 0.4, 0.6), [CONFIRMED]), ((0.05, 0.04, 0.06), [OPEN]), ((0.5, 0.4, 2.0), []), ((0.0, 0.4, 0.5), [])],
)
def test_a_coarse_or_unsteady_clock_decides_nothing_about_latents(pixels: tuple[float, ...], decides: list[str]) -> None:
    told, decided_ = by_the_clock(np.stack([np.full(3, 0.01), pixels], 1))
    assert decided_ == decides and (BUSY in told) != bool(decides)
    assert not decides or f"{pixels[0] / 0.01:.3g} times as long" in told


def test_training_that_the_clock_ended_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.assumptions.approximation.SECONDS", 0.0)
    finding = CLAIMS["universal_approximation"].finding()
    assert finding.verdict == OPEN and SLOW in finding.told


def test_how_many_times_an_error_is_another_goes_by_factors() -> None:
    ratio = times(np.array([2.0, 8.0]), np.array([1.0, 1.0]))
    assert ratio.value == pytest.approx(4) and ratio.value / ratio.low == pytest.approx(ratio.high / ratio.value)


def test_the_latent_loss_is_an_even_mean_over_all_times_and_weighed_as_the_network_was_trained(tiny: TextToImage) -> None:
    finding = CLAIMS["latent_loss"].finding(tiny)
    assert np.ptp(np.diff(finding.settings["t"])) == 0 and np.mean(finding.settings["t"]) == len(tiny.schedule) / 2
    x, eps = noised(z := some_of(tiny, 2), at := tiny.schedule.at(300))
    said = predicted(tiny, x, at, ["", ""])
    for kind, of in (("v", lambda p: p.v), ("x0", lambda p: p.x0)):
        true = of(type(said)(z, eps, at))
        ratio = (of(said) - true).square().sum() / (said.eps - eps).square().sum()
        assert float(ratio) == pytest.approx(WEIGHTS[kind](at), rel=1e-3)


def test_a_verdict_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="maybe"):
        Finding(Interval(1, 1, 1), "maybe", "Nothing.")


def test_a_claim_is_registered_under_its_name_and_the_table_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.claims.CLAIMS", dict(CLAIMS))

    @claim(99, says="Two and two are four.", asks="How many?", paper="0000.00000", unit="of them")
    def addition() -> Finding:
        """Add two and two."""
        return Finding(Interval(4, 4, 4), CONFIRMED, "Four.")

    from core import claims

    made = claims.CLAIMS["addition"]
    assert (made.doc, made.slow, made.needs_model) == ("Add two and two.", False, False)
    assert made.finding().value.value == 4


def test_what_is_written_is_what_is_read() -> None:
    finding = Finding(Interval(1, 0.5, 1.5), CONFIRMED, "So it is.")
    text = document(dict.fromkeys(CLAIMS, finding), "0123456789")
    assert rows(text) == expected()
    assert "**1 [0.5, 1.5] share" in text and "(weights 0123456789)" in text
    assert verdicts(text) == dict.fromkeys(CLAIMS, CONFIRMED)


def test_one_entry_is_renewed_and_the_others_stay() -> None:
    old, new = (Finding(Interval(at, at, at), verdict, "So it is.") for at, verdict in ((1, CONFIRMED), (2, REFUTED)))
    for name in ("same_shape", "pixels", list(expected())[-1].id):
        wanted = document(dict.fromkeys(CLAIMS, old) | {name: new}, "0123456789")
        assert renewed(document(dict.fromkeys(CLAIMS, old), "0123456789"), CLAIMS[name], new) == wanted


def test_what_a_finding_tells_has_its_powers_of_ten_as_one_writes_them_and_all_else_untouched() -> None:
    told = "Off by 3.1e-07 of 2e+12, by 0e+00 after 20 steps; seed 1e5f, ×1.5, e-12."
    finding = Finding(Interval(0, 0, 0), CONFIRMED, told)
    assert finding.told == "Off by 3.1·10⁻⁷ of 2·10¹², by 0 after 20 steps; seed 1e5f, ×1.5, e-12."


def test_numbers_are_written_as_one_says_them() -> None:
    assert [number(v) for v in (0, 0.25, -1.5, 12345, 3.2e-7, 1.6e6)] == ["0", "0.25", "−1.5", "12,345", "3.2·10⁻⁷", "1.6·10⁶"]
    assert shown(Interval(48, 48, 48), "× fewer numbers") == "48 × fewer numbers"


def test_the_written_table_says_what_the_code_says() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert rows(text) == expected(), "run `python -m core.claims`"
    assert set(verdicts(text).values()) <= set(VERDICTS)


def test_what_the_written_table_refutes_is_explained_in_it() -> None:
    refuted = [name for name, verdict in verdicts(FILE.read_text(encoding="utf-8")).items() if verdict == REFUTED]
    assert all(CLAIMS[name].note for name in refuted), refuted


@pytest.fixture(scope="module")
def embedded() -> TextToImage:
    return load_pipeline(device="cpu")


def test_the_written_table_was_measured_on_the_weights_that_ship(embedded: TextToImage) -> None:
    assert f"(weights {embedded.hash})" in FILE.read_text(encoding="utf-8"), "run `python -m core.claims`"


@pytest.mark.parametrize("one", named(ON_MODEL))
def test_what_is_measured_on_the_embedded_model_comes_out_as_written(one: Claim, embedded: TextToImage) -> None:
    finding = one.finding(embedded)
    if BUSY in finding.told:
        pytest.skip(BUSY)
    assert finding.verdict == verdicts(FILE.read_text(encoding="utf-8"))[one.id], finding.told
