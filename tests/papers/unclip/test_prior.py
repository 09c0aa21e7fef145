"""The prior: sizes, the exact prefix, statistics, seeds, guidance, the better of two samples, the objective."""

from __future__ import annotations

import pytest
import torch
from diffusers import PriorTransformer
from torch.nn import functional as F

from visionsmith.errors import ConfigError, DataError
from visionsmith.papers.unclip.card import metric_card
from visionsmith.papers.unclip.config import PriorConfig
from visionsmith.papers.unclip.imagine import imagine
from visionsmith.papers.unclip.prefix import Prefix
from visionsmith.papers.unclip.prior import Read, make_prior, set_statistics
from visionsmith.papers.unclip.travel import between, towards

CONFIG = PriorConfig(embedding=24, text_width=16, text_tokens=7, heads=4, head_width=8, layers=3)


@pytest.fixture(scope="module")
def prior() -> PriorTransformer:
    torch.manual_seed(0)
    prior = make_prior(CONFIG).eval()
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            if not name.startswith("clip_"):
                parameter.normal_(std=0.2)
    set_statistics(prior, F.normalize(torch.randn(100, 24), dim=1))
    return prior


def read(count: int, seed: int = 1) -> Read:
    stream = torch.Generator().manual_seed(seed)
    mask = torch.arange(7)[None] < torch.randint(1, 8, (count, 1), generator=stream)
    return Read(torch.randn(count, 7, 16, generator=stream), torch.randn(count, 24, generator=stream), mask)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (PriorConfig(), 1_022_030_080),
        (PriorConfig(embedding=1280, text_width=1280), 1_026_225_920),
        (PriorConfig(embedding=1024, text_width=1024, text_tokens=252, layers=24), 1_225_919_488),
    ],
    ids=["Karlo", "Kandinsky 2.2", "as the paper describes it"],
)
def test_published_sizes(config: PriorConfig, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in make_prior(config).parameters()) == count


def test_the_prefix_is_exact(prior: PriorTransformer) -> None:
    """Bit for bit it cannot be: sums are taken in another order."""
    texts, noised = read(5), torch.randn(5, 24)
    prefix = Prefix(prior, texts)
    for time in (999, 500, 0):
        with torch.no_grad():
            whole = prior(
                noised, torch.tensor(time), proj_embedding=texts.embedding,
                encoder_hidden_states=texts.states, attention_mask=texts.mask,
            ).predicted_image_embedding  # fmt: skip
        assert torch.allclose(prefix.step(noised, torch.tensor(time)), whole, atol=1e-5)


def test_sampling_with_and_without_the_prefix_is_the_same(prior: PriorTransformer) -> None:
    texts, nothing = read(3), read(1, seed=9)
    for guidance in (1.0, 3.0):
        found = [
            imagine(prior, CONFIG, texts, nothing, steps=6, guidance=guidance, samples=2, cached=cached)
            for cached in (True, False)
        ]
        assert torch.allclose(*found, atol=1e-4)
        assert torch.allclose(found[0].norm(dim=1), torch.ones(3), atol=1e-5)


def test_what_is_hidden_does_not_count(prior: PriorTransformer) -> None:
    texts = read(4)
    changed = Read(torch.where(texts.mask[..., None], texts.states, 100.0), texts.embedding, texts.mask)
    noised, time = torch.randn(4, 24), torch.tensor(300)
    assert torch.allclose(
        Prefix(prior, texts).step(noised, time), Prefix(prior, changed).step(noised, time), atol=1e-5
    )


def test_a_text_has_its_own_seed_whatever_stands_beside_it(prior: PriorTransformer) -> None:
    texts, nothing = read(3), read(1, seed=9)
    together = imagine(prior, CONFIG, texts, nothing, steps=5, seeds=[4, 5, 6])
    alone = imagine(prior, CONFIG, texts.rows(slice(1, 2)), nothing, steps=5, seeds=[5])
    assert torch.allclose(together[1], alone[0], atol=1e-6)
    other = imagine(prior, CONFIG, texts.rows(slice(1, 2)), nothing, steps=5, seeds=[7])
    # Random weights mind the noise little.
    assert float((other - alone).abs().max()) > 2e-5


def test_of_more_samples_the_better_is_kept(prior: PriorTransformer) -> None:
    texts, nothing = read(6), read(1, seed=9)
    unit = F.normalize(texts.embedding, dim=1)
    one = imagine(prior, CONFIG, texts, nothing, steps=5, samples=1)
    four = imagine(prior, CONFIG, texts, nothing, steps=5, samples=4)
    assert float((four * unit).sum()) > float((one * unit).sum())


def test_statistics_are_measured_and_their_lack_is_refused() -> None:
    prior = make_prior(CONFIG)
    some = torch.randn(50, 24) * 3 + 1
    set_statistics(prior, some)
    white = (some - prior.clip_mean) / prior.clip_std
    assert torch.allclose(white.std(dim=0), torch.ones(24), atol=1e-4)
    assert torch.allclose(prior.post_process_latents(white), some, atol=1e-4)
    assert not prior.clip_mean.requires_grad
    with pytest.raises(DataError, match="at least two"):
        set_statistics(prior, some[:1])
    with pytest.raises(DataError, match="the same in all"):
        set_statistics(prior, torch.zeros(4, 24))


@pytest.mark.parametrize("setting", [{"steps": 1}, {"guidance": -1.0}, {"samples": 0}])
def test_a_setting_out_of_range_is_refused(prior: PriorTransformer, setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        imagine(prior, CONFIG, read(1), read(1), **setting)  # type: ignore[arg-type]


def test_ways_through_the_space() -> None:
    one, other = F.normalize(torch.randn(2, 16), dim=1)
    way = between(one, other, torch.tensor([0.0, 0.5, 1.0]))
    assert torch.allclose(way[0], one, atol=1e-6)
    assert torch.allclose(way[2], other, atol=1e-6)
    assert torch.allclose(way.norm(dim=1), torch.ones(3), atol=1e-6)
    assert float(way[1] @ one) == pytest.approx(float(way[1] @ other), abs=1e-6)
    assert torch.allclose(between(one, one, torch.tensor([0.3]))[0], one, atol=1e-6)
    before, after = F.normalize(torch.randn(2, 16), dim=1)
    assert torch.allclose(towards(one, before, after, 0.0), one, atol=1e-6)
    assert float(towards(one, before, after, 0.5) @ (after - before)) > float(one @ (after - before))
    with pytest.raises(DataError, match="opposite"):
        between(one, -one, torch.tensor([0.5]))
    with pytest.raises(DataError, match="say the same"):
        towards(one, before, before, 0.5)


def test_the_card_of_perfect_and_of_collapsed_embeddings() -> None:
    torch.manual_seed(0)
    real = F.normalize(torch.randn(40, 12), dim=1)
    truth = [frozenset({place}) for place in range(40)]
    perfect = metric_card(real, real, real, truth)
    assert perfect["cosine"] == pytest.approx(1)
    assert perfect["top1"] == 1
    assert perfect["frechet"] == pytest.approx(0, abs=1e-6)
    same = metric_card(real[:1].expand(40, -1), real, real, truth)
    assert same["spread"] == pytest.approx(1, abs=1e-5)
    assert same["top1"] == pytest.approx(1 / 40)
    assert same["frechet"] > 0.5
