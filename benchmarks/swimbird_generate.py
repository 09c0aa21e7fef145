"""SwimBird answering a batch of questions beside the same questions one by one, the same weights, in one run.

    python benchmarks/swimbird_generate.py [--batch 8] [--tokens 64] [--repeats 5] [--threads 1] [--checkpoint FOLDER]

Every row writes as many tokens as it is given (the end of a turn is ruled out), so both do the same work; that they
write the same tokens is checked first. Rows are in words and in latent spans by turns, as the model chooses. A ratio is
tokens a second together over tokens a second one by one. Without a checkpoint, random weights of the tiny sizes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from _common import alternate, report
from visionsmith.data.sampler import generator
from visionsmith.papers.swimbird.chat import encode_chat
from visionsmith.papers.swimbird.generate import generate
from visionsmith.papers.swimbird.objective import collate_chats
from visionsmith.papers.swimbird.reasoner import Reasoner
from visionsmith.papers.swimbird.recipes import tiny
from visionsmith.papers.swimbird.tasks import exercise
from visionsmith.papers.swimbird.train import make_reasoner
from visionsmith.train.task import Batch

TARGET = 4.0
KINDS = ("what", "relation", "odd", "colour")


def open_reasoner(checkpoint: Path | None) -> Reasoner:
    """The model that is timed, with a head that never ends a turn."""
    if checkpoint is None:
        torch.manual_seed(0)
        bird = make_reasoner(tiny())
    else:
        from visionsmith.papers.swimbird.run import load

        bird = load(checkpoint)
    plain, end = bird.model.head, bird.model.config.end_id

    def endless(states: torch.Tensor) -> torch.Tensor:
        logits = plain(states)
        logits[..., end] = -torch.inf
        return logits

    bird.model.head = endless  # type: ignore[method-assign]
    bird.model.eval()
    return bird


def prompts(bird: Reasoner, count: int) -> list[Batch]:
    """Questions about pictures, one a batch."""
    chats = [
        encode_chat(
            exercise(KINDS[index % len(KINDS)], generator(1, 0, index), side=72).turns()[:1],
            bird.tokenizer,
            bird.model.config,
            system=bird.system,
            answer=True,
        )
        for index in range(count)
    ]
    together = collate_chats(chats, pad=bird.model.config.end_id, left=True)
    return [together, *(collate_chats([chat], pad=bird.model.config.end_id, left=True) for chat in chats)]


def timed(bird: Reasoner, batches: list[Batch], tokens: int) -> Callable[[], float]:
    """Seconds of answering all batches."""

    def run() -> float:
        start = time.perf_counter()
        for batch in batches:
            generate(bird.model, batch, most=tokens)
        return time.perf_counter() - start

    return run


def main() -> None:
    """Check, measure, print the ratio."""
    parser = argparse.ArgumentParser(description="Batched against one-by-one generation of SwimBird.")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bird = open_reasoner(options.checkpoint)
    together, *alone = prompts(bird, options.batch)
    rows = generate(bird.model, together, most=options.tokens)
    spans = sum(len(row.spans) for row in rows)
    for row, batch in zip(rows, alone, strict=True):
        assert generate(bird.model, batch, most=options.tokens)[0].ids == row.ids, "a batch changes an answer"
    seconds = alternate(
        {
            "together": timed(bird, [together], options.tokens),
            "one_by_one": timed(bird, alone, options.tokens),
        },
        options.repeats,
    )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    total = options.batch * options.tokens
    figures = {
        "batch": options.batch,
        "tokens": options.tokens,
        "spans": spans,
        "threads": options.threads,
        "tokens_per_second": {name: total / value for name, value in medians.items()},
        "seconds": seconds,
    }
    ratio = medians["one_by_one"] / medians["together"]
    report("swimbird_generate", figures, {f"swimbird_batch_{options.batch}": (ratio, TARGET)})


if __name__ == "__main__":
    main()
