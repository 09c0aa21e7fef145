"""The model beside the library's own: the same numbers from less work, and batches that do not mix."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.papers.c3.common import WORDS, codec, config, model, vocabulary
from visionsmith.errors import ConfigError
from visionsmith.papers.c3.begin import begin
from visionsmith.papers.c3.codec import Packed
from visionsmith.papers.c3.config import LanguageConfig, published
from visionsmith.papers.c3.model import C3, last_rows
from visionsmith.papers.c3.speech import REPEAT, filled
from visionsmith.papers.paper import get_paper

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
STRIDES = [pytest.param(4, id="stride"), pytest.param(None, id="published")]


def texts(*lengths: int) -> list[list[int]]:
    return [torch.randint(6, 320, (length,)).tolist() for length in lengths]


@pytest.mark.parametrize("full", [True, False])
def test_last_rows_are_those_of_the_whole_model(full: bool) -> None:
    whole = model().compressor
    states = torch.randn(3, 11, 16)
    present = torch.ones(3, 11, dtype=torch.bool)
    if not full:
        present[0, 5:7] = False
        present[1, 2:7] = False
    places = torch.stack([torch.randperm(20)[:11].sort().values for _ in range(3)])
    expected = whole(
        inputs_embeds=states, attention_mask=present.long(), position_ids=places
    ).last_hidden_state
    found = last_rows(whole, states, present, places, 4)
    torch.testing.assert_close(found, expected[:, -4:], **CLOSE)


def test_published_latents_are_those_of_the_public_forward() -> None:
    """The public code's way: ids with placeholders and an end token through the whole model, plain positions."""
    c3 = model(stride=None)
    ids = texts(9)[0]
    latents = c3.compress(*filled([ids], 0))
    row = torch.tensor([[*ids, 3, *[5] * 6, 4]])
    states = c3.compressor.embed_tokens(row)
    states = torch.cat([states[:, :10], c3.queries.weight[None], states[:, 16:]], dim=1)
    hidden = c3.compressor(inputs_embeds=states).last_hidden_state
    torch.testing.assert_close(latents.values, c3.projector(hidden[:, 10:16]), **CLOSE)
    assert latents.present.all()


def test_published_decoder_input_has_plain_positions() -> None:
    c3 = model(stride=None)
    latents = c3.compress(*filled(texts(9), 0))
    ids = torch.tensor([[1, 30, 3, *[5] * 6, 4, 31, 2, 40, 41]])
    given = c3.decoder_input(latents, ids, torch.ones_like(ids, dtype=torch.bool), torch.tensor([6]))
    assert given.places.tolist() == [list(range(14))]
    torch.testing.assert_close(given.states[:, 3:9], latents.values)
    torch.testing.assert_close(given.states[:, 10], c3.decoder.model.embed_tokens.weight[[31]])
    expected = c3.decoder.model(inputs_embeds=given.states).last_hidden_state
    torch.testing.assert_close(c3.read(given), expected, **CLOSE)


@pytest.mark.parametrize("stride", STRIDES)
def test_a_batch_gives_what_its_texts_give_alone(stride: int | None) -> None:
    mine = codec(stride=stride)
    chunks = texts(24, 3, 10, 1, 17)
    together = mine.compress_tokens(chunks)
    for chunk, found in zip(chunks, together, strict=True):
        (alone,) = mine.compress_tokens([chunk])
        assert len(alone) == (6 if stride is None else -(-len(chunk) // 4))
        torch.testing.assert_close(found, alone, **CLOSE)


@pytest.mark.parametrize("stride", STRIDES)
def test_generation_is_the_best_guess_at_every_step(stride: int | None) -> None:
    """The library's batched, cached generation against whole forward passes, one text and one token at a time."""
    mine = codec(stride=stride)
    chunks = texts(24, 5, 13)
    packed = Packed(mine.compress_tokens(chunks), (8, 5, 7))
    restored = mine.restore_tokens(packed)
    for latents, count, found in zip(packed.latents, packed.tokens, restored, strict=True):
        assert found == greedy(mine, latents, count)


@torch.no_grad()
def greedy(mine, latents: torch.Tensor, count: int) -> list[int]:
    c3, said = mine.model, []
    from visionsmith.papers.c3.model import Latents

    for _ in range(count):
        spoken = mine.speech.speak([mine.speech.prompt(REPEAT, len(latents))], [said])
        own = Latents(latents[None], torch.ones(1, len(latents), dtype=torch.bool))
        logits = c3.decoder.lm_head(c3.read(c3.decoder_input(own, spoken.ids, spoken.present, spoken.asked)))[
            0, -1
        ]
        logits[mine.speech.end] = -torch.inf
        said.append(int(logits.argmax()))
    return said


def test_cached_latents_are_those_computed_again() -> None:
    mine = codec()
    text = " ".join(WORDS * 3)
    first, again = mine.compress(text), mine.compress(text)
    assert len(first.tokens) > 1
    for one, other in zip(first.latents, again.latents, strict=True):
        assert torch.equal(one, other)
    assert mine.restore(first) == mine.restore(again)


def test_latents_do_not_depend_on_what_comes_after_in_the_file() -> None:
    mine = codec()
    (own,) = mine.compress_tokens([[*range(10, 20)]])
    first, _ = mine.compress_tokens([[*range(10, 20)], [*range(50, 74)]])
    torch.testing.assert_close(own, first, **CLOSE)


def test_gradient_reaches_every_weight() -> None:
    c3 = model().train()
    latents = c3.compress(*filled(texts(24, 9), 0))
    ids = torch.tensor([[3, *[5] * 6, 4, 30, 31], [0, 0, 0, 3, *[5] * 3, 4, 30, 31]])
    given = c3.decoder_input(latents, ids, ids > 0, torch.tensor([2, 2]))
    c3.decoder.lm_head(c3.read(given)).square().mean().backward()
    missing = [name for name, p in c3.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias of all keys moves all scores of a query alike, but for the positions.
    assert missing == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in c3.parameters())


def test_published_sizes() -> None:
    with torch.device("meta"):
        c3 = C3(published())
    parts = {
        "compressor": c3.compressor,
        "decoder": c3.decoder,
        "queries": c3.queries,
        "projection": c3.projector,
    }
    counted = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    assert counted == get_paper("c3").parameters
    assert (counted["queries"], counted["projection"]) == (49_152, 3_147_776), "the sheet's figures"
    # Qwen2.5's model cards: 1.54 and 3.09 billion.
    assert round(counted["compressor"] / 1e9, 2) == 1.54
    assert round(counted["decoder"] / 1e9, 2) == 3.09


def test_heads_begin_by_looking_back() -> None:
    """Of the biases alone, head r's score is largest r places back."""
    from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

    part = LanguageConfig(width=64, layers=1, heads=4, key_heads=4, hidden=32, rope_theta=20.0)
    c3 = C3(config(compressor=part, decoder=part))
    begin(c3)
    assert torch.equal(c3.compressor.embed_tokens.weight, c3.decoder.model.embed_tokens.weight)
    attention = c3.compressor.layers[0].self_attn
    cos, sin = c3.compressor.rotary_emb(torch.zeros(1, 12, 64), torch.arange(12)[None])
    query = attention.q_proj.bias.view(1, 4, 1, 16).expand(1, 4, 12, 16)
    key = attention.k_proj.bias.view(1, 4, 1, 16).expand(1, 4, 12, 16)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    scores = query[0, :, -1] @ key[0].mT  # of the last place with every place
    assert [11 - int(scores[head, head].argmax()) for head in range(4)] == [0, 1, 2, 3]


@torch.no_grad()
def test_a_named_word_begins_by_finding_its_latent() -> None:
    """Before any training, in the decoder's first layer: the head of a token's place in its latent looks at it most."""
    from visionsmith.papers.c3.codec import Codec

    part = LanguageConfig(width=192, layers=2, heads=8, key_heads=8, hidden=64, rope_theta=10_000.0)
    c3 = C3(config(compressor=part, decoder=part, latents=8, chunk=32, system="")).eval()
    begin(c3)
    mine = Codec(c3, vocabulary())
    text = torch.randperm(300)[:32] + 6
    (latents,) = mine.compress_tokens([text.tolist()])
    layer = c3.decoder.model.layers[0]
    attention = layer.self_attn
    words = layer.input_layernorm(c3.decoder.model.embed_tokens(text))
    query = attention.q_proj(words).view(32, 8, 24)
    key = attention.k_proj(layer.input_layernorm(latents)).view(8, 8, 24)
    scores = torch.einsum("qhe,khe->qhk", query, key)  # places hardly turn these channels
    found = [int(scores[place, 4 + 3 - place % 4].argmax()) == place // 4 for place in range(32)]
    assert sum(found) >= 24, "one of eight would be chance"


def test_beginning_needs_a_stride_and_equal_widths() -> None:
    part = LanguageConfig(width=64, layers=1, heads=4, key_heads=4, hidden=32)
    fewer = dataclasses.replace(part, heads=2, key_heads=2)
    for made in (C3(config()), C3(config(stride=None)), C3(config(compressor=part, decoder=fewer))):
        with pytest.raises(ConfigError, match="from scratch"):
            begin(made)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunk": 25}, "do not reach"),
        ({"stride": 0}, "not positive"),
        ({"image_pad": 320}, "not in the vocabulary"),
        ({"latents": 0}, "not positive"),
    ],
)
def test_impossible_sizes(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 5}, "does not split"),
        ({"heads": 4, "key_heads": 3}, "not a multiple"),
        ({"layers": 0}, "positive"),
    ],
)
def test_impossible_language_models(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LanguageConfig(**{"width": 24, "heads": 4, "key_heads": 4, **settings})
