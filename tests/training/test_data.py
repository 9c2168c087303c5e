"""The training data: drawing, compositing, the split and its leaks, captions, the vocabulary; all without a network."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.training.art import choose, draw, read_jsonl
from core.training.concepts import TIERS, may_flip, tier, unknown_labels
from core.training.data import (
    Pictures,
    attribution,
    base_list,
    composite,
    load_concepts,
    load_records,
    prepare,
    vocabulary,
)
from core.training.languages import COLOURS
from core.training.packages import SOURCES, Drawing, key, slug, svg_text
from core.training.split import HELD_OUT_SHARE, LEAST_TRAINED, frozen, split, thumbnails, twins, unit_hash
from tests.training.drawn import SQUARES, square

DATA = Path(__file__).parents[2] / ".data" / "emoji-128"
real = pytest.mark.skipif(
    not (DATA / "pictures.jsonl").exists(), reason="no training data: core.training data makes it"
)


def test_every_drawing_becomes_one_picture_but_flags_empties_and_copies(tiny: Path) -> None:
    records = load_records(tiny)
    pairs = {(r["hexcode"], r["source"]) for r in records}
    expected = {(code, s.id) for code, _ in SQUARES.values() for s in SOURCES}
    # the empty cat; of the two equal noto squares the first, since "cat" and "dog" are equally long
    assert pairs == expected - {("1F408", "mono"), ("1F415", "noto")}
    assert len(Pictures(tiny)) == len(records) == [r["index"] for r in records][-1] + 1


def test_records_say_where_a_picture_comes_from_and_what_it_shows(tiny: Path) -> None:
    record = next(r for r in load_records(tiny) if (r["hexcode"], r["source"]) == ("2764", "3d"))
    assert (record["name"], record["label"], record["style"]) == ("2764-fe0f.webp", "red heart", "3d")
    assert (record["group"], record["subgroup"], record["licence"]) == ("smileys-emotion", "heart", "MIT")
    centre = Pictures(tiny).array[record["index"]][64, 64]
    assert centre.tolist() == [0, 0, 255, 255]


def test_preparing_again_changes_nothing(tiny: Path) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in tiny.iterdir()}
    stages = [p.stage for p in prepare(tiny.parent)]
    assert {p.name: p.stat().st_mtime_ns for p in tiny.iterdir()} == before
    assert "draw" not in stages


def test_a_folder_without_data_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"core\.training data"):
        load_records(tmp_path)
    with pytest.raises(UserError, match=r"core\.training data"):
        Pictures(tmp_path)


# --- drawing ----------------------------------------------------------------------------------------------------------


def picture(svg: str) -> np.ndarray:
    pytest.importorskip("resvg_py")
    return draw(Drawing("flat", "1f408", "cat", svg=svg), 128)


def test_a_full_drawing_in_a_box_of_112_leaves_8_pixels_on_every_side() -> None:
    icons = {"width": 36, "height": 36}
    alpha = picture(svg_text(icons, {"body": square("#000", 36)}, box=112))[..., 3]
    rows, columns = np.nonzero(alpha)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 119, 8, 119)
    assert (alpha[8:120, 8:120] == 255).all()


def test_what_lies_outside_an_icons_own_box_is_clipped_as_its_artist_saw_it() -> None:
    alpha = picture(svg_text({"width": 36, "height": 36}, {"body": square("#000", 99)}, box=112))[..., 3]
    assert alpha[:8].max() == 0 and alpha[120:].max() == 0


def test_a_mirrored_alias_is_the_mirror_image_of_its_parent() -> None:
    icon = {"body": '<path fill="#f00" d="M0 0h8v32h-8z"/>'}
    plain = picture(svg_text({"width": 32, "height": 32}, icon, box=128))
    mirrored = picture(svg_text({"width": 32, "height": 32}, {**icon, "hFlip": True}, box=128))
    assert plain[64, 2, 3] == 255 and plain[64, 125, 3] == 0
    assert (mirrored == plain[:, ::-1]).all()


def test_the_colour_of_invisible_pixels_never_shows_when_a_bitmap_is_made_smaller() -> None:
    from PIL import Image

    art = np.zeros((256, 256, 4), np.uint8)
    art[:, :128] = (0, 255, 0, 255)
    art[:, 128:] = (255, 0, 0, 0)  # red, but invisible
    buffer = io.BytesIO()
    Image.fromarray(art).save(buffer, "PNG")
    small = draw(Drawing("3d", "1f408", "cat", bitmap=buffer.getvalue()), 128)
    assert small[..., 0].max() == 0 and (small[64, :60] == (0, 255, 0, 255)).all()


def test_of_equal_pictures_the_shortest_label_wins_and_empties_go() -> None:
    assert choose([b"a", b"a", None, b"b"], ["grinning cat", "cat face", "nothing", "dog"]) == [1, 3]


@pytest.mark.parametrize(("label", "name"), [("Mrs. Claus", "mrs-claus"), ("piñata", "pinata"), ("T-Rex", "t-rex")])
def test_labels_become_icon_names(label: str, name: str) -> None:
    assert slug(label) == name


def test_hexcodes_match_with_or_without_the_variation_selector() -> None:
    assert key("2764-FE0F-200D-1F525") == key("2764-200D-1F525") == "2764-200d-1f525"


# --- compositing ------------------------------------------------------------------------------------------------------


def test_transparent_pixels_take_the_background_and_opaque_ones_the_art() -> None:
    rgba = torch.tensor([[[[10, 20, 30, 0], [10, 20, 30, 255]]]], dtype=torch.uint8)  # [1, 1, 2, 4]
    out = (composite(rgba, torch.tensor([[200.0, 100.0, 0.0]])) + 1) * 127.5
    assert torch.allclose(out[0, :, 0, 0], torch.tensor([200.0, 100.0, 0.0]), atol=1e-3)
    assert torch.allclose(out[0, :, 0, 1], torch.tensor([10.0, 20.0, 30.0]), atol=1e-3)


@pytest.mark.parametrize("alpha", [1, 51, 128, 254])
def test_half_transparent_pixels_mix_art_and_background_by_alpha(alpha: int) -> None:
    rgba = torch.tensor([[[[40, 80, 160, alpha]]]], dtype=torch.uint8)
    out = (composite(rgba, torch.tensor([[250.0, 0.0, 100.0]])) + 1) * 127.5
    a = alpha / 255
    expected = [a * 40 + (1 - a) * 250, a * 80, a * 160 + (1 - a) * 100]
    assert torch.allclose(out[0, :, 0, 0], torch.tensor(expected), atol=1e-3)


def test_pictures_stand_on_white_or_on_the_colour_asked_for_and_mirror_when_told(tiny: Path) -> None:
    pictures = Pictures(tiny)
    index = next(r["index"] for r in load_records(tiny) if (r["hexcode"], r["source"]) == ("1F415", "flat"))
    plain, coloured, mirrored = pictures.rgb([index, index, index], [-1, 5, -1], [False, False, True])
    assert torch.equal(plain, pictures.rgb([index])[0]) and plain.shape == (3, 128, 128)
    assert plain[:, 127, 127].tolist() == [1, 1, 1]
    expected = [c / 127.5 - 1 for c in COLOURS[5][1]]
    assert COLOURS[5][0] == "blue" and torch.allclose(coloured[:, 127, 127], torch.tensor(expected), atol=1e-6)
    assert torch.equal(mirrored, plain.flip(2)) and not torch.equal(mirrored, plain)


def test_named_colours_are_at_least_ten_and_far_apart() -> None:
    rgb = np.array([c for _, c in COLOURS], float)
    distance = np.linalg.norm(rgb[:, None] - rgb[None], axis=-1)[~np.eye(len(rgb), dtype=bool)]
    assert len(COLOURS) >= 10 and distance.min() > 60


# --- the split --------------------------------------------------------------------------------------------------------


def made_up(concepts: int, seed: int = 0) -> tuple[list[dict], np.ndarray]:
    records = [{"hexcode": f"{i:05X}", "source": s.id} for i in range(concepts) for s in SOURCES]
    return records, np.random.default_rng(seed).uniform(0, 255, (len(records), 768)).astype(np.float32)


def test_five_in_a_hundred_pairs_are_held_out_and_3d_goes_with_gradient() -> None:
    records, thumbs = made_up(1500)
    parts = split(records, twins(records, thumbs))
    assert abs(parts.count("held_out") / len(parts) - HELD_OUT_SHARE) < 0.008  # 10,500 pairs: three deviations 0.0075
    by_pair = {(r["hexcode"], r["source"]): p for r, p in zip(records, parts, strict=True)}
    assert all(by_pair[h, "3d"] == by_pair[h, "gradient"] for h, _ in by_pair)
    assert any(by_pair[h, "3d"] == "held_out" for h, _ in by_pair)


def test_a_near_copy_of_another_concept_is_never_held_out_and_one_of_its_own_goes_along() -> None:
    records, thumbs = made_up(400)
    for i in range(200):
        thumbs[7 * (2 * i) + 4] = thumbs[7 * (2 * i + 1) + 4] + 1  # noto of one concept, noto of the next
        thumbs[7 * (2 * i) + 2] = thumbs[7 * (2 * i) + 6] + 1  # flat and emojione of one concept
    parts = np.array(split(records, twins(records, thumbs))).reshape(-1, 7)
    assert (parts[:, 4] == "train").all()
    assert (parts[::2, 2] == parts[::2, 6]).all() and (parts[::2, 2] == "held_out").any()


def test_every_concept_keeps_three_trained_styles_however_few_it_has() -> None:
    records = [{"hexcode": f"{i:05X}", "source": s.id} for i in range(3000) for s in SOURCES[2:6]]
    parts = np.array(split(records, list(range(len(records))))).reshape(-1, 4)
    assert ((parts == "train").sum(1) >= LEAST_TRAINED).all() and (parts == "held_out").any()


def test_the_split_does_not_depend_on_the_order_of_the_pictures() -> None:
    records, _ = made_up(300)
    shuffled = random.Random(1).sample(records, len(records))
    parts = [split(rows, list(range(len(rows)))) for rows in (records, shuffled)]
    held = [
        {(r["hexcode"], r["source"]) for r, p in zip(rows, part, strict=True) if p == "held_out"}
        for rows, part in zip((records, shuffled), parts, strict=True)
    ]
    assert held[0] == held[1]


def test_the_hash_is_uniform_and_is_what_sha256_says() -> None:
    values = [unit_hash(f"{i:05X}", "flat") for i in range(4000)]
    assert abs(np.mean(values) - 0.5) < 0.02 and abs(np.mean(np.array(values) < 0.05) - 0.05) < 0.011
    assert unit_hash("a", "b") == int(hashlib.sha256(b"a b").hexdigest()[:12], 16) / 16**12


def test_thumbnails_are_means_over_squares_on_white() -> None:
    rgba = np.zeros((1, 128, 128, 4), np.uint8)
    rgba[0, :8, :4] = (0, 0, 0, 255)  # half of the first square is black
    thumb = thumbnails(rgba).reshape(16, 16, 3)
    assert np.allclose(thumb[0, 0], 127.5) and np.allclose(thumb[1:], 255)


# --- concepts ---------------------------------------------------------------------------------------------------------


def test_an_unknown_tier_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(UserError, match="core, wide, all"):
        tier("best", [], [])


@pytest.mark.parametrize(
    ("group", "subgroup", "label", "allowed"),
    [("animals-nature", "animal-mammal", "cat", True), ("symbols", "punctuation", "red question mark", False),
     ("travel-places", "time", "watch", False), ("objects", "tool", "hammer", True),
     ("people-body", "hand-fingers-closed", "left-facing fist", False), ("objects", "money", "coin", False)],
)  # fmt: skip
def test_only_pictures_that_mean_the_same_mirrored_may_be_mirrored(
    group: str, subgroup: str, label: str, allowed: bool
) -> None:
    assert may_flip({"group": group, "subgroup": subgroup, "label": label}) is allowed


# --- the vocabulary and attribution -----------------------------------------------------------------------------------


def test_the_vocabulary_has_its_exact_form(tiny: Path) -> None:
    records = [{**r, "split": "held_out" if r["source"] == "twemoji" else "train"} for r in load_records(tiny)]
    concepts = load_concepts(tiny)
    value = json.loads(json.dumps(vocabulary(records, concepts[:2])))
    assert list(value) == ["concepts", "styles", "colours", "languages", "held_out"]
    assert value["concepts"] == [{"hexcode": "1F408", "label": "cat"}, {"hexcode": "1F415", "label": "dog"}]
    assert [s["source"] for s in value["styles"]] == ["3d", "gradient", "flat", "mono", "noto", "twemoji", "emojione"]
    word = next(s["word"] for s in value["styles"] if s["source"] == "twemoji")
    assert value["held_out"] == [{"hexcode": "1F408", "style": word}, {"hexcode": "1F415", "style": word}]
    assert len({s["word"] for s in value["styles"]}) == 7 and len(value["languages"]) >= 10


def test_attribution_names_every_picture_and_every_licence(tiny: Path, tmp_path: Path) -> None:
    records = load_records(tiny)
    attribution(tiny, tmp_path, base_list(records))
    provenance, text = read_jsonl(tmp_path / "provenance.jsonl"), (tmp_path / "ATTRIBUTION.md").read_text("utf-8")
    assert [p["index"] for p in provenance] == base_list(records)
    assert all(s.package in text and s.licence in text and s.home in text for s in SOURCES)
    assert {"package", "version", "name", "licence", "sha256"} <= set(provenance[0])


# --- the real data, where it has been drawn ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records() -> list[dict]:
    return load_records(DATA)


@real
def test_the_real_split_holds_out_five_in_a_hundred_of_every_tier(records: list[dict]) -> None:
    for name in TIERS:
        chosen = {c["hexcode"] for c in load_concepts(DATA, name)}
        parts = [r["split"] for r in records if r["hexcode"] in chosen]
        assert abs(parts.count("held_out") / len(parts) - HELD_OUT_SHARE) < 0.005


@real
def test_no_held_out_picture_nor_a_twin_of_one_is_in_the_base_list(records: list[dict]) -> None:
    base = base_list(records)
    held = [r for r in records if r["split"] == "held_out"]
    assert len(held) > 400 and len(base) + len(held) == len(records)
    assert not {r["index"] for r in held} & set(base)
    assert not {r["family"] for r in held} & {records[i]["family"] for i in base}
    assert not {r["sha256"] for r in held} & {records[i]["sha256"] for i in base}
    by_pair = {(r["hexcode"], r["source"]): r["split"] for r in records}
    twin = {"3d": "gradient", "gradient": "3d"}
    assert all(by_pair.get((r["hexcode"], twin[r["source"]]), "held_out") == "held_out"
               for r in held if r["source"] in twin)  # fmt: skip
    trained = Counter(records[i]["hexcode"] for i in base)
    assert all(trained[r["hexcode"]] >= LEAST_TRAINED for r in held)


@real
def test_the_real_vocabulary_claims_what_the_issue_asks(records: list[dict]) -> None:
    concepts = load_concepts(DATA, "core")
    value = vocabulary(records, concepts)
    assert len(value["concepts"]) >= 450 and len(load_concepts(DATA, "wide")) >= 1000
    assert len(value["colours"]) >= 10 and len(value["languages"]) >= 10
    assert not unknown_labels(load_concepts(DATA, "all"))
    tiers = [{c["hexcode"] for c in load_concepts(DATA, name)} for name in TIERS]
    assert tiers[0] <= tiers[1] <= tiers[2]
    sources = Counter(r["hexcode"] for r in records)
    assert min(sources[h] for h in tiers[0]) >= 5


@real
def test_no_real_picture_is_empty_or_touches_the_edge_with_more_than_a_rim(records: list[dict]) -> None:
    pictures = Pictures(DATA)
    assert pictures.array.shape == (len(records), 128, 128, 4)
    some = np.random.default_rng(0).choice(len(records), 200, replace=False)
    alpha = pictures.array[np.sort(some)][..., 3]
    assert (alpha.max((1, 2)) > 32).all()
    assert np.median([np.ptp(np.nonzero(a > 32)[1]) + 1 for a in alpha]) > 90


@real
@pytest.mark.slow
def test_the_written_list_of_held_out_pairs_is_what_the_rule_gives(records: list[dict]) -> None:
    families = twins(records, thumbnails(np.load(DATA / "pictures.npy", mmap_mode="r")))
    parts = split(records, families)
    assert {(r["hexcode"], r["source"]) for r, p in zip(records, parts, strict=True) if p == "held_out"} == frozen()
