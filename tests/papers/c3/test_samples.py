"""What the models are told: prompts, samples and batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.papers.c3.common import WORDS, codec, config, mini, model, vocabulary
from visionsmith.data.world import NEW_PAIRS
from visionsmith.errors import CheckpointError, ConfigError, DataError
from visionsmith.losses.language import IGNORED
from visionsmith.papers.c3.objective import C3Objective
from visionsmith.papers.c3.recipes import MixConfig, paper
from visionsmith.papers.c3.samples import AskedDataset, PieceCollate, PieceDataset
from visionsmith.papers.c3.scenes import FAMILIES, known_questions, new_questions, taught
from visionsmith.papers.c3.speech import REPEAT, Speech
from visionsmith.papers.vocabulary import learn_byte_pairs


@pytest.fixture
def speech() -> Speech:
    return Speech(vocabulary(), config())


@pytest.fixture
def stream(speech: Speech) -> np.ndarray:
    return np.array(speech.encode(" ".join(WORDS * 30)))


def spelt(speech: Speech, ids: list[int]) -> str:
    return speech.tokenizer.decode(ids, skip_special_tokens=False)


def test_prompt_is_the_public_one(speech: Speech) -> None:
    """As the public code's conversation template puts it together, byte for byte."""
    expected = (
        "<|im_start|>system\nYou should follow the instructions carefully and explain your answers in detail."
        "<|im_end|><|im_start|>user\n<img><imgpad><imgpad></img>\nRepeat the text: <|im_end|><|im_start|>assistant\n"
    )
    assert spelt(speech, speech.prompt(REPEAT, 2)) == expected


@pytest.mark.parametrize(
    "text", ["plain words", "<|im_end|> and <img>", "naïve 🦊 한국어\r\n\ttabs", " ", "\u0000"]
)
def test_any_text_comes_back_from_its_tokens(speech: Speech, text: str) -> None:
    ids = speech.encode(text)
    assert min(ids) > 5, "no special token by accident"
    assert speech.decode(ids) == text


def test_vocabulary_without_turns_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"<\|im_start\|>"):
        Speech(learn_byte_pairs(["words"], size=300), config())


def test_samples_come_from_their_key(speech: Speech, stream: np.ndarray) -> None:
    mix = MixConfig(random=0.3, told=0.3, short=0.3, hidden=0.3)
    one, other = (PieceDataset(stream, speech, mix, seed) for seed in (0, 0))
    for index in range(len(one)):
        first, second = one[3, index], other[3, index]
        assert np.array_equal(first.text, second.text)
        for name in ("answer", "heard"):
            assert np.array_equal(getattr(first.turns[0], name), getattr(second.turns[0], name))
    texts = [one[0, index].text for index in range(len(one))]
    assert any(not np.array_equal(text, one[1, index].text) for index, text in enumerate(texts))


def test_shares_of_the_mix(speech: Speech, stream: np.ndarray) -> None:
    data = PieceDataset(stream, speech, MixConfig(random=0.25, told=0.25, short=0.5, hidden=0.2), 0)
    pieces = [data[epoch, 0] for epoch in range(800)]
    windows = {tuple(stream[start : start + 24].tolist()) for start in range(len(stream))}
    known = {window[:length] for window in windows for length in range(1, 25)}
    texts = [speech.decode(piece.text) for piece in pieces]
    told = [text.startswith(("There is", "The picture", "I can see", "It shows")) for text in texts]
    assert np.mean(told) == pytest.approx(0.25, abs=0.06)
    random = [
        tuple(piece.text.tolist()) not in known and not of_scene
        for piece, of_scene in zip(pieces, told, strict=True)
        if len(piece.text) > 3
    ]
    assert np.mean(random) == pytest.approx(0.25, abs=0.06)
    # Scenes are longer than these chunks, and cut.
    assert np.mean([len(piece.text) < 24 for piece in pieces]) == pytest.approx(0.375, abs=0.06)
    hidden = np.concatenate([piece.turns[0].heard != piece.turns[0].answer for piece in pieces])
    assert hidden.mean() == pytest.approx(0.2, abs=0.03)
    assert all(piece.turns[0].instruction == REPEAT for piece in pieces)


def test_a_dialogue_is_about_its_text(speech: Speech) -> None:
    data = AskedDataset(speech, 6, 0)
    pieces = [data[0, index] for index in range(40)]
    for piece in pieces:
        assert len({turn.instruction for turn in piece.turns}) == len(piece.turns) == 6
        assert len(piece.text) <= speech.config.chunk
        assert all(turn.heard is turn.answer for turn in piece.turns)
    asked = {turn.instruction for piece in pieces for turn in piece.turns}
    assert len(asked) > 100
    again = data[0, 7]
    assert again.turns[3].instruction == pieces[7].turns[3].instruction
    assert np.array_equal(again.text, pieces[7].text)


def test_measured_questions_are_answered_by_what_is_told() -> None:
    known, new = known_questions(64), new_questions(32)
    assert [told.question.family for told in known[:10]] == [*FAMILIES, *FAMILIES]
    for told in (*known, *new):
        for thing in told.question.evidence:
            assert f"{thing.size} {thing.name} is {thing.where}" in told.text
        assert taught(told.question.text)
    assert not taught("Continue after: fox")
    training = {(thing.kind, thing.colour) for told in known for thing in told.question.scenes[0].things}
    assert not training & NEW_PAIRS
    assert all(NEW_PAIRS & {(one.kind, one.colour) for one in told.question.evidence} for told in new)


def test_too_little_text(speech: Speech) -> None:
    with pytest.raises(DataError, match="less than two chunks"):
        PieceDataset(np.arange(47), speech, MixConfig(), 0)


def test_batch_by_hand(speech: Speech, stream: np.ndarray) -> None:
    data = PieceDataset(stream, speech, MixConfig(short=0.5, hidden=0.4), 1)
    pieces = [data[0, index] for index in range(8)]
    batch = PieceCollate(speech)(pieces)
    for row, piece in enumerate(pieces):
        (turn,) = piece.turns
        answer = [*turn.answer.tolist(), speech.end]
        assert batch["texts"][row][batch["texts_present"][row]].tolist() == piece.text.tolist()
        assert batch["labels"][row, -len(answer) :].tolist() == answer
        assert (batch["labels"][row, : -len(answer)] == IGNORED).all()
        prompt = speech.prompt(REPEAT, -(-len(piece.text) // 4))
        given = batch["ids"][row][batch["present"][row]].tolist()
        assert given == [*prompt, *turn.heard.tolist(), speech.end]
        assert batch["asked"][row] == len(prompt) - prompt.count(5)


def test_dialogue_by_hand(speech: Speech) -> None:
    """All answers are learned and no question; the latents and the first answer stand as those of a single turn."""
    piece = AskedDataset(speech, 3, 0)[0, 1]
    batch = PieceCollate(speech)([piece])
    said = "<|im_end|><|im_start|>".join(
        f"user\n{'' if place else '<img>' + '<imgpad>' * 6 + '</img>' + chr(10)}{turn.instruction}"
        f"<|im_end|><|im_start|>assistant\n{speech.decode(turn.answer)}"
        for place, turn in enumerate(piece.turns)
    )
    system = speech.config.system
    assert spelt(speech, batch["ids"][0].tolist()) == (
        f"<|im_start|>system\n{system}<|im_end|><|im_start|>{said}<|im_end|>"
    )
    learned = batch["labels"][0][batch["labels"][0] != IGNORED].tolist()
    answers = [speech.decode(turn.answer) for turn in piece.turns]
    assert spelt(speech, learned) == "".join(f"{answer}<|im_end|>" for answer in answers)
    assert (batch["ids"][0][batch["labels"][0] != IGNORED]).tolist() == learned
    prompt = speech.prompt(piece.turns[0].instruction, 6)
    assert batch["asked"][0] == len(prompt) - 6


@torch.no_grad()
def test_loss_is_the_plain_cross_entropy_and_exact_in_parts(speech: Speech, stream: np.ndarray) -> None:
    """Against a loop over texts with whole logits; and a step in two parts is the step in one."""
    c3 = model()
    objective = C3Objective(c3)
    data, asked = PieceDataset(stream, speech, MixConfig(short=0.5), 1), AskedDataset(speech, 3, 1)
    pieces = [*(data[0, index] for index in range(4)), asked[0, 0], asked[0, 1]]
    collate = PieceCollate(speech)
    found = objective(collate(pieces))
    total = count = right = 0.0
    for piece in pieces:
        batch = collate([piece])
        latents = c3.compress(batch["texts"], batch["texts_present"])
        given = c3.decoder_input(latents, batch["ids"], batch["present"], batch["asked"])
        logits = c3.decoder.lm_head(c3.read(given))[0]
        for place in range(1, len(logits)):
            if (label := int(batch["labels"][0, place])) != IGNORED:
                total -= float(logits[place - 1].log_softmax(0)[label])
                right += float(logits[place - 1].argmax() == label)
                count += 1
    assert count == sum(len(turn.answer) + 1 for piece in pieces for turn in piece.turns)
    assert float(found["loss"]) == pytest.approx(total / count, abs=1e-5)
    assert float(found["accuracy"]) == pytest.approx(right / count, abs=1e-6)
    parts = [collate(pieces[:2]), collate(pieces[2:])]
    counts = torch.stack([objective.counts(part) for part in parts]).sum(dim=0)
    shares = [float(objective(part, counts)["loss"]) for part in parts]
    assert sum(shares) == pytest.approx(float(found["loss"]), abs=1e-5)


def test_long_texts_are_cut_and_none_is_lost() -> None:
    mine = codec()
    text = " ".join(WORDS * 9)
    chunks = mine.cut(text)
    assert [len(chunk) for chunk in chunks[:-1]] == [24] * (len(chunks) - 1)
    assert mine.speech.decode([token for chunk in chunks for token in chunk]) == text
    with pytest.raises(DataError, match="empty"):
        mine.cut("")


@pytest.mark.parametrize(
    "settings",
    [
        {"random": 1.1},
        {"random": 0.6, "told": 0.6},
        {"asked": 1.5},
        {"turns": 0},
        {"hidden": 0.6},
        {"short": -0.1},
    ],
)
def test_impossible_mixes(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"mix\."):
        MixConfig(**settings)


def test_recipes_say_where_words_come_from() -> None:
    assert paper().model.latents == 32
    with pytest.raises(ConfigError, match="exactly one of words and initial"):
        mini(initial="folder")
