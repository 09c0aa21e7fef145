"""What `visionsmith demo` shows of ICEdit: edits of pictures that it has never seen, beside what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.report.page import Page

__all__ = ["demo"]

SHOWN = 2
"""Held-out edits of each kind."""
STEPS = 12


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add the section of ICEdit to the page.

    Args:
        page: of the demo.
        folder: where a picture to edit and its edit are written.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    from visionsmith.data.openmoji import ATTRIBUTION
    from visionsmith.image.io import encode_png, write_image
    from visionsmith.papers.icedit.edits import builtin_world
    from visionsmith.papers.icedit.measure import EditJudge, beside, made, of_each_kind
    from visionsmith.papers.icedit.run import load

    editor = load()
    world = builtin_world(editor.parts.size, progress=progress)
    pairs = of_each_kind(world, SHOWN)
    edits = made(editor, world, pairs, steps=STEPS, progress=progress)
    followed = EditJudge(world).scores(edits, pairs)["followed"]
    page.section(
        "ICEdit: editing by instruction",
        "A transformer that fills the masked half of two pictures side by side, and a small adapter that learned to "
        "fill it with an edit of the other half. Each three pictures: before, edited, and as it should be, which is "
        f"known here. No selection: the first held-out edits of each kind; {followed:.0%} of them are nearer to the "
        "true picture than the picture before is. Things are added and removed where they should be; colours come "
        "nearer, and genders, skin tones and replacing are often mistaken.",
    )
    page.figure(
        encode_png(beside(world, pairs, edits)),
        "Before, edited, and as it should be.",
        "sheet of pictures before an edit, after it, and the true ones",
    )
    page.note(ATTRIBUTION)
    # Of the kind that it is best at.
    place = next(place for place, pair in enumerate(pairs) if pair.kind == "add")
    write_image(folder / "before.png", world.pictures[pairs[place].source])
    write_image(folder / "edited.png", edits[place])
    return (
        f'visionsmith run icedit {folder / "before.png"} --instruction "{pairs[place].instruction}"',
        "visionsmith train icedit --data YOUR_EDITS.jsonl --output runs/editor",
    )
