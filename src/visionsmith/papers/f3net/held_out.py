"""Held-out pictures of a training: the threshold from one part of them, the scores from another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visionsmith.data.face_forensics import ForgerySet
from visionsmith.data.forgeries import read_mask
from visionsmith.evaluate.forgery import equal_error, forgery_scores
from visionsmith.image.io import decode
from visionsmith.papers.f3net.config import DecisionConfig
from visionsmith.papers.f3net.detector import Detector
from visionsmith.papers.f3net.heat import draw_heat
from visionsmith.report.sheet import contact_sheet

__all__ = ["HeldOut", "score"]

SHOWN = 8
"""Forged pictures on the sheet of a run, each beside its heat map."""


def score(detector: Detector, frames: ForgerySet, indices: Sequence[int]) -> np.ndarray:
    """Probabilities of records, in their order."""
    return detector.probabilities(
        decode(frames.store[index].image, where=f"{frames.name}[{index}]") for index in indices
    )


class HeldOut:
    """What a training keeps for choosing the threshold ("val") and for measuring ("test")."""

    def __init__(self, frames: ForgerySet, compression: str) -> None:
        self.frames, self.compression = frames, compression
        self.val, self.test = frames.select("val", compression), frames.select("test", compression)
        self.decision = DecisionConfig()

    def measure(self, detector: Detector) -> dict[str, float]:
        """The scores of the test pictures at the threshold of the validation pictures; `decision` then holds both."""
        forged = self.frames.forged
        found = score(detector, self.frames, self.val)
        _, threshold = equal_error(found, forged[self.val])
        on_val = forgery_scores(found, forged[self.val], threshold=threshold)
        scores = forgery_scores(
            score(detector, self.frames, self.test), forged[self.test], threshold=threshold
        )
        # How often it errs is told from pictures that had no part in the choice of the threshold.
        self.decision = DecisionConfig(
            threshold=threshold,
            false_alarms=scores["false_alarms"],
            misses=scores["misses"],
            pictures=len(self.test),
            trained_on=self._words(),
        )
        return {**scores, "threshold": threshold, "val_auc": on_val["auc"]}

    def sheet(self, detector: Detector) -> np.ndarray:
        """Forged test pictures, each beside its heat map, with the outline of what was forged where that is known."""
        forged = [index for index in self.test if self.frames.forged[index]]
        chosen = forged[:: max(1, len(forged) // SHOWN)][:SHOWN]
        records = [self.frames.store[index] for index in chosen]
        pictures = [decode(record.image) for record in records]
        sheet, captions = [], []
        for record, picture, finding in zip(records, pictures, detector.look(pictures), strict=True):
            sheet += [picture, draw_heat(picture, finding.evidence, read_mask(record.meta))]
            called = finding.probability >= self.decision.threshold
            captions += [
                record.meta.get("method") or "forged",
                f"{'forged' if called else 'real'} {finding.probability:.2f}",
            ]
        return contact_sheet(
            sheet, captions, columns=6, title="Held-out forgeries, and where the evidence is"
        )

    def _words(self) -> str:
        about = self.frames.store.info().get("attributes", {}).get("source") or self.frames.name
        kinds = sorted({str(method) for method in self.frames.method if method})
        of = f" ({', '.join(kinds)})" if kinds else ""
        return f"{about}{of}, compression {self.compression}"
