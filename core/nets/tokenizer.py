"""CLIP's tokenizer: text to the numbers its transformer reads (2103.00020 §2.4; byte pairs: 1508.07909).

    (1)  text -> NFC, every run of white space one space, lower case
    (2)  -> words: letters | one digit | other signs | 's 't 're 've 'm 'll 'd;
         each word -> its UTF-8 bytes, the last one marked </w>
    (3)  -> while two neighbours stand in the list of merges, join the pair that stands there first
    (4)  ids = [bos, piece, …, eos, pad, …], cut or filled to the length L

The vocabulary follows from the merges alone: 256 bytes, 256 bytes with </w>, one piece a merge, bos and eos.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Engine
from torch import Tensor

from core.errors import UserError
from core.files import read_json, read_text

BOS, EOS, END = "<|startoftext|>", "<|endoftext|>", "</w>"
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
READS = 20_000  # characters; 75 pieces of at most 32 bytes lie far below, and a hostile text must not take seconds
MOST_BYTES = 20_000_000  # of one file in the folder: CLIP's vocabulary has 0.9 MB
_UNREADABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters and lone surrogates


class Tokenizer:
    """Byte pairs in CLIP's form; build it with `Tokenizer.load`."""

    def __init__(
        self, vocab: dict[str, int], merges: list[tuple[str, str]], length: int = 77, pad: str = EOS, unknown: str = EOS
    ) -> None:
        missing = [piece for piece in (BOS, EOS, pad) if piece not in vocab]
        if missing:
            raise UserError(f"The vocabulary lacks {missing[0][:40]!r}: use the folder of a CLIP tokenizer.")
        self.length = length
        self.vocab_size = max(vocab.values()) + 1
        self.bos, self.eos, self.pad = vocab[BOS], vocab[EOS], vocab[pad]
        self._engine = _engine(vocab, merges, unknown)
        # As in transformers, the pad piece is special wherever it stands: with SD 2's pad, "!" in a prompt is id 0.
        specials = dict.fromkeys([BOS, EOS, pad])
        self._engine.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in specials])

    @classmethod
    def load(cls, folder: str | Path, pad: str | None = None) -> Tokenizer:
        """Read vocab.json and merges.txt (or tokenizer.json) with tokenizer_config.json and special_tokens_map.json.

        SD 1.x pads with <|endoftext|>, SD 2.x with "!" (id 0): the folder says which, `pad` overrides it.
        Raises UserError for a folder that holds no CLIP tokenizer.
        """
        folder = Path(folder)
        config = read_json(folder / "tokenizer_config.json", {})
        config |= {k: v for k, v in read_json(folder / "special_tokens_map.json", {}).items() if v is not None}
        length = config.get("model_max_length", 77)
        if not isinstance(length, int) or not 3 <= length <= 4096:
            length = 77  # older files write 1e30 for "no limit"
        try:
            vocab, merges = _vocabulary(folder)
            return cls(vocab, merges, length, pad or _content(config, "pad_token"), _content(config, "unk_token"))
        except UserError:
            raise
        except Exception as error:  # the library raises plain Exception for merges that do not fit
            raise UserError(f"{folder.name}/ holds no CLIP tokenizer that can be read ({_short(error)}).") from error

    def encode(self, texts: list[str]) -> Tensor:
        """Equation (4): ids [B, L] as int64, one row a text; what does not fit is left out (see `dropped`)."""
        rows = torch.full((len(texts), self.length), self.pad, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            ids = [self.bos, *self._encode(text).ids[: self.length - 2], self.eos]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def pieces(self, text: str) -> list[tuple[str, int, tuple[int, int]]]:
        """Every piece as (vocabulary entry, id, (start, end) in the text), the specials left out.

        Piece i stands at position i + 1 of a row of `encode`, if it fits.
        A letter of several bytes may span several pieces.
        """
        found = self._encode(text)
        return list(zip(found.tokens, found.ids, found.offsets, strict=True))

    def dropped(self, text: str) -> str:
        """The end of the text that did not fit, from the first word that lost a piece; "" if all fits."""
        found = self._encode(text)
        if len(found.ids) <= self.length - 2:
            return ""
        start = found.offsets[self.length - 2][0]
        for word in re.finditer(r"[\w'’]+|[^\w\s]+", text):
            if word.end() > start:
                return text[min(word.start(), start) :].strip()
        return text[start:].strip()

    def _encode(self, text: str) -> Any:
        # One character becomes one character, so that offsets stay those of the text.
        return self._engine.encode(_UNREADABLE.sub(" ", text[:READS]), add_special_tokens=False)


def spelled(text: str) -> list[str]:
    """The words of letters in a text, as (1) and (2) part them: NFC, lower case, no digits and no signs."""
    return re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", text).lower())


def train_tokenizer(captions: Iterable[str], size: int, folder: str | Path, length: int = 77) -> Tokenizer:
    """Learn merges from captions and write a folder that `Tokenizer.load` and transformers' CLIPTokenizer open alike.

    The vocabulary has `size` entries, or fewer where the captions have no more pairs to join.
    """
    if size < 514:
        raise UserError(f"A byte-level vocabulary has at least 514 entries, not {size}: ask for more.")
    engine = _engine({}, [], None)
    trainer = trainers.BpeTrainer(
        vocab_size=size + 256, show_progress=False, end_of_word_suffix=END, special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    engine.train_from_iterator((_UNREADABLE.sub(" ", caption) for caption in captions), trainer)
    vocab, merges = build_vocabulary(_pairs(json.loads(engine.to_str())["model"]["merges"]), size)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    specials = {"bos_token": BOS, "eos_token": EOS, "pad_token": EOS, "unk_token": EOS}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, "do_lower_case": True} | specials
    _write(folder / "vocab.json", json.dumps(vocab, ensure_ascii=False, indent=0))
    _write(folder / "merges.txt", "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]))
    _write(folder / "special_tokens_map.json", json.dumps(specials, indent=2))
    _write(folder / "tokenizer_config.json", json.dumps(config, indent=2))
    return Tokenizer.load(folder)


def build_vocabulary(merges: Iterable[tuple[str, ...]], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's rule: 256 bytes, 256 with </w>, one a merge up to `size` − 2, bos, eos; and the merges it used."""
    pieces = dict.fromkeys([*byte_units(), *(unit + END for unit in byte_units())])
    used = []
    for left, right in merges:
        if len(pieces) == size - 2:
            break
        pieces[left + right] = None
        used.append((left, right))
    return {piece: i for i, piece in enumerate([*pieces, BOS, EOS])}, used


def byte_units() -> Iterator[str]:
    """The 256 characters that stand for bytes: the printable ones for themselves, then U+0100 and on for the rest."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    yield from map(chr, printable)
    yield from (chr(0x100 + i) for i in range(256 - len(printable)))


def _engine(vocab: dict[str, int], merges: list[tuple[str, str]], unknown: str | None) -> Engine:
    engine = Engine(models.BPE(
        vocab=vocab, merges=merges, end_of_word_suffix=END, continuing_subword_prefix="", fuse_unk=False,
        **({"unk_token": unknown} if unknown else {}),
    ))  # fmt: skip
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    engine.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    engine.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return engine


def _vocabulary(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    if (folder / "vocab.json").exists():
        vocab = read_json(folder / "vocab.json", most_bytes=MOST_BYTES)
        lines = read_text(folder / "merges.txt", MOST_BYTES).split("\n")
        pairs = [line for line in lines if line.strip() and not line.startswith("#version")]
    else:  # what transformers 5 writes
        model = read_json(folder / "tokenizer.json", most_bytes=MOST_BYTES).get("model")
        if not isinstance(model, dict) or model.get("type") != "BPE":
            raise UserError(f"{folder.name}/tokenizer.json holds no byte pairs: use the folder of a CLIP tokenizer.")
        vocab, pairs = model["vocab"], model["merges"]
    if not all(isinstance(i, int) and 0 <= i < 10_000_000 for i in vocab.values()) or not vocab:
        raise UserError(f"{folder.name}/vocab.json is no table of pieces and ids: use the folder of a CLIP tokenizer.")
    return vocab, _pairs(pairs)


def _pairs(merges: Iterable[Any]) -> list[tuple[str, str]]:
    """Merges as pairs; files write each as "a b" or as ["a", "b"]."""
    return [(left, right) for left, right in (m.split(" ") if isinstance(m, str) else m for m in merges)]


def _content(config: dict[str, Any], key: str) -> str:
    value = config.get(key, EOS)
    value = value.get("content", EOS) if isinstance(value, dict) else value
    return value if isinstance(value, str) else EOS


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
