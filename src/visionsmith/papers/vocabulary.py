"""Vocabularies that the papers which speak learn from their texts, in the format of the tokenizers library.

One `tokenizer.json` a checkpoint, as in the published folders, so a learned and a published one are read alike.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from visionsmith.errors import CheckpointError, ConfigError

__all__ = ["FILE", "learn_byte_pairs", "learn_word_pieces", "read_vocabulary", "token_id", "vocabulary_file"]

FILE = "tokenizer.json"
"""Its name in a checkpoint or a published folder."""


def learn_byte_pairs(texts: Iterable[str], *, size: int, special: Sequence[str] = ()) -> Tokenizer:
    """Learn a byte-level vocabulary, as the Qwen and GPT families have: any text is spelt, and comes back exactly.

    Args:
        texts: what is learned from.
        size: most tokens, special ones included; at least 256 and the special ones.
        special: tokens that no text is split into by accident; they get the first ids, in this order.
    """
    least = 256 + len(special)
    if size < least:
        raise ConfigError(
            f"a vocabulary of {size} tokens has no room for every byte", do=f"choose at least {least}"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def learn_word_pieces(texts: Iterable[str], *, size: int, special: Sequence[str]) -> Tokenizer:
    """Learn lower-case word pieces, as BERT has: a piece that goes on with a word begins with "##".

    Args:
        texts: what is learned from.
        size: most tokens, special ones included.
        special: get the first ids, in this order; "[UNK]" must be among them.
    """
    least = len(special) + 2 * len(string.ascii_lowercase + string.digits)
    if size < least:
        raise ConfigError(
            f"a vocabulary of {size} pieces has no room for every letter", do=f"choose at least {least}"
        )
    if "[UNK]" not in special:
        raise ConfigError(
            "word pieces need a token for what they cannot spell", do='add "[UNK]" to the special ones'
        )
    texts = list(texts)
    pieces = _word_pieces({})
    seen = {
        letter for text in texts for letter in pieces.normalizer.normalize_str(text) if not letter.isspace()
    }
    letters = sorted(seen | {*string.ascii_lowercase, *string.digits})
    # Every letter, also inside a word: without that a new word would be no word at all. As specials they have fixed ids
    # while it learns; left to itself it numbers them in an order that changes from run to run, and breaks ties by it.
    base = [*letters, *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, special_tokens=base
    )
    pieces.train_from_iterator(texts, trainer)
    number = pieces.get_vocab()
    ordered = dict.fromkeys([*special, *base, *sorted(number, key=number.__getitem__)])
    return _word_pieces({token: place for place, token in enumerate(list(ordered)[:size])}, special)


def _word_pieces(vocabulary: dict[str, int], special: Sequence[str] = ()) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def read_vocabulary(folder: Path) -> Tokenizer:
    """The vocabulary of a checkpoint or of a published folder.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    file = folder / FILE
    if not file.is_file():
        raise CheckpointError(
            f"has no {FILE}", where=folder, do="give a folder with the tokenizer beside the weights"
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the compiled library raises nothing narrower
        raise CheckpointError(f"is not a tokenizer ({error})", where=file, do="copy it again") from error


def vocabulary_file(tokenizer: Tokenizer) -> dict[str, bytes]:
    """The file of a vocabulary, for `Export.files`."""
    return {FILE: tokenizer.to_str().encode("utf-8")}


def token_id(tokenizer: Tokenizer, token: str, *, where: Path | None = None) -> int:
    """The id of a token that must be there.

    Raises:
        CheckpointError: the vocabulary lacks it.
    """
    found = tokenizer.token_to_id(token)
    if found is None:
        raise CheckpointError(
            f"the vocabulary has no {token}", where=where, do="give the model's own tokenizer"
        )
    return int(found)
