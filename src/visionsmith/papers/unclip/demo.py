"""What `visionsmith demo` shows of unCLIP: variations of a picture, a way between two, an edit by words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.latent_diffusion import World
    from visionsmith.papers.unclip.unclip import Unclip
    from visionsmith.report.page import Page

__all__ = ["demo"]

SHOWN = 12
"""Held-out captions that are painted for the page."""
STEPS = 20
VARIED = ("man astronaut, medium skin tone", "red apple")
BLENDED = ("man, light skin tone", "woman, dark skin tone")
EDITED = ("man farmer, light skin tone", "man farmer, dark skin tone")


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add unCLIP's section to the page.

    Args:
        page: of the demo.
        folder: where a picture is written, to try the commands on.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    from visionsmith.data.openmoji import ATTRIBUTION
    from visionsmith.image.io import encode_png, write_image
    from visionsmith.papers.latent_diffusion import evenly, open_world
    from visionsmith.papers.paper import shipped_checkpoint
    from visionsmith.papers.unclip.official import load_unclip
    from visionsmith.report.sheet import contact_sheet

    unclip = load_unclip(shipped_checkpoint("unclip"))
    world = open_world(None, size=unclip.size, progress=progress)
    asked = evenly(world.held_out, SHOWN)
    captions = [world.store[index].caption for index in asked]
    page.section(
        "unCLIP: a picture's meaning first, then the picture",
        "A prior draws the CLIP embedding of a picture that fits the text; a decoder paints it. Since pictures have "
        "such embeddings too, one can be varied, two can be blended, and one can follow the difference of two texts.",
    )
    painted = unclip.paint_texts(captions, steps=STEPS, progress=progress)
    page.figure(
        encode_png(contact_sheet(list(painted), captions, columns=6)),
        "Text, prior, decoder: captions that were kept from training.",
        "sheet of pictures painted through the prior",
    )
    rows, said = _ways(unclip, world)
    page.figure(
        encode_png(contact_sheet(rows, said, columns=6)),
        "Variations of the picture at the left of a row; the way between two; an edit by words.",
        "sheet of variations, a blend and an edit",
    )
    page.note(ATTRIBUTION)
    write_image(folder / "apple.png", _drawn(world, VARIED[1], unclip.size))
    return (
        f"visionsmith run unclip {folder / 'apple.png'} --count 6",
        f'visionsmith run unclip {folder / "apple.png"} --from "red apple" --to "green apple"',
        'visionsmith run unclip "a woman with red hair"',
    )


def _drawn(world: World, caption: str, size: int) -> Any:
    """The picture with this caption, uint8 `h w 3`."""
    from visionsmith.papers.latent_diffusion import Pictures

    index = world.captions().index(caption)
    return Pictures(world.store, size)[0, index]


def _ways(unclip: Unclip, world: World) -> tuple[list[Any], list[str]]:
    """The pictures and captions of the rows: two variations, a blend, an edit."""
    rows: list[Any] = []
    said: list[str] = []
    for caption in VARIED:
        picture = _drawn(world, caption, unclip.size)
        rows += [picture, *unclip.vary(picture, count=5, steps=STEPS)]
        said += [f"given: {caption}", *[f"variation {place}" for place in range(1, 6)]]
    one, other = (_drawn(world, caption, unclip.size) for caption in BLENDED)
    rows += [one, *unclip.blend(one, other, count=5, steps=STEPS)]
    said += [
        "given: from here ...",
        *[f"{place / 4:.2f} of the way" for place in range(4)],
        f"to: {BLENDED[1]}",
    ]
    picture = _drawn(world, EDITED[0], unclip.size)
    amounts = (0.1, 0.15, 0.2, 0.25, 0.3)
    rows += [picture, *unclip.edit(picture, old=EDITED[0], new=EDITED[1], amounts=amounts, steps=STEPS)]
    said += [f"given: {EDITED[0]}", *[f"{amount:.2f} towards {EDITED[1]}" for amount in amounts]]
    return rows, said
