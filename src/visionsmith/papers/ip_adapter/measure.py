"""How near painted pictures are to their picture prompts (CLIP-I) and to the prompts' captions (CLIP-T).

DIFFERS: the paper measures with CLIP ViT-L/14; here it is the CLIP that ships, which a `tiny` adapter also reads with.
Figures compare adapters with each other and with the baselines beside them, and not with the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from visionsmith.papers.ip_adapter.prompter import ImagePrompter
from visionsmith.papers.latent_diffusion import Judge, World
from visionsmith.report.sheet import contact_sheet

__all__ = ["prompt_features", "prompt_sheet", "scores"]


def prompt_features(prompter: ImagePrompter, judge: Judge, records: Sequence[int]) -> Tensor:
    """The encoder's features of the records' pictures."""
    return prompter.encoder.encode(judge.real(records))


def scores(judge: Judge, pictures: np.ndarray, records: Sequence[int]) -> dict[str, float]:
    """Figures of pictures uint8 `n h w 3`, one for each record's picture as a prompt.

    Returns:
        "clip_i": mean cosine with the prompt. "clip_t": mean cosine with the prompt's caption. "found": share of
        pictures that are nearer to their own prompt than to any other prompt.
    """
    painted, asked = judge.embed(pictures), judge.embed(judge.real(records))
    near = painted @ asked.T
    own = near.diagonal()
    others = near.masked_fill(torch.eye(len(near), dtype=torch.bool), -2).amax(dim=1)
    return {
        "clip_i": float(own.mean()),
        "clip_t": float((painted * judge.captions[list(records)]).sum(dim=1).mean()),
        "found": float((own > others).double().mean()),
    }


def prompt_sheet(
    prompter: ImagePrompter, judge: Judge, world: World, records: Sequence[int], *, steps: int
) -> np.ndarray:
    """Each prompt with the picture that was painted for it without a text: RGB HWC uint8."""
    painted = prompter.paint_each(prompt_features(prompter, judge, records), steps=steps)
    captions = [world.store[index].caption for index in records]
    pairs = zip(judge.real(records), painted, captions, strict=True)
    shown = [(part, said) for real, made, said in pairs for part, said in ((real, said), (made, "painted"))]
    return contact_sheet(
        [part for part, _ in shown],
        [said for _, said in shown],
        columns=8,
        cell=128,
        title="Pictures that were kept from training as prompts, and what was painted for them",
    )
