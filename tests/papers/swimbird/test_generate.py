"""What is written in a batch with a cache is what the model says when it reads it again, whole and without one."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer

from visionsmith.data.sampler import generator
from visionsmith.errors import ConfigError
from visionsmith.papers.swimbird.answers import read_answer
from visionsmith.papers.swimbird.chat import encode_chat
from visionsmith.papers.swimbird.generate import Sampling, Span, Written, generate
from visionsmith.papers.swimbird.model import SwimBird
from visionsmith.papers.swimbird.objective import collate_chats
from visionsmith.papers.swimbird.tasks import exercise

KINDS = ("what", "sum", "missing", "relation", "order", "odd", "count")


def prompts(model: SwimBird, vocabulary: Tokenizer, kinds: tuple[str, ...] = KINDS) -> list:
    return [
        encode_chat(
            exercise(kind, generator(5, 0, index), side=36).turns()[:1],
            vocabulary,
            model.config,
            system="",
            answer=True,
        )
        for index, kind in enumerate(kinds)
    ]


@pytest.fixture
def eager(model: SwimBird) -> SwimBird:
    """One that likes to think: the head leans to the tokens of a span."""
    import copy

    eager = copy.deepcopy(model)
    plain = eager.head
    lean = torch.zeros(model.config.text.vocab_size)
    lean[[model.config.latent_start_id, model.config.latent_end_id]] = 8.0
    lean[model.config.end_id] = 6.0
    eager.head = lambda states: plain(states) + lean
    return eager


def test_equals_the_librarys_greedy_search_without_thoughts(model: SwimBird, vocabulary: Tokenizer) -> None:
    batch = collate_chats(prompts(model, vocabulary), pad=0, left=True)
    ours = generate(model, batch, most=12)
    theirs = model.qwen.generate(
        input_ids=batch["ids"], attention_mask=batch["mask"], pixel_values=batch["values"],
        image_grid_thw=batch["grids"], mm_token_type_ids=(batch["ids"] == model.config.image_id).int(),
        max_new_tokens=12, do_sample=False, eos_token_id=model.config.end_id, pad_token_id=model.config.end_id,
        suppress_tokens=[
            model.config.image_id, model.config.latent_id, model.config.latent_end_id, model.config.latent_start_id,
        ],
    )[:, batch["ids"].shape[1] :]  # fmt: skip
    compared = 0
    for row, expected in zip(ours, theirs.tolist(), strict=True):
        if not row.spans:
            assert row.ids == [token for token in expected if token != model.config.end_id][: len(row.ids)]
            compared += 1
    assert compared >= 3


def test_reading_it_again_says_the_same(eager: SwimBird, vocabulary: Tokenizer) -> None:
    asked = prompts(eager, vocabulary)
    written = generate(eager, collate_chats(asked, pad=0, left=True), most=40)
    assert sum(len(row.spans) for row in written) > len(written)
    config = eager.config
    for prompt, row in zip(asked, written, strict=True):
        ids = torch.cat([prompt.ids, torch.tensor(row.ids, dtype=torch.long)])[None]
        seen = (
            {}
            if prompt.pictures is None
            else {"values": prompt.pictures.values, "grids": prompt.pictures.grids}
        )
        with torch.no_grad():
            hidden = eager.hidden(ids, torch.ones_like(ids), thoughts=row.thoughts, **seen)[0]
            logits = eager.head(hidden)
        logits[:, config.image_id] = -torch.inf
        thought, inside, count = iter(row.thoughts), False, 0
        for place, token in enumerate(row.ids):
            before = len(prompt.ids) + place - 1
            best = logits[before].clone()
            if not inside:
                best[[config.latent_id, config.latent_end_id]] = -torch.inf
                assert int(best.argmax()) == token
                inside, count = token == config.latent_start_id, 0
            elif token == config.latent_id:
                # The thought is the state before it, and the model did not want to leave (or might not yet).
                assert torch.allclose(next(thought), hidden[before], atol=1e-4)
                assert count < config.min_latent_token or int(best.argmax()) != config.latent_end_id
                count += 1
            else:
                assert token == config.latent_end_id
                assert int(best.argmax()) == token or count == config.most_latents
                inside = False


def test_a_batch_equals_one_by_one(eager: SwimBird, vocabulary: Tokenizer) -> None:
    asked = prompts(eager, vocabulary)
    together = generate(eager, collate_chats(asked, pad=0, left=True), most=30)
    for prompt, row in zip(asked, together, strict=True):
        alone = generate(eager, collate_chats([prompt], pad=0, left=True), most=30)[0]
        assert alone.ids == row.ids
        assert alone.spans == row.spans
        assert torch.allclose(alone.thoughts, row.thoughts, atol=1e-4)


def test_limits_of_a_span(model: SwimBird, vocabulary: Tokenizer) -> None:
    import copy
    import dataclasses

    config = model.config
    batch = collate_chats(prompts(model, vocabulary, ("what", "sum")), pad=0, left=True)
    for least, limit, leaves, expected in ((1, 5, False, 5), (3, 5, True, 3)):
        keen = copy.deepcopy(model)
        keen.config = dataclasses.replace(config, min_latent_token=least, latent_limit=limit)
        lean = torch.zeros(config.text.vocab_size)
        lean[config.latent_start_id] = 1e4
        lean[config.latent_end_id] = 2e4 if leaves else -1e4
        plain = model.head
        keen.head = lambda states, plain=plain, lean=lean: plain(states) + lean
        for row in generate(keen, batch, most=16):
            # Nothing but spans; the last is cut off by the limit of the answer.
            assert not row.ended
            assert {span.length for span in row.spans[:-1]} == {expected}
            assert all(span.closed == leaves for span in row.spans[:-1])
            assert len(row.ids) == 16
            assert len(row.thoughts) == row.ids.count(config.latent_id)


def test_controls_replace_what_is_fed_back(eager: SwimBird, vocabulary: Tokenizer) -> None:
    batch = collate_chats(prompts(eager, vocabulary), pad=0, left=True)
    plain = generate(eager, batch, most=30)
    zeros = generate(eager, batch, most=30, replace=torch.zeros_like)
    assert all(float(row.thoughts.abs().sum()) == 0 for row in zeros)
    assert [row.ids for row in plain] != [row.ids for row in zeros]


def test_sampling(model: SwimBird, vocabulary: Tokenizer) -> None:
    batch = collate_chats(prompts(model, vocabulary), pad=0, left=True)
    first = generate(model, batch, most=12, sampling=Sampling(temperature=1.0, seed=1))
    again = generate(model, batch, most=12, sampling=Sampling(temperature=1.0, seed=1))
    other = generate(model, batch, most=12, sampling=Sampling(temperature=1.0, seed=2))
    assert [row.ids for row in first] == [row.ids for row in again] != [row.ids for row in other]
    # A share of almost nothing leaves the most probable token alone.
    narrow = generate(model, batch, most=12, sampling=Sampling(temperature=1.0, top_p=1e-6, seed=2))
    assert [row.ids for row in narrow] == [row.ids for row in generate(model, batch, most=12)]
    with pytest.raises(ConfigError, match="out of range"):
        Sampling(temperature=-1)


def test_answers_are_read(vocabulary: Tokenizer, model: SwimBird) -> None:
    config = model.config

    def written(text: str, *, ended: bool = True) -> Written:
        ids = vocabulary.encode(text).ids
        spans, start = [], 0
        for place, token in enumerate(ids):
            start = place if token == config.latent_start_id else start
            if token == config.latent_end_id:
                spans.append(Span(start, place - start - 1, closed=True))
        return Written(ids, spans, torch.zeros(0, 24), ended)

    span = "<|latent_start|><|latent|><|latent|><|latent_end|>"
    cases = {
        f"<reason>{span}</reason><answer>red</answer>": ("red", "[2 thoughts]", "vision", (2,), True),
        f"<reason>I look. {span} It is so.</reason><answer>no</answer>": (
            "no", "I look. [2 thoughts] It is so.", "interleaved", (2,), True,
        ),
        "<reason>One plus one.</reason><answer>two</answer>": ("two", "One plus one.", "text", (), True),
        "<answer>two": ("two", "", "text", (), False),
        "just words": ("just words", "", "text", (), False),
    }  # fmt: skip
    for text, (answer, reason, mode, lengths, whole) in cases.items():
        found = read_answer(written(text), vocabulary, config)
        assert (found.text, found.reason, found.mode, found.lengths, found.well_formed) == (
            answer, reason, mode, lengths, whole,
        ), text  # fmt: skip
