"""What `visionsmith demo` shows of IP-Adapter: pictures as prompts, alone and with a text, over the scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.report.page import Page

__all__ = ["demo"]

PROMPTS = 6
"""Held-out pictures that prompt."""
STEPS = 20
SCALES = (0.0, 0.25, 0.5, 0.75, 1.0)
MIXED = "woman astronaut, dark skin tone"
"""The text that is mixed with a picture over the scale."""


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add IP-Adapter's section to the page.

    Args:
        page: of the demo.
        folder: where a picture is written, to try the command on.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    import numpy as np

    from visionsmith.data.openmoji import ATTRIBUTION
    from visionsmith.image.io import encode_png, write_image
    from visionsmith.papers.ip_adapter.measure import prompt_sheet
    from visionsmith.papers.ip_adapter.run import load
    from visionsmith.papers.latent_diffusion import Judge, evenly, open_world
    from visionsmith.report.sheet import contact_sheet

    prompter = load()
    size = prompter.painter.size
    world = open_world(None, size=size, progress=progress)
    judge, asked = Judge(world, size), evenly(world.held_out, PROMPTS)
    parameters = sum(p.numel() for p in prompter.adapter.parameters())
    page.section(
        "IP-Adapter: a picture as the prompt",
        f"{parameters:,} parameters beside a frozen latent diffusion model let a picture take the place of a text, or "
        "stand beside one. No picture below was seen in training.",
    )
    page.figure(
        encode_png(prompt_sheet(prompter, judge, world, asked, steps=STEPS)),
        "Each picture, and what is painted for it without a word.",
        "sheet of picture prompts and painted pictures",
    )
    prompt = judge.real(asked[:1])[0]
    mixed = [prompter.paint([prompt], text=MIXED, count=1, scale=scale, steps=STEPS)[0] for scale in SCALES]
    page.figure(
        encode_png(
            contact_sheet(
                list(np.stack([prompt, *mixed])),
                ["the picture", *[f"scale {scale:g}" for scale in SCALES]],
                columns=6,
                title=f"With the text “{MIXED}”",
            )
        ),
        "The scale: at 0 the text alone, bit for bit what the base paints; at 1 the picture counts as in training. "
        "This small adapter brings the colours of a prompt into what a text says, not its things.",
        "sheet of one prompt over the scale",
    )
    page.note(ATTRIBUTION)
    write_image(folder / "prompt.png", prompt)
    return (
        f"visionsmith run ip_adapter {folder / 'prompt.png'} --count 4",
        f'visionsmith run ip_adapter {folder / "prompt.png"} --text "woman with red hair" --scale 0.5',
        "visionsmith train ip_adapter --data YOUR_FOLDER --output runs/adapter",
    )
