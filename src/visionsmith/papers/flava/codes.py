"""Codes of the pictures that are trained on, computed once for each view and kept in a file of the run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from visionsmith.checkpoint import read_tensors
from visionsmith.data.progress import DelayedBar
from visionsmith.durable import write_whole
from visionsmith.papers.flava.codebook import CELL, Codebook
from visionsmith.papers.flava.samples import Views

__all__ = ["codes_of", "patch_codes"]

BATCH = 256


def patch_codes(codebook: Codebook, images: np.ndarray, grid: int) -> np.ndarray:
    """Codes of pictures, one a patch.

    Args:
        codebook: in any state.
        images: uint8 `b h w 3`, RGB, square.
        grid: patches a side; the pictures are scaled to 8 times as many pixels.

    Returns:
        uint16 (b, grid * grid).
    """
    import cv2

    side = CELL * grid
    if images.shape[1] != side:
        # As the published preprocessing does: the codebook looks at a smaller copy.
        images = np.stack(
            [cv2.resize(image, (side, side), interpolation=cv2.INTER_LANCZOS4) for image in images]
        )
    device = next(codebook.parameters()).device
    return codebook.encode(torch.from_numpy(images).to(device)).cpu().numpy().astype(np.uint16)


def codes_of(
    codebook: Codebook,
    views: Views,
    records: Sequence[int],
    grid: int,
    file: Path | None,
    *,
    progress: bool,
) -> dict[int, np.ndarray]:
    """Codes of every view of some records; read from `file` where they were computed before by the same codebook.

    Args:
        codebook: frozen.
        views: of the pictures.
        records: which of them.
        grid: patches a side.
        file: a .safetensors file to keep them in; None keeps them in memory alone.
        progress: whether to show a bar.

    Returns:
        record -> uint16 (views, patches).
    """
    name = _fingerprint(codebook, views, records, grid)
    if file is not None and file.is_file() and name in (found := read_tensors(file)):
        return dict(zip(records, found[name].numpy(), strict=True))
    count = views.config.count
    table = np.empty((len(records), count, grid * grid), dtype=np.uint16)
    with DelayedBar("codes", len(records) * count, show=progress) as bar:
        for start, part in _parts(records):
            for view in range(count):
                images = np.stack([views(view, index) for index in part])
                table[start : start + len(part), view] = patch_codes(codebook, images, grid)
                bar.advance(len(part))
    if file is not None:
        write_whole(file, save({name: torch.from_numpy(table)}))
    return dict(zip(records, table, strict=True))


def _parts(records: Sequence[int]) -> Iterable[tuple[int, Sequence[int]]]:
    for start in range(0, len(records), BATCH):
        yield start, records[start : start + BATCH]


def _fingerprint(codebook: Codebook, views: Views, records: Sequence[int], grid: int) -> str:
    """Changes whenever a code may."""
    digest = hashlib.sha256(repr((views.config, views.seed, views.size, grid, tuple(records))).encode())
    for tensor in codebook.encoder.state_dict().values():
        digest.update(np.ascontiguousarray(tensor.float().cpu().numpy()).tobytes())
    return digest.hexdigest()[:16]
