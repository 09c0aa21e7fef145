"""Asking through latents beside asking with the whole text in the decoder, and compressing beside the public way.

    python benchmarks/c3_ask.py [--tokens 1280] [--latents 32] [--repeats 5] [--threads 1]

Random weights of a middle size (times and memory do not depend on the values), the published positions. In turns:

- Time to the first token of an answer: the decoder reads a prompt with the stored latents, or with the whole text. What
  compressing costs before the first question stands in the result file.
- Bytes of the decoder's cache of keys and values after that.
- Compressing: only the query rows leave the last layer and no output layer is computed, against the public code's way,
  the whole causal model with logits and all hidden states. Latents are compared first.
- Restoring eight texts in one batch against one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM

from _common import alternate, report
from visionsmith.memory.locks import library_load
from visionsmith.papers.c3.codec import Codec, Packed
from visionsmith.papers.c3.config import C3Config, LanguageConfig
from visionsmith.papers.c3.model import C3, Latents, qwen_config
from visionsmith.papers.c3.speech import SPECIAL
from visionsmith.papers.vocabulary import learn_byte_pairs

TARGETS = {
    "c3_ask_first_token": 5.0,
    "c3_ask_cache_bytes": 10.0,
    "c3_compress_vs_causal_lm": 1.15,
    "c3_restore_batch_8": 2.0,
}
INSTRUCTION = "Which words come after the first sentence?"
RESTORED = 16
"""Tokens of each restored text."""


def make(latents: int) -> C3:
    """A C3 with a decoder of about 110 million weights and a smaller compressor."""
    config = C3Config(
        vocab_size=32_000,
        latents=latents,
        compressor=LanguageConfig(width=512, layers=8, heads=8, key_heads=2, hidden=1536),
        decoder=LanguageConfig(width=768, layers=12, heads=12, key_heads=2, hidden=2304),
        image_start=3,
        image_end=4,
        image_pad=5,
    )
    return C3(config).eval()


def public_compressor(model: C3) -> Qwen2ForCausalLM:
    """The compressor as the public code holds it, with its output layer."""
    with library_load():
        whole = Qwen2ForCausalLM(qwen_config(model.config, model.config.compressor))
    whole.model = model.compressor
    whole.tie_weights()
    return whole.eval()


def public_latents(model: C3, whole: Qwen2ForCausalLM, ids: Tensor) -> Tensor:
    """The public forward: logits of every token and the hidden states of every layer, of which one is used."""
    count, config = model.config.latents, model.config
    marks = torch.tensor([[config.image_start, *[config.image_pad] * count, config.image_end]])
    states = whole.model.embed_tokens(torch.cat([ids, marks], dim=1)).clone()
    states[:, -count - 1 : -1] = model.queries.weight
    hidden = whole(inputs_embeds=states, output_hidden_states=True).hidden_states[-1]
    return model.projector(hidden[:, -count - 1 : -1])


def cache_bytes(cache: Any) -> int:
    return sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))


def timed(function: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return run


def main() -> None:
    """Measure, print the ratios, write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1280, help="of the text")
    parser.add_argument("--latents", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = make(options.latents)
    codec = Codec(model, learn_byte_pairs(["some words"], size=300, special=SPECIAL))
    ids = torch.randint(300, 32_000, (1, options.tokens))
    present = torch.ones_like(ids, dtype=torch.bool)
    figures: dict[str, Any] = dict(vars(options))
    with torch.inference_mode():
        latents = model.compress(ids, present)
        ratios = ask(codec, ids, latents, figures, options.repeats)
        whole = public_compressor(model)
        torch.testing.assert_close(latents.values, public_latents(model, whole, ids), atol=1e-4, rtol=1e-4)
        medians = measure(
            "compress",
            {
                "visionsmith": lambda: model.compress(ids, present),
                "public": lambda: public_latents(model, whole, ids),
            },
            figures,
            options.repeats,
        )
        ratios["c3_compress_vs_causal_lm"] = medians["public"] / medians["visionsmith"]
    ratios["c3_restore_batch_8"] = restore(codec, options.latents, figures, options.repeats)
    report("c3_ask", figures, {name: (value, TARGETS[name]) for name, value in ratios.items()})


def ask(
    codec: Codec, ids: Tensor, latents: Latents, figures: dict[str, Any], repeats: int
) -> dict[str, float]:
    """Time to the first token and bytes of the cache, through latents and with the text."""
    model, caches = codec.model, {}
    prompt = codec.speech.speak([codec.speech.prompt(INSTRUCTION, model.config.latents)])
    # The same prompt with the text in the latents' place.
    slots = (prompt.ids[0] == model.config.image_pad).nonzero()[:, 0]
    first, last = int(slots[0]), int(slots[-1])
    with_text = torch.cat([prompt.ids[:, :first], ids, prompt.ids[:, last + 1 :]], dim=1)

    def through_latents() -> None:
        given = model.decoder_input(latents, prompt.ids, prompt.present, prompt.asked)
        first_token("latents", inputs_embeds=given.states, position_ids=given.places)

    def through_text() -> None:
        first_token("text", input_ids=with_text)

    def first_token(name: str, **given: Tensor) -> None:
        output = model.decoder(**given, use_cache=True, logits_to_keep=1)
        output.logits.argmax(dim=-1)
        caches[name] = cache_bytes(output.past_key_values)

    medians = measure("ask", {"latents": through_latents, "text": through_text}, figures, repeats)
    figures["cache_bytes"] = caches
    return {
        "c3_ask_first_token": medians["text"] / medians["latents"],
        "c3_ask_cache_bytes": caches["text"] / caches["latents"],
    }


def restore(codec: Codec, latents: int, figures: dict[str, Any], repeats: int) -> float:
    """Throughput of eight texts together over that of one by one."""
    rows = tuple(torch.randn(8, latents, codec.model.config.decoder.width))

    def together() -> None:
        codec.restore_tokens(Packed(rows, (RESTORED,) * 8))

    def one_by_one() -> None:
        for row in rows:
            codec.restore_tokens(Packed((row,), (RESTORED,)))

    medians = measure("restore", {"batch": together, "one by one": one_by_one}, figures, max(2, repeats // 2))
    return medians["one by one"] / medians["batch"]


def measure(
    title: str, functions: dict[str, Callable[[], object]], figures: dict[str, Any], repeats: int
) -> dict[str, float]:
    """Medians in seconds, printed and kept."""
    seconds = alternate({name: timed(function) for name, function in functions.items()}, repeats)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    figures[title] = {"median_seconds": medians, "seconds": seconds}
    print(
        f"{title}: " + ", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in medians.items()),
        flush=True,
    )
    return medians


if __name__ == "__main__":
    main()
