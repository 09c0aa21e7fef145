"""How near edits are to the true ones, which are known here; and pictures of both.

Axes: k edits, h/w pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from visionsmith.papers.icedit.editor import Editor
from visionsmith.papers.icedit.edits import EditPair, EditWorld

__all__ = ["EditJudge", "beside", "edited_sheet", "made", "of_each_kind", "usage_by_kind"]


class EditJudge:
    """Compares edits with the truth, by pixels and by the project's CLIP."""

    def __init__(self, world: EditWorld) -> None:
        from visionsmith.papers.clip import load

        self.world, self.clip = world, load()

    def scores(self, edits: np.ndarray, pairs: Sequence[EditPair]) -> dict[str, float]:
        """Figures of edits uint8 `k h w 3`.

        Returns:
            "l1": mean absolute difference from the true picture, 0 to 1, as MagicBrush is measured.
            "clip_i": mean cosine with the true picture.
            "followed": share of edits that are nearer to the true picture than the source is, by pixels. An edit that
            changes nothing follows nothing.
            "kept": mean absolute difference from the source, 0 to 1, where source and truth are the same.
        """
        source = self._pictures([pair.source for pair in pairs])
        truth = self._pictures([pair.target for pair in pairs])
        off = np.abs(edits.astype(np.int16) - truth).mean(axis=(1, 2, 3))
        before = np.abs(source.astype(np.int16) - truth)
        agreement = (self.clip.encode_images(edits) * self.clip.encode_images(truth)).sum(dim=1)
        same = (before.max(axis=3) == 0)[..., None]
        moved = np.abs(edits.astype(np.int16) - source) * same
        return {
            "l1": float(off.mean() / 255),
            "clip_i": float(agreement.mean()),
            "followed": float((off < before.mean(axis=(1, 2, 3))).mean()),
            "kept": float(moved.sum() / max(1, int(same.sum()) * 3) / 255),
        }

    def by_kind(self, edits: np.ndarray, pairs: Sequence[EditPair]) -> dict[str, dict[str, float]]:
        """`scores` of all, and of each kind of edit."""
        found = {"all": self.scores(edits, pairs)}
        for kind in dict.fromkeys(pair.kind for pair in pairs):
            places = [place for place, pair in enumerate(pairs) if pair.kind == kind]
            found[kind] = self.scores(edits[places], [pairs[place] for place in places])
        return found

    def _pictures(self, places: Sequence[int]) -> np.ndarray:
        shown: np.ndarray = self.world.pictures[list(places)]
        return shown


def of_each_kind(world: EditWorld, count: int) -> list[EditPair]:
    """At most so many held-out edits of each kind."""
    found: list[EditPair] = []
    for kind in dict.fromkeys(pair.kind for pair in world.held_out):
        found += [pair for pair in world.held_out if pair.kind == kind][:count]
    return found


def made(editor: Editor, world: EditWorld, pairs: Sequence[EditPair], **settings: object) -> np.ndarray:
    """The editor's answers to edits, uint8 `k h w 3`; `settings` are `Editor.edit`'s."""
    pictures = [world.pictures[pair.source] for pair in pairs]
    return editor.edit(pictures, [pair.instruction for pair in pairs], **settings)  # type: ignore[arg-type]


def usage_by_kind(
    editor: Editor, world: EditWorld, pairs: Sequence[EditPair], **settings: object
) -> Mapping[str, list[float]]:
    """Of each kind of edit, the share of tokens that each expert got; empty without experts."""
    if editor.attached is None or editor.adapter is None or not editor.adapter.config.experts:
        return {}
    found = {}
    for kind in dict.fromkeys(pair.kind for pair in pairs):
        own = [pair for pair in pairs if pair.kind == kind]
        with editor.attached.count_usage() as usage:
            made(editor, world, own, **settings)
        counts = usage.by_layer().sum(dim=0).to(torch.float64)
        found[kind] = (counts / counts.sum()).tolist()
    return found


def beside(world: EditWorld, pairs: Sequence[EditPair], edits: np.ndarray) -> np.ndarray:
    """Source, edit (uint8 `k h w 3`) and truth of each edit side by side: RGB HWC uint8."""
    from visionsmith.report.sheet import contact_sheet

    shown = [
        np.concatenate((world.pictures[pair.source], edit, world.pictures[pair.target]), axis=1)
        for pair, edit in zip(pairs, edits, strict=True)
    ]
    return contact_sheet(
        shown,
        [pair.instruction for pair in pairs],
        columns=4,
        cell=240,
        title="Before, edited, and as it should be",
    )


def edited_sheet(
    editor: Editor, world: EditWorld, pairs: Sequence[EditPair], **settings: object
) -> np.ndarray:
    """The editor's answers to edits, as `beside` shows them."""
    return beside(world, pairs, made(editor, world, pairs, **settings))
