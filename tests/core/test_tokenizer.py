"""CLIP's tokenizer against transformers' CLIPTokenizer, against the published ids, and against hostile text."""

import functools
import json
import shutil
import string
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.nets.tokenizer import READS, Tokenizer, build_vocabulary, train_tokenizer

CLIP = Path(__file__).parents[2] / "assets" / "clip-bpe"

TEXTS = [
    "", " ", "a", "a photo of an astronaut riding a horse", "A  PHOTO\n\tof   AN  Astronaut ",
    "it's, they're; we've 'quoted' I'M he'll you'd 'tis o'clock", "3.14159 2024-07-04 1e-4 ½ Ⅷ ٣",
    "!!! ??? ... --- ### a.b,c;d (x)[y]{z}", "cat! cat!", "😀 👩‍🚀 🏳️‍🌈 ❤️ 🇩🇪",
    "日本語のテキスト 中文 한국어", "Ünïcödé café ﬁ ß İstanbul ǅ",
    "e\u0301 n\u0303 o\u0308\u0304", "العربية עברית", "Привет, мир", "ไทย हिन्दी",
    "<|endoftext|> and <|startoftext|> a<|endoftext|>b", "<|ENDOFTEXT|>", "word " * 100, "x" * 500,
    "supercalifragilisticexpialidocious", "https://example.org/?q=a&b=c#d", "a\u00a0b\u2003c\u3000d",
    "_under_score_ snake_case camelCase", "“curly” ‘quotes’ — dashes…", "1234567890" * 12, string.printable[:95],
]  # fmt: skip


@functools.cache
def clip():
    return Tokenizer.load(CLIP)


@functools.cache
def peer_of(folder):
    transformers = pytest.importorskip("transformers")
    return transformers.CLIPTokenizer.from_pretrained(str(folder))


def peer_ids(peer, texts, length=77):
    return peer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt").input_ids


@pytest.fixture(scope="module")
def sd2_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd2") / "tokenizer"
    shutil.copytree(CLIP, folder)
    table = json.loads((folder / "special_tokens_map.json").read_text())
    (folder / "special_tokens_map.json").write_text(json.dumps(table | {"pad_token": "!"}))
    return folder


def test_a_known_prompt_has_the_ids_that_were_published():
    ids = clip().encode(["a photo of an astronaut riding a horse"])[0]
    assert ids[:10].tolist() == [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 49407]
    assert ids.shape == (77,) and ids.dtype == torch.long and set(ids[10:].tolist()) == {49407}


def test_every_text_encodes_as_in_transformers():
    assert torch.equal(clip().encode(TEXTS), peer_ids(peer_of(CLIP), TEXTS))


def test_sd_2_pads_with_id_0_as_in_transformers(sd2_folder):
    ours = Tokenizer.load(sd2_folder)
    assert ours.pad == 0 and torch.equal(ours.encode(TEXTS), peer_ids(peer_of(sd2_folder), TEXTS))
    assert torch.equal(Tokenizer.load(CLIP, pad="!").encode(TEXTS), ours.encode(TEXTS))


def test_a_folder_as_transformers_writes_it_encodes_equally(tmp_path):
    peer_of(CLIP).save_pretrained(str(tmp_path))
    assert torch.equal(Tokenizer.load(tmp_path).encode(TEXTS), clip().encode(TEXTS))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60), min_size=1, max_size=8))
def test_any_text_encodes_as_in_transformers(texts):
    assert torch.equal(clip().encode(texts), peer_ids(peer_of(CLIP), texts))


def test_the_vocabulary_follows_from_the_merges():
    lines = (CLIP / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
    merges = [tuple(line.split(" ")) for line in lines if line]
    vocab, used = build_vocabulary(merges, 49408)
    assert len(merges) == 48894 and used == merges
    assert vocab == json.loads((CLIP / "vocab.json").read_text(encoding="utf-8"))


def test_pieces_cover_the_words_of_the_text_at_their_place():
    text = "  An Unbelievable\tcafé, 42 😀!"
    pieces = clip().pieces(text)
    vocab = json.loads((CLIP / "vocab.json").read_text(encoding="utf-8"))
    assert [i for _, i, _ in pieces] == clip().encode([text])[0, 1 : 1 + len(pieces)].tolist()
    assert all(vocab[piece] == i for piece, i, _ in pieces)
    assert text[slice(*pieces[0][2])] == "An" and pieces[0][0] == "an</w>"
    covered = {k for _, _, (start, end) in pieces for k in range(start, end)}
    assert covered == {k for k, letter in enumerate(text) if not letter.isspace()}


def test_dropped_names_the_words_beyond_the_limit_in_their_own_spelling():
    dropped = clip().dropped
    fits = " ".join(["cat"] * 75)
    assert dropped(fits) == "" and dropped("") == ""
    assert dropped(fits + "  Émile's  HORSE, 7 ") == "Émile's  HORSE, 7"
    assert dropped(" ".join(["cat"] * 74) + " 2024 dogs") == "2024 dogs"
    assert dropped(" ".join(["cat"] * 74) + " Supercalifragilistic") == "Supercalifragilistic"
    assert dropped(" ".join(["cat"] * 75) + "!! wow") == "!! wow"


def test_without_the_dropped_words_the_text_fits():
    text = " ".join(f"Word{i}" for i in range(60))
    dropped = clip().dropped(text)
    kept = text.removesuffix(dropped)
    assert dropped and kept != text and clip().dropped(kept) == ""


HOSTILE = ["a\x00b", "\ud800", "a \udfff cat \x07", "\x1b[31m", "\u202eabc\u2066", "\ufeff", "a\u200db"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_characters_are_normalised_and_not_raised(hostile):
    ids = clip().encode([hostile])
    assert ids.shape == (1, 77) and (ids < clip().vocab_size).all()
    clip().pieces(hostile), clip().dropped(hostile)


def test_control_characters_and_surrogates_count_as_white_space():
    assert torch.equal(clip().encode(["a\x00cat\ud800sat\x07"]), clip().encode(["a cat sat"]))


def test_a_million_repeated_characters_take_no_seconds():
    start = time.perf_counter()
    for text in ("a" * 1_000_000, "😀" * 1_000_000, " " * 1_000_000, "e\u0301" * 500_000, "!?" * 500_000):
        clip().encode([text]), clip().dropped(text), clip().pieces(text)
    assert time.perf_counter() - start < 3


def test_text_beyond_the_reading_limit_changes_nothing():
    text = "horse " * (READS // 6)
    assert torch.equal(clip().encode([text + "cat" * 10_000]), clip().encode([text]))
    assert clip().dropped(text + "THE END").endswith("THE END")


def test_training_writes_a_folder_that_transformers_opens_and_encodes_equally(tmp_path):
    captions = [f"a {size} {colour} {thing}, {n} of them, it's drawn in the {style} style"
                for n, size in enumerate(["small", "large", "tiny"]) for colour in ["red", "green", "blue"]
                for thing in ["apple", "smiling cat face", "umbrella"] for style in ["noto", "flat"]]  # fmt: skip
    ours = train_tokenizer(iter(captions), 560, tmp_path / "tok", length=40)
    texts = [*captions, *TEXTS]
    assert ours.length == 40 and ours.vocab_size == 560
    assert torch.equal(ours.encode(texts), peer_ids(peer_of(tmp_path / "tok"), texts, 40))
    assert len(ours.pieces("umbrella")) < len("umbrella")


def test_captions_with_few_pairs_give_a_smaller_vocabulary(tmp_path):
    ours = train_tokenizer(["ab ab"], 1000, tmp_path)
    assert ours.vocab_size == 512 + 1 + 2 and [piece for piece, _, _ in ours.pieces("ab")] == ["ab</w>"]


def broken(tmp_path, change):
    folder = tmp_path / "tok"
    shutil.copytree(CLIP, folder)
    change(folder)
    return folder


@pytest.mark.parametrize("change", [
    lambda f: (f / "merges.txt").unlink(),
    lambda f: (f / "vocab.json").unlink(),
    lambda f: (f / "vocab.json").write_text("[1, 2]"),
    lambda f: (f / "vocab.json").write_text("{"),
    lambda f: (f / "vocab.json").write_text("[" * 100_000),
    lambda f: (f / "vocab.json").write_text('{"a": "b", "<|startoftext|>": 1, "<|endoftext|>": 2}'),
    lambda f: (f / "vocab.json").write_text('{"a": 1}'),
    lambda f: (f / "vocab.json").write_bytes(b"\xff\xfe\x00"),
    lambda f: (f / "merges.txt").write_text("#version: 0.2\na b c\n"),
    lambda f: (f / "merges.txt").write_text("#version: 0.2\nzzzz qqqq\n"),
    lambda f: (f / "tokenizer_config.json").write_text("nonsense"),
    lambda f: (f / "special_tokens_map.json").write_text('{"pad_token": "not a piece of it"}'),
], ids=range(12))  # fmt: skip
def test_a_broken_folder_is_refused_with_one_sentence(tmp_path, change):
    with pytest.raises(UserError) as error:
        Tokenizer.load(broken(tmp_path, change))
    assert "\n" not in str(error.value) and str(tmp_path) not in str(error.value)


def test_a_huge_vocabulary_is_refused_before_it_is_read(tmp_path):
    def grow(folder):
        with open(folder / "vocab.json", "r+b") as file:
            file.truncate(1_000_000_000)  # sparse

    folder = broken(tmp_path, grow)
    start = time.perf_counter()
    with pytest.raises(UserError, match="1000 MB"):
        Tokenizer.load(folder)
    assert time.perf_counter() - start < 0.5
