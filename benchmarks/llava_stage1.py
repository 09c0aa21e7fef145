"""LLaVA's first stage with kept features beside running the tower anew, and the head on answers beside everywhere.

    python benchmarks/llava_stage1.py [--repeats 5] [--threads 2]

A step is: samples, forward, backward to the projector. Both sides have the same weights and captions, take turns, and
their losses are compared first. How much is saved is a matter of proportion: "tiny" has the sizes of the model that
ships, "larger tower" a tower of 38 million parameters before a language model of 3 million. Before a
language model of seven billion parameters the tower is a few per cent of the step, and so is what can be saved.

Memory is what a process of its own grows by at its peak in the forward and backward pass of 8 conversations of 256
tokens, a quarter of them answers, with a vocabulary of 32,000.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from _common import alternate, report
from visionsmith.losses.language import IGNORED, next_token_sums
from visionsmith.papers.llava.assistant import layout_of
from visionsmith.papers.llava.config import LanguageConfig, LlavaConfig, TowerConfig
from visionsmith.papers.llava.features import SeenDataset, seen_store
from visionsmith.papers.llava.model import Llava, language_model
from visionsmith.papers.llava.objective import AnswerObjective
from visionsmith.papers.llava.recipes import tiny
from visionsmith.papers.llava.samples import ConversationCollate, ConversationDataset
from visionsmith.papers.llava.sources import WorldCaptions
from visionsmith.papers.llava.words import learn_words

BATCH = 16
TARGETS = {"tiny": 1.0, "larger tower": 3.0}
WORDS, ROWS, TOKENS = 32_000, 8, 256


def config_of(name: str) -> LlavaConfig:
    small = tiny().model
    if name == "tiny":
        return small
    vision = TowerConfig(image_size=144, patch_size=16, width=512, hidden=2048, layers=12, heads=8)
    language = LanguageConfig(vocab_size=512, width=256, hidden=768, layers=3, heads=4, context=512)
    return replace(small, vision=vision, language=language)


def sides(name: str, folder: Path) -> dict[str, partial[float]]:
    """The two ways to a step, once their losses have agreed."""
    torch.manual_seed(0)
    llava = Llava(config_of(name))
    for part in (llava.vision, llava.language):
        part.requires_grad_(False)
    tokenizer = learn_words(512)
    layout = layout_of(llava.config, tokenizer, template="plain")
    source = WorldCaptions(4 * BATCH, llava.config.vision.image_size, 0)
    store = seen_store(llava, source, folder / name.replace(" ", "-"))
    datasets = {"anew": ConversationDataset(source, layout), "kept": SeenDataset(source, layout, store)}
    objective, collate = AnswerObjective(llava), ConversationCollate(llava.config.end_token)
    keys = [(0, index) for index in range(BATCH)]
    losses = [objective(collate([data[key] for key in keys]))["loss"] for data in datasets.values()]
    torch.testing.assert_close(losses[0], losses[1], rtol=2e-3, atol=2e-3)

    def step(data: ConversationDataset | SeenDataset) -> float:
        start = time.perf_counter()
        objective(collate([data[key] for key in keys]))["loss"].backward()
        return time.perf_counter() - start

    return {side: partial(step, data) for side, data in datasets.items()}


def growth(side: str, threads: int) -> float:
    """MiB by which a process grows at its peak."""
    command = [sys.executable, __file__, "--grow", side, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_growth(side: str) -> None:
    torch.manual_seed(0)
    model = language_model(
        LanguageConfig(vocab_size=WORDS, width=128, hidden=256, layers=2, heads=4, context=TOKENS), 2
    )
    ids = torch.randint(WORDS, (ROWS, TOKENS))
    labels = ids.masked_fill(torch.rand(ids.shape) > 0.25, IGNORED)

    def run(rows: int) -> None:
        states = model.model(input_ids=ids[:rows], use_cache=False).last_hidden_state
        if side == "answers":
            total, _ = next_token_sums(states, labels[:rows], model.lm_head)
        else:
            logits = model.lm_head(states)[:, :-1].flatten(0, 1).float()
            total = F.cross_entropy(
                logits, labels[:rows, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
            )
        total.backward()

    run(1)  # gradients and libraries are there before the count begins
    before = peak()
    run(ROWS)
    print(peak() - before)


def peak() -> float:
    """Largest resident size of this process so far, MiB."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grow", choices=["answers", "everywhere"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.grow:
        print_growth(options.grow)
        return
    figures, ratios = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, target in TARGETS.items():
            seconds = alternate(sides(name, Path(folder)), options.repeats)
            figures[f"{name}, seconds of a step of {BATCH}"] = seconds
            ratio = statistics.median(seconds["anew"]) / statistics.median(seconds["kept"])
            ratios[f"llava_stage1_{name.replace(' ', '_')}"] = (ratio, target)
    grown = {side: growth(side, options.threads) for side in ("answers", "everywhere")}
    figures["MiB at the peak"] = grown
    ratios["llava_stage1_head_memory"] = (grown["everywhere"] / grown["answers"], 2.0)
    report("llava_stage1", figures, ratios)


if __name__ == "__main__":
    main()
