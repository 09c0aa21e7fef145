"""A training step of FLAVA beside transformers' `FlavaForPreTraining` of the same sizes and weights, in one run.

    python benchmarks/flava_step.py [--layers 4] [--batch 4] [--repeats 5] [--threads 1] [--device cpu]

A step is forward, all losses that the batch has, and backward. Both get the same pictures, masks and captions, and
their losses are compared before anything is timed. Texts come padded to 77 word pieces, as processors pad them; ours
drops the padding that all texts of a batch share. The library computes the codes of a picture within the step, as it
does unless a caller brings them; ours come from a file. The pair step is timed once more with the codes given to both.
The steps alternate; a ratio is the library's median time over ours. The layers are fewer than published so that a run
takes minutes; widths, tokens and vocabularies are the published ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.models.flava.modeling_flava import FlavaForPreTraining

from _common import alternate, report
from visionsmith.losses.language import IGNORED
from visionsmith.memory.locks import library_load
from visionsmith.papers.clip import normalise
from visionsmith.papers.flava.config import FlavaConfig
from visionsmith.papers.flava.layers import library_config
from visionsmith.papers.flava.model import FLAVA
from visionsmith.papers.flava.objective import FlavaObjective
from visionsmith.papers.flava.recipes import LossWeights
from visionsmith.papers.flava.transformers_layout import plain_names

TARGETS = {"pair": 1.5, "pair_codes_given": 1.0, "image": 1.5, "text": 1.5}
"""Aimed at. The library runs pictures and texts alone twice, though no loss needs the second pass."""
LENGTH, LONGEST = 77, 20
"""Word pieces that texts are padded to, and of the longest text."""
HIDDEN, WORDS = 75, 3
"""Masked patches of a picture, and words of a text."""
TOLERANCE = 2e-4
"""Largest difference of a loss, of values near 10."""

Batch = dict[str, Tensor]


def make_config(layers: int) -> FlavaConfig:
    """The published model with fewer layers; the multimodal encoder has half as many as the others, as published."""
    whole = FlavaConfig()
    return dataclasses.replace(
        whole,
        image=dataclasses.replace(whole.image, layers=layers),
        text=dataclasses.replace(whole.text, layers=layers),
        multimodal=dataclasses.replace(whole.multimodal, layers=max(1, layers // 2)),
    )


def make_batch(rows: int, config: FlavaConfig, library: FlavaForPreTraining) -> tuple[Batch, Batch]:
    """The same pairs for us and for the library."""
    images = torch.randint(0, 256, (rows, 224, 224, 3), dtype=torch.uint8)
    small = torch.rand(rows, 3, 112, 112)
    patch_places = torch.stack([torch.randperm(196)[:HIDDEN].sort().values for _ in range(rows)])
    words = torch.randint(1000, config.text.vocab_size, (rows, LENGTH))
    for row, length in enumerate(torch.randint(8, LONGEST + 1, (rows,)).tolist()):
        words[row, length if row else LONGEST :] = 0
    word_places = torch.stack([torch.randperm(6)[:WORDS] + 1 for _ in range(rows)])
    labels = torch.full_like(words, IGNORED).scatter(1, word_places, words.gather(1, word_places))
    masked = words.scatter(1, word_places, 103)
    hidden = torch.zeros(rows, 196, dtype=torch.bool).scatter(1, patch_places, value=True)
    with torch.no_grad():
        codes = library.image_codebook.get_codebook_indices(small).flatten(1)
    ours = {
        "images": images,
        "patch_places": patch_places,
        "patch_labels": codes.gather(1, patch_places),
        "words": words,
        "masked_words": masked,
        "word_places": word_places,
        "word_labels": words.gather(1, word_places),
        "matched": torch.ones(rows, dtype=torch.int64),
    }
    theirs = {
        "pixel_values": normalise(images),
        "codebook_pixel_values": small,
        "bool_masked_pos": hidden,
        "input_ids": words,
        "input_ids_masked": masked,
        "attention_mask": (words != 0).long(),
        "mlm_labels": labels,
        "itm_labels": torch.ones(rows, dtype=torch.int64),
        "mim_labels": codes,
    }
    return ours, theirs


PICTURE, TEXT = ("images", "patch_places", "patch_labels"), ("masked_words", "word_places", "word_labels")
OURS = {"pair": (*PICTURE, *TEXT, "words", "matched"), "image": PICTURE, "text": TEXT}
THEIR_PICTURE = ("pixel_values", "codebook_pixel_values", "bool_masked_pos")
THEIR_TEXT = ("input_ids", "input_ids_masked", "attention_mask", "mlm_labels")
THEIRS = {"pair": (*THEIR_PICTURE, *THEIR_TEXT, "itm_labels"), "image": THEIR_PICTURE, "text": THEIR_TEXT}


def trimmed(batch: Batch) -> Batch:
    """Without the columns in which every text is padding, as our loader pads to the longest of a batch."""
    kept = dict(batch)
    for name in ("words", "masked_words"):
        if name in batch:
            kept[name] = batch[name][:, : int((batch[name] != 0).any(dim=0).sum())]
    return kept


def timed(step: Callable[[], Tensor], model: nn.Module, device: str) -> Callable[[], float]:
    """Forward and backward, as a function that returns its seconds."""

    def run() -> float:
        model.zero_grad()
        start = time.perf_counter()
        step().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return run


def main() -> None:
    """Compare the losses, measure, print the ratios, write the figures."""
    parser = argparse.ArgumentParser(description="A training step of FLAVA beside transformers' own.")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = make_config(options.layers)
    with library_load():
        library = FlavaForPreTraining(library_config(config))
    our_model = FLAVA(config)
    own = {name: t for name, t in library.state_dict().items() if not name.startswith("image_codebook.")}
    our_model.load_state_dict(plain_names(own))
    ours, theirs = make_batch(options.batch, config, library)
    ours = {name: tensor.to(options.device) for name, tensor in ours.items()}
    theirs = {name: tensor.to(options.device) for name, tensor in theirs.items()}
    library.train().to(options.device)
    objective = FlavaObjective(our_model.train(), LossWeights()).to(options.device)
    figures: dict[str, object] = {
        **vars(options),
        "parameters": sum(p.numel() for p in our_model.parameters()),
        "codebook_parameters": sum(p.numel() for p in library.image_codebook.parameters()),
    }
    ratios: dict[str, tuple[float, float]] = {}
    for name, target in TARGETS.items():
        kind = name.removesuffix("_codes_given")
        our_batch = {key: ours[key] for key in OURS[kind]}
        their_batch = {key: theirs[key] for key in THEIRS[kind]}
        if name != kind:
            their_batch["mim_labels"] = theirs["mim_labels"]

        def our_step(batch: Batch = our_batch) -> Tensor:
            return objective(trimmed(batch))["loss"]

        def their_step(batch: Batch = their_batch) -> Tensor:
            # The library writes into the labels that it is given.
            given = {key: value.clone() if key == "mim_labels" else value for key, value in batch.items()}
            loss: Tensor = library(**given).loss
            return loss

        with torch.no_grad():
            difference = float((our_step() - their_step()).abs())
        assert difference < TOLERANCE, f"the losses of the {name} step differ by {difference}"
        steps = {
            "visionsmith": timed(our_step, objective, options.device),
            "transformers": timed(their_step, library, options.device),
        }
        seconds = alternate(steps, options.repeats)
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        ratio = medians["transformers"] / medians["visionsmith"]
        figures[name] = {
            "loss_difference": difference,
            "median_seconds": medians,
            "ratio": ratio,
            "seconds": seconds,
        }
        ratios[f"flava_step_{name}"] = (ratio, target)
    report("flava_step", figures, ratios)


if __name__ == "__main__":
    main()
