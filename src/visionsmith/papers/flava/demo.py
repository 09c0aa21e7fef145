"""What `visionsmith demo` shows of FLAVA: pictures under their captions, words filled in, and what the codes keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.papers.flava.flava import Flava
    from visionsmith.papers.flava.measure import Asked
    from visionsmith.papers.flava.world import World
    from visionsmith.report.page import Page

__all__ = ["demo"]

SHOWN = 6
"""Pictures of a gallery."""
ASKED = 1000
"""Held-out pairs that are asked about, at most; the built-in data have 300."""


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add FLAVA's sections to the page.

    Args:
        page: of the demo.
        folder: where a picture for the commands is written.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    from visionsmith.image.io import encode_png, write_image
    from visionsmith.papers.flava.measure import ask, sample_sheet
    from visionsmith.papers.flava.run import load
    from visionsmith.papers.flava.world import open_world

    flava = load()
    world = open_world(None, size=flava.model.config.image.image_size, progress=progress)
    world = replace(world, held_out=world.held_out[:ASKED], truth=world.truth[:ASKED])
    asked = ask(flava, world)
    _figures(page, flava, world, asked)
    page.figure(
        encode_png(sample_sheet(flava, world)),
        "Held-out pictures under the caption ranked first. Green: right.",
        "contact sheet of held-out pictures with captions",
    )
    _words(page, flava, asked)
    _codes(page, flava, asked)
    picture = folder / "flava-picture.png"
    write_image(picture, asked.pictures[len(asked.pictures) // 2])
    return (
        f'visionsmith run flava {picture} --texts "a man, a woman, a hand, a flag"',
        f'visionsmith run flava {picture} --fill "a person with [MASK] skin"',
        "visionsmith train flava --data YOUR_FOLDER --output runs/mine",
    )


def _figures(page: Page, flava: Flava, world: World, asked: Asked) -> None:
    from visionsmith.papers.flava.measure import masked_patches, masked_words, matching, ways
    from visionsmith.report.tables import percent

    found, match = ways(flava, world, asked), matching(flava, asked)
    words, patches = masked_words(flava, asked), masked_patches(flava, asked)
    parameters = sum(parameter.numel() for parameter in flava.model.parameters())
    page.section(
        "FLAVA: one model for pictures, texts and both",
        f"{parameters / 1e6:.1f} million parameters, trained on pictures alone, texts alone and pairs in turn. It is "
        f"asked about {len(asked.pictures):,} combinations of person, role and skin tone that it has never seen.",
    )
    page.table(
        ("question", "FLAVA", "baseline", "which"),
        [
            (
                f"the true caption first, of {len(world.candidates):,}",
                percent(found["zero_shot.top1"]),
                percent(found["zero_shot.chance"], 2),
                "chance",
            ),
            (
                "the true caption within the first five",
                percent(found["zero_shot.top5"]),
                percent(5 * found["zero_shot.chance"], 2),
                "chance",
            ),
            (
                "does the caption fit",
                percent(match["accuracy"]),
                percent(match["chance"]),
                "chance, or no picture",
            ),
            ("a hidden word", percent(words["with_picture"]), percent(words["text_alone"]), "the text alone"),
            (
                "the code of a hidden part",
                percent(patches["with_text"]),
                percent(patches["most_frequent"]),
                "the commonest code",
            ),
        ],
        caption="Held-out pairs. `visionsmith evaluate flava` measures the same and more.",
    )


def _words(page: Page, flava: Flava, asked: Asked) -> None:
    """A word of a caption hidden, with the picture and without it."""
    from visionsmith.image.io import encode_png
    from visionsmith.report.page import RankedItem

    items = []
    toned = [place for place, caption in enumerate(asked.captions) if "skin tone" in caption]
    step = max(1, len(toned) // SHOWN)
    for place in toned[step // 2 :: step][:SHOWN]:
        head, _, details = asked.captions[place].partition(", ")
        tone, *rest = details.split(" ")
        text = f"{head}, [MASK] {' '.join(rest)}"
        seen = flava.fill(text, asked.pictures[place], top=4)[0]
        without = dict(flava.fill(text, top=flava.words.size)[0])
        # The vocabulary may cut a tone into pieces: then its first piece is what stands in the gap.
        first = flava.words.word(flava.words.pieces(tone)[0][0])
        items.append(
            RankedItem(
                png=encode_png(asked.pictures[place]),
                caption=f"“{text}”",
                ranks=[
                    (f"{word} (unseen: {without.get(word, 0):.0%})", share, word == first)
                    for word, share in seen
                ],
            )
        )
    page.section(
        "A word filled in",
        "The likeliest words for the gap, given the picture; in brackets what the text alone would say.",
    )
    page.ranking(items)


def _codes(page: Page, flava: Flava, asked: Asked) -> None:
    import numpy as np
    import torch

    from visionsmith.image.io import encode_png
    from visionsmith.papers.flava.pictures import codebook_sheet

    codebook = flava.require_codebook()
    step = max(1, len(asked.pictures) // 12)
    some = torch.from_numpy(np.stack(asked.pictures[::step][:12]))
    page.section(
        "What hidden parts are guessed as",
        f"Masked parts of a picture are predicted as one of {codebook.config.codes} codes a patch. The codebook is a "
        "small discrete autoencoder, trained before the model; its codes keep outline and colour, and little else.",
    )
    page.figure(
        encode_png(codebook_sheet(codebook, some)),
        "Pictures, and what their codes alone say.",
        "pictures above their reconstructions",
    )
