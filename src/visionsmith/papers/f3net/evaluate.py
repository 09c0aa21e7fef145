"""Measuring F3-Net: the field's protocol by compression and by kind of forgery, and where the evidence lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.data.face_forensics import ForgerySet
    from visionsmith.papers.f3net.detector import Detector

__all__ = ["evaluate"]


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Measure a detector on the test part of its data.

    Args:
        checkpoint: its folder; None for the one that ships.
        data: real and forged pictures, as for `train`; None for the built-in ones.
        progress: whether to show a bar.

    Returns:
        "model", "data", "all" (`evaluate.forgery.forgery_scores`; of videos too where some have several pictures),
        "compression" (the same by setting), "method" (AUC of each kind of forgery against all real pictures), and
        "localisation" (AUC of the evidence for the forged pixels, where masks are known).
    """
    from visionsmith.data.face_forensics import open_forgeries
    from visionsmith.papers.f3net.run import load

    detector = load(checkpoint)
    frames = open_forgeries(data, size=detector.model.config.image_size, progress=progress)
    indices = frames.select("test")
    found = _look(detector, frames, indices, progress)
    probability, forged = found["probability"], frames.forged[indices]
    threshold = detector.decision.threshold
    result: dict[str, Any] = {
        "model": {
            "checkpoint": str(checkpoint) if checkpoint else "shipped",
            "parameters": sum(parameter.numel() for parameter in detector.model.parameters()),
            "image_size": detector.model.config.image_size,
            "threshold": threshold,
            "trained_on": detector.decision.trained_on,
        },
        "data": frames.name,
        "all": _scores(probability, forged, frames.video[indices], threshold),
        "compression": {},
        "method": {},
    }
    for name in sorted(set(frames.compression[indices].tolist()) - {""}):
        part = frames.compression[indices] == name
        if 0 < forged[part].sum() < part.sum():
            result["compression"][name] = _scores(
                probability[part], forged[part], frames.video[indices][part], threshold
            )
    from visionsmith.evaluate.forgery import roc_auc

    for name in sorted(set(frames.method[indices].tolist()) - {""}):
        part = (frames.method[indices] == name) | ~forged
        result["method"][name] = roc_auc(probability[part], forged[part])
    if found["localisation"].size:
        result["localisation"] = {
            "auc": float(found["localisation"].mean()),
            "pictures": found["localisation"].size,
        }
    return result


def _scores(
    probability: np.ndarray, forged: np.ndarray, video: np.ndarray, threshold: float
) -> dict[str, float]:
    from visionsmith.evaluate.forgery import forgery_scores

    several = len(set(video.tolist())) < len(video)
    return forgery_scores(probability, forged, video=video if several else None, threshold=threshold)


def _look(
    detector: Detector, frames: ForgerySet, indices: Sequence[int], progress: bool
) -> dict[str, np.ndarray]:
    """Probabilities, and for forged pictures with a known mask the AUC of the evidence over their pixels."""
    import cv2
    import numpy as np

    from visionsmith.data.forgeries import read_mask
    from visionsmith.data.progress import DelayedBar
    from visionsmith.evaluate.forgery import roc_auc
    from visionsmith.image.io import decode

    pictures = (decode(frames.store[index].image, where=f"{frames.name}[{index}]") for index in indices)
    probability, localisation = [], []
    with DelayedBar("pictures", len(indices), show=progress) as bar:
        for index, finding in zip(indices, detector.look(pictures), strict=True):
            bar.advance()
            probability.append(finding.probability)
            mask = read_mask(frames.store[index].meta) if frames.forged[index] else None
            if mask is not None and 0 < mask.sum() < mask.size:
                spread = cv2.resize(finding.evidence, mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
                ranked = 1 / (1 + np.exp(-spread.astype(np.float64).ravel()))
                localisation.append(roc_auc(ranked, mask.ravel()))
    return {"probability": np.asarray(probability), "localisation": np.asarray(localisation)}
