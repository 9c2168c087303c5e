"""Work of the page "Evaluate" for the engine: damage and every metric, the number of pictures, the loss, settings, headline claims.

Every generator yields Partial and returns the view that it came to. What was looked at or measured once is kept in the Room.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property

from core.evaluation import bias
from core.evaluation.clouds import parts
from core.evaluation.critics import Critic, Seen
from core.evaluation.damage import Damage, Scored, applied, compared_with, judged, scored
from core.evaluation.gallery import Gallery
from core.evaluation.headlines import HEADLINES, PAIRS, Less, OnRing, less, on_ring
from core.evaluation.losses import PICTURES, AtTime, loss_curve, spreads
from core.evaluation.settings import Making, Quality, Setting, prompts_of, quality
from core.metrics import frechet_distance
from core.perfect import PLACES
from core.pipeline import TextToImage
from studio.figures import evaluate as figures
from studio.service.engine import Engine
from studio.widgets.status import Partial, View

Work = Generator[Partial | None, None, View]
LOOKING = 0.8  # of the progress, where pictures have to be looked at first
SHOW_EVERY = 0.5  # seconds between two frames of pictures that form
BLUR = 4.0  # pixels, of the unlike set on the curve against the number of pictures


class Room:
    """The gallery of one model, and what its settings came to; only the engine's worker enters."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.known = engine, dict[tuple[Setting, int], Quality]()
        self.critic = Critic(engine.pipe, engine.inception)

    @cached_property
    def gallery(self) -> Gallery:
        """Raises UserError for a model that lacks what is needed."""
        return Gallery.of(self.critic)


def filled(gallery: Gallery, until: float = LOOKING) -> Generator[Partial, None, None]:
    """Look at the pictures of the gallery, and show them meanwhile."""
    for seen in gallery.fill():
        told = f"looking at the training pictures, this once: {gallery.done} of {len(gallery.rows)}"
        yield Partial({"strips": [figures.strip("Training pictures", seen)]}, told, until * (gallery.done / len(gallery.rows)))


def last_of(seen: Iterator[Seen], show: Callable[[Seen], Partial]) -> Generator[Partial, None, Seen]:
    """Show sets of pictures as they grow, and give the last."""
    for now in seen:
        yield show(now)
    return now


# ------------------------------------------------------------------------------------------------- which metric notices?


def noticed(room: Room, damage: Damage, foreseen: Sequence[str]) -> Work:
    """Damage the pictures, show them, and take every metric before and after, the quick ones first."""
    gallery, metrics = room.gallery, room.critic.metrics
    yield from filled(gallery)
    title = figures.named(damage)
    after = yield from last_of(applied(gallery, damage), lambda now: Partial(
        figures.both_strips(gallery.tested, now), f"{title}: {len(now)} pictures", LOOKING))  # fmt: skip
    before = compared_with(gallery, after)
    rows: dict[str, Scored] = {}
    view: View = figures.both_strips(before, after) | {"changes": [], "bars": []}

    def measure() -> Generator[Partial, None, None]:
        for name, metric in metrics.items():
            if name in rows or (one := scored(metric, gallery.real, before, after, damage.repaints)) is None:
                continue
            rows[name] = one
            ordered = [rows[each] for each in metrics if each in rows]
            view["changes"] = [figures.change(each, each.metric.id in foreseen if foreseen else None) for each in ordered]
            yield Partial(dict(view), f"{metric.label} measured", LOOKING + 0.15 * len(rows) / len(metrics))

    yield from measure()
    view["bars"] = figures.in_turn(*([figures.part_bars(parts(gallery.real.features, side.features, 60), name, metrics)]
                                     for side, name in ((before, "before"), (after, "after"))))  # fmt: skip
    if after.fine is None:
        asking = "the classifier looks at the damaged pictures"
        after = yield from last_of(judged(gallery, after), lambda now: Partial(dict(view), f"{asking}: {len(now)}", 0.95))
        yield from measure()
    if before.fine is not None and after.fine is not None:
        classes = (figures.class_bars(fine, name, room.critic.class_names, metrics)
                   for fine, name in ((before.fine, "before"), (after.fine, "after")))  # fmt: skip
        view["bars"] = [*view["bars"], *figures.in_turn(*classes)]
    note = frechet_distance(gallery.real.features, after.features, allow_few=True).note
    return view | {"line": figures.told(list(rows.values()), foreseen, len(after)) + (f" {note}" if note else "")}


# ------------------------------------------------------------------------------------------------- how many pictures?


def numbered(room: Room) -> Work:
    """Both distances against the number of pictures, of like and of unlike sets."""
    gallery = room.gallery
    yield from filled(gallery)
    seen = yield from last_of(applied(gallery, Damage("blur", BLUR)), lambda now: Partial({}, "blurring half of them", LOOKING))
    found: list[bias.AtSize] = []
    total = len(bias.sizes(gallery.each))
    for one in bias.curve(gallery.real.features, gallery.tested.features, seen.features):
        found.append(one)
        view = {"charts": figures.bias_charts(found, BLUR, room.critic.metrics), "strips": []}
        yield Partial(view, f"{one.n} pictures a side", LOOKING + (1 - LOOKING) * len(found) / total)
    first, last = found[0], found[-1]
    line = (f"Two sets from the same distribution are {figures.said(first.frechet)} apart with {first.n} pictures a side and "
            f"{figures.said(last.frechet)} with {last.n}; the blurred ones with {last.n} are {figures.said(last.frechet_other)}. "
            f"The features have {gallery.real.features.shape[1]} dimensions.")  # fmt: skip
    return {**view, "line": line}


# ------------------------------------------------------------------------------------------------- the loss against t


def losses(pipe: TextToImage) -> Work:
    """The loss at each time, under captions and without."""
    found: list[AtTime] = []
    spread, view = spreads(pipe), View()
    for one in loss_curve(pipe):
        found.append(one)
        view = figures.loss_view(found, spread)
        yield Partial(view, f"t = {one.t:.0f}", len(found) / len(PLACES))
    return view | {"line": figures.worth_told(found, PICTURES)}


# ------------------------------------------------------------------------------------------------- settings


def asked(
    room: Room, setting: Setting, count: int, strips: Sequence[View], start: float, share: float
) -> Work:
    """One setting's quality in the Room, its pictures shown while they form; gives what the view's strips are now."""
    if (setting, count) not in room.known:
        work, shown = quality(room.gallery, setting, prompts_of(room.engine.pipe, count)), 0.0
        while True:
            try:
                now: Making = next(work)
            except StopIteration as end:
                room.known[setting, count] = end.value
                break
            if time.perf_counter() - shown < SHOW_EVERY:
                yield None
                continue
            shown = time.perf_counter()
            forming = figures.forming(figures.setting_name(setting), room.engine.pipe.preview(now.x0))
            part = start + share * now.part
            yield Partial({"strips": [*strips, forming]}, f"{figures.setting_name(setting)}: {100 * now.part:.0f} %", part)
    return figures.setting_strip(room.known[setting, count])


def swept(room: Room, settings: Sequence[Setting], count: int, against: str) -> Work:
    """Fidelity and diversity of several settings, each measured when its pictures are there; `count` prompts."""
    yield from filled(room.gallery, 0.2)
    found: list[Quality] = []
    strips: list[View] = []
    share = 0.8 / sum(setting.steps for setting in settings)
    begun = 0.2
    view: View = {"strips": strips}
    for setting in settings:
        strips.append((yield from asked(room, setting, count, strips, begun, share * setting.steps)))
        found.append(room.known[setting, count])
        begun += share * setting.steps
        view = {"charts": figures.quality_charts(found, against, room.critic.metrics), "strips": list(strips)}
        yield Partial(view, f"{figures.setting_name(setting)} measured", begun)
    each = found[0]
    return view | {"line": f"{each.n} pictures at every setting: {count} captions, {each.n // count} seeds each; "
                           f"{sum(one.nfe for one in found) * each.n:,} network evaluations."}  # fmt: skip


def headlines(room: Room, count: int) -> Work:
    """The headline claims as one table: first on the exact ring, then on the model, the thousand steps last."""
    rings: dict[Setting, OnRing] = {}
    known: dict[Setting, Quality] = {}
    found: dict[tuple[Setting, Setting], Less] = {}

    def table() -> View:
        metrics = room.critic.metrics
        return {"tables": [figures.headline_table(HEADLINES, rings, known, metrics), figures.less_table(found, metrics)]}

    yield Partial(table(), "on an exact ring first", 0.0)
    for setting in HEADLINES:
        work = on_ring(setting)
        while True:
            try:
                part = next(work)
            except StopIteration as end:
                rings[setting] = end.value
                break
            told = f"{figures.setting_name(setting)} on an exact ring: {100 * part:.0f} %"
            yield Partial({}, told, 0.05 * (len(rings) + part) / len(HEADLINES))
        yield Partial(table(), f"{figures.setting_name(setting)} on an exact ring", 0.05 * len(rings) / len(HEADLINES))
    yield from filled(room.gallery, 0.15)
    strips: list[View] = []
    begun, share = 0.15, 0.85 / sum(setting.nfe for setting in HEADLINES)
    for setting in sorted(HEADLINES, key=lambda one: one.nfe):
        strips.append((yield from asked(room, setting, count, strips, begun, share * setting.nfe)))
        known[setting] = room.known[setting, count]
        begun += share * setting.nfe
        yield Partial(table() | {"strips": list(strips)}, f"{figures.setting_name(setting)} measured", begun)
        for few, many in PAIRS:
            if few in known and many in known and (few, many) not in found:
                found[few, many] = less(room.gallery.real.features, known[few], known[many], (rings[few], rings[many]))
                yield Partial(table(), f"{figures.setting_name(few)} compared", begun)
    return table() | {"strips": strips, "line": figures.verdicts(known, found)}
