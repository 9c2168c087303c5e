"""The Claim Bench's links: what replays a finding opens the recipe that the finding names, and nothing else."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from core import Recipe
from core.claims import CLAIMS, CONFIRMED, Claim, Finding
from core.metrics import Interval
from studio.formats.links import from_query
from studio.service.engine import Engine
from studio.widgets import controls
from studio.work.labs import replay
from tests.studio.fakes import stated

SEVERAL = [one for one in CLAIMS.values() if one.needs_model or not one.slow]  # what takes long even without a network is left out


def opened(engine: Engine, link: str) -> Recipe:
    """The recipe that Denoise holds when this link has opened it."""
    said = from_query(dict(parse_qsl(link.removeprefix("?"), keep_blank_values=True)))
    denoise = stated(engine)[said.places["tab"]]
    values, rest, odd = denoise.of_link(said)
    assert said.places["tab"] == "denoise" and not said.notice and not odd
    asked = {name: values[name] for name in denoise.fields} | rest
    within = f"knob.{values['sampler']}."
    knobs = {name.removeprefix(within): value for name, value in values.items() if name.startswith(within)}
    return controls.recipe_of(**asked, sampler=values["sampler"], knobs=knobs)


@pytest.mark.slow
@pytest.mark.parametrize("one", SEVERAL, ids=lambda one: one.id)
def test_what_replays_a_finding_opens_the_very_recipe_that_it_names(one: Claim, engine: Engine) -> None:
    finding = one.finding(engine.pipe)
    link = replay(finding)
    assert bool(link) == bool(finding.recipe)
    if link:
        wanted = Recipe(**finding.recipe)
        assert opened(engine, link).replace(knobs={}) == wanted.replace(knobs={})
        assert finding.recipe.get("knobs", {}).items() <= dict(opened(engine, link).knobs).items()


def test_a_recipe_with_something_of_everything_comes_through_the_link(engine: Engine) -> None:
    named = {"prompt": "a = b & c", "sampler": "ddim", "knobs": {"eta": 0.7}, "steps": 7, "gamma": -1, "seed": 9,
             "spacing": "karras", "batch": 2, "end": "first"}  # fmt: skip
    link = replay(Finding(Interval(1, 1, 1), CONFIRMED, "So it is.", recipe=named))
    assert opened(engine, link) == Recipe(**named)
