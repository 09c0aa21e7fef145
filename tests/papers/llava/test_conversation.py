"""What is learned of a conversation: exactly the answers and their ends, with any tokenizer and in every layout."""

from __future__ import annotations

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from visionsmith.errors import ConfigError, DataError
from visionsmith.losses.language import IGNORED
from visionsmith.papers.llava.conversation import TEMPLATES, Layout, encode, write

TURNS = [
    ("<image>\nWhat is on the left?", "a red cat"),
    ("Is the red cat above the red cat?", "no"),
    ("Warum? 안녕", "weil es links ist \N{SNOWMAN}"),
]


def layout(tokenizer: Tokenizer, template: str = "v1", **changes: object) -> Layout:
    values = {
        "template": template,
        "tokenizer": tokenizer,
        "image_token": tokenizer.token_to_id("<image>"),
        "patches": 4,
        "context": 600,
        "start_token": tokenizer.token_to_id("<s>"),
    }
    return Layout(**{**values, **changes})  # type: ignore[arg-type]


def sentence_pieces() -> Tokenizer:
    """Words with the space before them, as Llama's vocabulary has; letters where it knows none."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")]
    )
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator([write(TURNS[:2], "v1", "")[0]] * 20, trainer)
    tokenizer.add_special_tokens([AddedToken("<image>", special=True, normalized=False)])
    return tokenizer


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_learned_are_the_answers_and_their_ends(words: Tokenizer, template: str, kind: str) -> None:
    tokenizer = words if kind == "bytes" else sentence_pieces()
    encoded = encode(TURNS, layout(tokenizer, template))
    runs: list[list[int]] = [[]]
    for token, label in zip(encoded.ids.tolist(), encoded.labels.tolist(), strict=True):
        if label == IGNORED:
            runs += [[]] if runs[-1] else []
            continue
        assert label == token
        runs[-1].append(label)
    told = [tokenizer.decode(run, skip_special_tokens=False).strip(" \n") for run in runs if run]
    ends = TEMPLATES[template].after_answer.strip(" \n")
    expected = [f"{answer}{ends}" for _, answer in TURNS]
    if template == "plain":  # nothing lies between the captions
        assert "".join(told).replace("\n", "") == "".join(expected)
    else:
        assert [line.replace(" </s>", "</s>") for line in told] == expected


@pytest.mark.parametrize("template", ["v0", "v1", "llama_2"])
def test_a_waiting_conversation_is_the_start_of_the_answered_one(words: Tokenizer, template: str) -> None:
    whole = encode(TURNS, layout(words, template))
    waiting = encode([*TURNS[:2], (TURNS[2][0], None)], layout(words, template))
    count = len(waiting.ids)
    assert whole.ids[:count].tolist() == waiting.ids.tolist()
    assert whole.labels[count] != IGNORED
    assert (whole.labels[waiting.labels.nonzero().max() + 1 :] != IGNORED).all()


def test_texts_of_the_layouts() -> None:
    turns = [("<image>\nWhat?", "a cat"), ("Where?", None)]
    assert write(turns, "v1", "Be kind. ")[0] == (
        "Be kind. USER: <image>\nWhat? ASSISTANT: a cat</s>USER: Where? ASSISTANT:"
    )
    assert write(turns[:1], "plain")[0] == "<image>a cat\n"
    assert write(turns, "v0")[0].endswith(
        "###Human: <image>\nWhat?###Assistant: a cat###Human: Where?###Assistant:"
    )
    assert write(turns, "llama_2", "<<SYS>>\nHi\n<</SYS>>\n\n")[0] == (
        "[INST] <<SYS>>\nHi\n<</SYS>>\n\n<image>\nWhat? [/INST] a cat </s>[INST] Where? [/INST]"
    )


def test_a_picture_takes_its_patches_and_none_is_learned(words: Tokenizer) -> None:
    encoded = encode([("<image><image>\nWhich?", "the first")], layout(words, patches=9))
    places = encoded.ids == words.token_to_id("<image>")
    assert int(places.sum()) == 18
    assert (encoded.labels[places] == IGNORED).all()
    assert encoded.pictures == 2


def test_what_is_too_long_is_cut_behind_the_picture(words: Tokenizer) -> None:
    whole = encode(TURNS, layout(words, system=""))
    cut = encode(TURNS, layout(words, system="", context=40))
    assert len(cut.ids) == 40
    assert cut.ids.tolist() == whole.ids[:40].tolist()
    assert cut.labels.tolist() == whole.labels[:40].tolist()
    first_text = 1 + int((whole.ids == words.token_to_id("<image>")).nonzero().max())
    for context in range(1, len(whole.ids)):
        try:
            ids = encode(TURNS, layout(words, system="", context=context)).ids
        except DataError:
            assert context < first_text, "only a picture that does not fit is refused"
            continue
        assert int((ids == words.token_to_id("<image>")).sum()) == 4, "never a part of a picture"


def test_a_waiting_conversation_is_never_cut(words: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"the conversation has .* tokens and the model takes 40"):
        encode([*TURNS, ("And?", None)], layout(words, context=40))


def test_mistakes_are_one_sentence(words: Tokenizer) -> None:
    with pytest.raises(DataError, match="has 1 <image> for 2 pictures"):
        encode(TURNS, layout(words), pictures=2)
    with pytest.raises(DataError, match="2 pictures of 40 tokens do not fit into 60"):
        encode([("<image><image>What?", "a")], layout(words, patches=40, context=60))
    bare = Tokenizer.from_str(words.to_str().replace("<image>", "<picture>"))
    with pytest.raises(ConfigError, match="add <image> to its special tokens"):
        encode(TURNS, layout(bare, image_token=2))


def test_nothing_to_learn_is_seen(words: Tokenizer) -> None:
    encoded = encode([("<image>\nWhat is it?", "x")], layout(words, system="", context=16))
    assert (encoded.labels == IGNORED).all()
    assert encoded.ids.dtype == encoded.labels.dtype == torch.int64
