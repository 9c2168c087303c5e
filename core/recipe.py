"""Recipe: one run described completely, so that it can be a cache key, a share link, PNG text and an API body alike.

A Recipe holds plain numbers and words, never a picture (pictures appear as digests), and is checked once, when it is
made: whatever holds one needs no further checks. Whoever hands in something else gets one sentence that names the
field, its value and what is allowed. Randomness is explicit: the seed is always a number (`draw_seed` makes one up).

Guidance is written as gamma, and shown as both scales:

    eps = (1 + gamma)·eps_cond − gamma·eps_uncond         (1)   2207.12598, eq. 6
    w = 1 + gamma, the "CFG scale" of everyone else       (2)
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import itertools
import json
import math
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from core.errors import UserError
from core.sampling import SAMPLERS
from core.schedules import ENDS, SCHEDULES, SPACINGS

MAX_TEXT = 2_000  # characters of a prompt
MAX_SEED = 2**64 - 1
BUDGET = 1_000 * 512 * 512 * 4  # steps × pixels × pictures: a thousand steps of four 512×512 pictures
BRANCHING = ("prompt", "negative", "sampler", "knobs", "gamma", "guidance")  # what may change in the middle of a run

NAMED: dict[str, Mapping[str, Any]] = {"sampler": SAMPLERS, "schedule": SCHEDULES, "spacing": SPACINGS, "end": ENDS}  # by field

Tier = Literal["exact", "fast"]

_NO_TEXT = re.compile("[\x00\ud800-\udfff]")  # no file and no tokenizer takes NUL, or half of a surrogate pair
# NUL and control characters but newline, what invisibly turns the reading direction round, the byte order mark.
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")


def clean_text(text: str) -> str:
    """Text as it is kept: no control, direction or half characters, one kind of line end, no space around it."""
    # joins the two halves of a surrogate pair, drops lone ones
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    lines = re.sub("\r\n?|\u2028|\u2029|\u0085", "\n", whole).replace("\t", " ")
    return _UNSEEN.sub("", lines).strip()


def cleaned(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as a page, a link or a file hands them in, their words cleaned: nobody typed a NUL there on purpose."""
    words = {name: clean_text(fields[name]) for name in ("prompt", "negative") if isinstance(fields.get(name), str)}
    inner = {name: cleaned(value) for name, value in fields.items() if isinstance(value, Mapping)}
    return {**fields, **words, **inner}


def draw_seed() -> int:
    """Make up a seed, short enough (32 bits) to be read aloud in a classroom."""
    return secrets.randbelow(2**32)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("kind", "it must be text")
    if _NO_TEXT.search(value):
        raise PydanticCustomError("kind", "it must be text without NUL and without halves of surrogate pairs: take them out")
    text = clean_text(value)
    if len(text) > MAX_TEXT:
        raise PydanticCustomError("length", "it has {n} characters and may have {most}; shorten it",
                                  {"n": f"{len(text):,}", "most": f"{MAX_TEXT:,}"})
    return text


def _whole(value: Any) -> Any:
    """A whole number, also where JSON or a slider wrote it as 20.0; neither True nor "20" is one."""
    number = value.__index__() if hasattr(value, "__index__") and not isinstance(value, bool) else value
    return int(value) if isinstance(value, float) and value.is_integer() else _number(number, int)


def _number(value: Any, kind: type = float) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise PydanticKnownError("int_type" if kind is int else "float_type")
    return value


Text = Annotated[str, BeforeValidator(_text)]
WHOLE, REAL = BeforeValidator(_whole), BeforeValidator(_number)
Real = Annotated[float, Field(allow_inf_nan=False), REAL]
Steps = Annotated[int, Field(ge=1, le=1000), WHOLE]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED), WHOLE]
Scale = Annotated[float, Field(ge=-1, le=49, allow_inf_nan=False), REAL]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), REAL]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{16,64}$")]  # of the bytes of an uploaded picture
Size = Annotated[int, Field(ge=16, le=2048, multiple_of=8), WHOLE]


def _together(fields: tuple[str, ...], sentence: str) -> PydanticCustomError:
    """A fault of several fields at once."""
    return PydanticCustomError("together", cast(Any, sentence), {"fields": fields})


class Guidance(BaseModel):
    """What kind of guidance, at which noise levels, and how much of its overshoot is taken back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["classifier_free", "classifier"] = "classifier_free"
    interval: tuple[Real, Real] | None = Field(default=None, description="guide while low ≤ nsr ≤ high (2404.07724)")
    rescale: Share = Field(default=0.0, description="share of the rescaled prediction (2305.08891)")

    @field_validator("interval")
    @classmethod
    def _ordered(cls, pair: tuple[float, float] | None) -> tuple[float, float] | None:
        if pair is not None and not 0 <= pair[0] < pair[1]:
            raise PydanticCustomError("order", "it must be two numbers, 0 ≤ low < high")
        return pair


class Branch(BaseModel):
    """From this step on, with these changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Annotated[int, Field(ge=1), WHOLE]
    changes: dict[str, Any]

    @field_validator("changes")
    @classmethod
    def _possible(cls, changes: dict[str, Any]) -> dict[str, Any]:
        for name in changes:
            if name not in BRANCHING:
                raise PydanticCustomError("change", f"{name!r} cannot change within a run; {_one_of(BRANCHING)} can")
        return {name: _text(value) if isinstance(value, str) else value for name, value in changes.items()}


class Recipe(BaseModel):
    """Everything that decides a picture; None means: as the model (or the sampler) has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: Annotated[str, Field(max_length=200)] | None = Field(default=None, description="name or hash of the model")
    prompt: Text = Field(description="what the picture shows")
    negative: Text = Field(default="", description="what it should not show: takes the place of the empty prompt")
    sampler: str = Field(default="dpmpp_2m", description="how to move from one noise level to the next")
    knobs: dict[str, float] = Field(default={}, description="the sampler's own settings")
    schedule: str | None = Field(default=None, description="how noise grew in training")
    spacing: str | None = Field(default=None, description="where the steps lie")
    end: str | None = Field(default=None, description="the level at which the run ends")
    sigmas: tuple[Real, ...] | None = Field(default=None, description="levels of one's own (nsr), noisiest first")
    steps: Steps = Field(default=20, description="how many times the sampler moves")
    gamma: Scale = Field(default=4.0, description="guidance scale; CFG scale is 1 + gamma")
    guidance: Guidance = Field(default=Guidance(), description="which kind of guidance, and where along the run")
    seed: Seed = Field(default=0, description="decides the noise; picture i has seed + i")
    rng: Literal["nv", "cpu"] = Field(default="nv", description="whose random numbers a seed means")
    batch: Annotated[int, Field(ge=1, le=64), WHOLE] = Field(default=1, description="how many pictures")
    width: Size | None = Field(default=None, description="in pixels")
    height: Size | None = Field(default=None, description="in pixels")
    image: Digest | None = Field(default=None, description="digest of the picture to start from")
    mask: Digest | None = Field(default=None, description="digest of the mask: white is painted anew")
    strength: Share = Field(default=0.75, description="how much of the given picture may change")
    tier: Tier = Field(default="exact", description="exact, or fast at lower precision")
    branch: Branch | None = Field(default=None, description="what changes from some step on")

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UserError(next(iter(_sentences(error).values()))) from error

    def __hash__(self) -> int:
        return hash(self.digest)

    @field_validator("sampler", "schedule", "spacing", "end")
    @classmethod
    def _known(cls, value: str | None, info: Any) -> str | None:
        names = NAMED[info.field_name]
        if value is not None and value not in names:
            raise PydanticCustomError("unknown", f"it must be {_one_of(names)}")
        return value

    @field_validator("knobs", mode="before")
    @classmethod
    def _knobs(cls, knobs: Any, info: Any) -> dict[str, float]:
        """Each within the range its sampler declares; left out where at its default, so that equal runs are equal."""
        if not isinstance(knobs, Mapping):
            raise PydanticCustomError("kind", "it must be a table of names and numbers")
        entry = SAMPLERS.get(info.data.get("sampler", ""))
        if entry is None:
            return {}
        known = {knob.name: knob for knob in entry.knobs}
        kept = {}
        for name, value in knobs.items():
            if name not in known:
                what = f"its knobs are {', '.join(known)}" if known else "it has no knobs"
                raise PydanticCustomError("knob", f"the sampler {entry.id} has no {str(name)[:40]!r}: {what}")
            knob = known[name]
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not knob.low <= value <= knob.high:
                raise PydanticCustomError("knob", f"{name} must be a number from {knob.low:g} to {knob.high:g}")
            if value != knob.default:
                kept[name] = float(value)
        return kept

    @field_validator("sigmas")
    @classmethod
    def _falling(cls, sigmas: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if sigmas is not None:
            falling = all(a > b for a, b in itertools.pairwise(sigmas))
            if not 2 <= len(sigmas) <= 1001 or not falling or sigmas[-1] < 0:
                raise PydanticCustomError("order", "it must be 2 to 1001 falling numbers, the last of them 0 or more")
        return sigmas

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.sigmas is not None and self.steps != len(self.sigmas) - 1:
            object.__setattr__(self, "steps", len(self.sigmas) - 1)
        work = self.steps * (self.width or 128) * (self.height or 128) * self.batch
        if work > BUDGET:
            what = f"steps × width × height × batch is {work:,}; it may be at most {BUDGET:,}"
            raise _together(("steps", "width", "height", "batch"), f"{what}: take fewer steps or smaller pictures")
        if self.mask is not None and self.image is None:
            raise _together(("mask",), "mask is given without an image; give the picture that it belongs to")
        if self.branch is not None:
            if self.branch.step >= self.steps:
                what = f"branch.step is {self.branch.step}; it must be less than steps ({self.steps})"
                raise _together(("branch",), what)
            try:
                _ = self.branched
            except UserError as error:
                raise _together(("branch",), f"in branch.changes, {str(error).rstrip('.')}") from None
        return self

    def replace(self, **changes: Any) -> Self:
        """The same recipe with some fields changed, checked anew; knobs that a new sampler does not have fall away."""
        fields = {name: getattr(self, name) for name in self.model_fields_set} | changes
        name = fields.get("sampler", self.sampler)
        if isinstance(name, str) and name in SAMPLERS and "knobs" not in changes:
            known = {knob.name for knob in SAMPLERS[name].knobs}
            fields["knobs"] = {name: value for name, value in self.knobs.items() if name in known}
        if "steps" in changes and "sigmas" not in changes:
            fields.pop("sigmas", None)
        return type(self)(**fields)

    @property
    def branched(self) -> Self:
        """The recipe that holds from the step of the branch on."""
        return self if self.branch is None else self.replace(branch=None, **self.branch.changes)

    @property
    def moves(self) -> int:
        """How often the sampler moves: all steps, or from a given picture the last share `strength` of them, at least one."""
        return self.steps if self.image is None else max(1, round(self.strength * self.steps))

    @property
    def cfg_scale(self) -> float:
        """w = 1 + gamma, equation (2), without the noise of binary fractions."""
        return round(1 + self.gamma, 10)

    @property
    def digest(self) -> str:
        """A short name for exactly this run: equal recipes have equal digests (SHA-256, 32 hexadecimal digits)."""
        return hashlib.sha256(self.to_json(whole=True).encode()).hexdigest()[:32]

    def to_json(self, whole: bool = False) -> str:
        """Compact JSON with the fields in order; without what is at its default, unless `whole`."""
        fields = self.model_dump(mode="json", exclude_defaults=not whole)
        return json.dumps({"prompt": self.prompt} | fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = text
        if not isinstance(fields, dict):
            raise UserError(f'the recipe is {_shown(fields)}; it must be a JSON object: {{"prompt": "a red apple"}}.')
        return cls(**{str(name): value for name, value in fields.items()})


def faults(fields: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with these fields of a Recipe, each with its sentence; empty when they make one."""
    try:
        Recipe(**{str(name): value for name, value in fields.items()})
    except UserError as error:
        return _sentences(cast(ValidationError, error.__cause__))
    return {}


@functools.cache
def allowed(path: str) -> Mapping[str, Any]:
    """What a field may be, as JSON schema has it: type, minimum, maximum, multipleOf, enum, default, description."""
    name, _, inner = path.partition(".")
    model = {"guidance": Guidance, "branch": Branch}[name] if inner else Recipe
    schema = cast(type[BaseModel], model).model_json_schema()["properties"].get(inner or name, {})
    parts = [part for part in schema.get("anyOf", ()) if part.get("type") != "null"]
    return schema | (parts[0] if parts else {})


def _sentences(error: ValidationError) -> dict[str, str]:
    """One sentence a field, in the order of the fields."""
    found: dict[str, str] = {}
    for fault in error.errors():
        names = fault.get("ctx", {}).get("fields") or [str(part) for part in (*fault["loc"], fault["input"])[:1]]
        for name in names:
            found.setdefault(name, _sentence(fault))
    return found


def _sentence(fault: Any) -> str:
    """Pydantic's finding in our words: field, value, what is allowed."""
    path = ".".join(str(part) for part in fault["loc"] if isinstance(part, str))
    kind, limits = fault["type"], allowed(path) if fault["loc"] else {}
    if kind == "together":
        return fault["msg"] if fault["msg"].endswith("?") else f"{fault['msg']}."
    if kind == "missing":
        return f"{path} is missing; give it (only the prompt has no default, and it may be empty)."
    if kind == "string_unicode" and not allowance(limits):  # half of a surrogate pair in the name of a field
        kind, path = "extra_forbidden", ".".join(str(part) for part in (*fault["loc"], fault["input"]))
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(path, Recipe.model_fields, 1)
        return f"{path[:40]!r} is no field of a recipe; " + (f"did you mean {near[0]!r}?" if near else
               f"there are {', '.join(Recipe.model_fields)}.")
    if kind == "length":
        return f"{path} cannot be used: {fault['msg']}."
    if kind in ("kind", "unknown", "knob", "order", "change"):
        return f"{path} is {_shown(fault['input'])}; {fault['msg']}."
    return f"{path} is {_shown(fault['input'])}; it must be {allowance(limits) or fault['msg'].lower()}."


def allowance(limits: Mapping[str, Any]) -> str:
    """A JSON schema in words: "a whole number from 1 to 1000"."""
    if "enum" in limits:
        return _one_of(limits["enum"])
    if "pattern" in limits:
        return "a digest: 16 to 64 hexadecimal digits"
    if "maxLength" in limits:
        return f"text of at most {limits['maxLength']} characters"
    words = {"integer": "a whole number", "number": "a number", "string": "text", "object": "a table"}
    text = words.get(limits.get("type", ""), "")
    if "multipleOf" in limits:
        text = f"a multiple of {limits['multipleOf']}"
    if "minimum" in limits and "maximum" in limits:
        text += f" from {limits['minimum']} to {limits['maximum']}"
    elif "minimum" in limits:
        text += f", {limits['minimum']} or more"
    return text


def _one_of(names: Iterable[str]) -> str:
    return "one of " + ", ".join(names)


def _shown(value: Any) -> str:
    """A value as one would say it, clipped: it may be anything."""
    if isinstance(value, float):
        words = {"nan": "NaN", "inf": "infinity", "-inf": "-infinity"}
        return f"{value:g}" if math.isfinite(value) else words[str(value)]
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
