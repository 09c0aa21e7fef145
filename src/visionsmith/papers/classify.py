"""What the papers that classify pictures share: objective, task, a ready classifier, and labels for a user's files.

A paper brings its network, how a picture is shown to it (`show` without chance, `view` with), and how pixels become its
input (`prepare`). Axes: b samples, h/w pixels, k classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.data.labelled import Labelled, PictureCollate, PictureDataset, View, read_pictures
from visionsmith.data.mix import Mix
from visionsmith.data.sampler import BatchPlan, ShuffledBatches
from visionsmith.evaluate.classify import classify_scores, nearest_pixels
from visionsmith.image.io import decode
from visionsmith.train.recipe import TrainConfig
from visionsmith.train.task import Batch, Export, Task

if TYPE_CHECKING:
    from visionsmith.data.pictures import Pictures

__all__ = ["Classifier", "ClassifierObjective", "classify_task", "label_files", "show_labels"]

Show = Callable[[np.ndarray], np.ndarray]
"""A picture (RGB HWC uint8, any size) -> what the model is shown (RGB HWC uint8 of one size), without chance."""
Prepare = Callable[[Tensor], Tensor]
"""Pixels `b h w 3`, uint8 or float32 in [0, 255] -> the network's input."""

MOST_SHOWN = 60
"""Pictures on a contact sheet."""


class ClassifierObjective(nn.Module):
    """Cross-entropy of a network's answers, with smoothed labels or mixed targets."""

    def __init__(self, model: nn.Module, prepare: Prepare, *, smoothing: float = 0.0) -> None:
        """Wrap a network.

        Args:
            model: input -> logits `b k`.
            prepare: pixels -> input.
            smoothing: share of a label that is spread over all classes; targets of a `Mix` bring their own.
        """
        super().__init__()
        self.model, self.prepare, self.smoothing = model, prepare, smoothing

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a batch.

        Args:
            batch: "images" `b h w 3`, and "labels" int64 `b` or "targets" float32 `b k`.

        Returns:
            "loss" (mean over the batch, nats), and with labels "accuracy" (share).
        """
        logits = self.model(self.prepare(batch["images"]))
        if "targets" in batch:
            return {"loss": F.cross_entropy(logits.float(), batch["targets"])}
        labels = batch["labels"]
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.smoothing)
        return {"loss": loss, "accuracy": (logits.argmax(dim=1) == labels).float().mean()}


class Classifier:
    """A network with its classes, ready to answer."""

    def __init__(self, model: nn.Module, classes: Sequence[str], *, show: Show, prepare: Prepare) -> None:
        """Make it.

        Args:
            model: input -> logits `b k`; put into evaluation mode by the caller where it only answers.
            classes: k names.
            show: how a picture is shown, without chance.
            prepare: pixels -> input.
        """
        self.model, self.classes, self.show, self.prepare = model, tuple(classes), show, prepare

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    def to(self, device: str | torch.device) -> Classifier:
        """Move the network."""
        self.model.to(device)
        return self

    def logits(self, shown: Tensor, *, batch: int = 64) -> Tensor:
        """Answers about pictures that are shown already: uint8 `b h w 3` -> float32 `b k` on the CPU."""
        with torch.inference_mode():
            parts = [
                self.model(self.prepare(part.to(self.device))).float().cpu()
                for part in torch.split(shown, batch)
            ]
        return torch.cat(parts)

    def probabilities(self, images: Iterable[np.ndarray], *, batch: int = 64) -> Tensor:
        """Answers about pictures of any size (RGB HWC uint8): float32 `b k`, rows sum to 1; `0 k` for none."""
        found, waiting = [torch.empty(0, len(self.classes))], []
        for image in images:
            waiting.append(torch.from_numpy(self.show(image)))
            if len(waiting) == batch:
                found.append(self.logits(torch.stack(waiting), batch=batch).softmax(dim=1))
                waiting = []
        if waiting:
            found.append(self.logits(torch.stack(waiting), batch=batch).softmax(dim=1))
        return torch.cat(found)

    def classify(self, image: str | Path | np.ndarray, top: int = 5) -> dict[str, float]:
        """The most probable classes of one picture.

        Args:
            image: a file, or RGB HWC uint8.
            top: how many.

        Returns:
            Class -> probability, the largest first.
        """
        from visionsmith.image.io import read_image

        picture = image if isinstance(image, np.ndarray) else read_image(image)
        return _best(self.probabilities([picture])[0], self.classes, top)

    def measure(self, data: Labelled, indices: Sequence[int] | None = None) -> dict[str, Any]:
        """`evaluate.classify.classify_scores` over some records of a data set; None: its test part."""
        indices = data.test if indices is None else indices
        logits = self.logits(read_pictures(data, indices, self.show))
        return classify_scores(logits, torch.from_numpy(data.labels[list(indices)]), data.classes)

    def pixel_baseline(self, data: Labelled) -> dict[str, float]:
        """What the nearest training pictures in pixels, at 32 px, would answer: "top1", and "chance"."""
        import cv2

        def small(image: np.ndarray) -> np.ndarray:
            return cv2.resize(self.show(image), (32, 32), interpolation=cv2.INTER_AREA)

        def part(indices: Sequence[int]) -> tuple[Tensor, Tensor]:
            return read_pictures(data, indices, small), torch.from_numpy(data.labels[list(indices)])

        top1 = nearest_pixels(*part(data.train), *part(data.test))
        return {"top1": top1, "chance": 1 / len(data.classes)}

    def sheet(self, data: Labelled, count: int = 18) -> np.ndarray:
        """Test pictures, picked at random, under the answers and framed right or wrong: RGB HWC uint8."""
        from visionsmith.report.sheet import contact_sheet

        indices = data.some_test(count)
        pictures = [decode(data.store[index].image) for index in indices]
        answers = self.probabilities(pictures).argmax(dim=1).tolist()
        labels = data.labels[list(indices)].tolist()
        return contact_sheet(
            pictures,
            [self.classes[answer] for answer in answers],
            marks=[answer == label for answer, label in zip(answers, labels, strict=True)],
        )


def classify_task(
    paper: str,
    classifier: Classifier,
    data: Labelled,
    train: TrainConfig,
    *,
    view: View,
    export: Callable[[dict[str, Tensor]], Export],
    mix: Mix | None = None,
    smoothing: float = 0.0,
    labels: np.ndarray | None = None,
    plan: BatchPlan | None = None,
) -> Task:
    """The task of training a classifier.

    Args:
        paper: whose it is.
        classifier: the network to train, and how it is shown pictures when it is measured.
        data: pictures with classes.
        train: the loop's settings.
        view: how a picture is shown in training, with chance.
        export: the network's state dict -> the checkpoint for use.
        mix: mixup, cutmix and smoothing of batches, or none.
        smoothing: of the labels, where nothing is mixed.
        labels: one a record, in place of the true ones in training.
        plan: which records make which batch; None: every training record once an epoch, shuffled.
    """

    def measure() -> dict[str, float]:
        scores = classifier.measure(data)
        return {name: scores[name] for name in ("top1", "top5", "loss")}

    return Task(
        paper=paper,
        objective=ClassifierObjective(classifier.model, classifier.prepare, smoothing=smoothing),
        dataset=PictureDataset(data, view, train.seed, labels=labels),
        plan=plan or ShuffledBatches(data.train, train.batch_size, train.seed),
        collate=PictureCollate(mix, classes=len(data.classes), seed=train.seed),
        export=lambda state: export({name.removeprefix("model."): tensor for name, tensor in state.items()}),
        about=data.about(),
        evaluate=measure if data.test else None,
        samples=(lambda: classifier.sheet(data)) if data.test else None,
    )


def label_files(classifier: Classifier, pictures: Pictures, *, top: int, sheet: Path) -> list[dict[str, Any]]:
    """Label a user's files and draw them with their answers.

    Args:
        classifier: who answers.
        pictures: the files.
        top: answers a picture.
        sheet: the contact sheet to write; holds the first 60 pictures.

    Returns:
        For each sound file {"picture": path, "labels": {class: probability}}, the largest first.

    Raises:
        DataError: no file could be read.
    """
    from visionsmith.image.io import write_image
    from visionsmith.report.sheet import contact_sheet

    found = classifier.probabilities(pictures)
    answers: list[Mapping[str, float]] = [_best(row, classifier.classes, top) for row in found]
    first = [next(iter(answer.items())) for answer in answers[:MOST_SHOWN]]
    drawn = [pictures.read(name) for name in pictures.names[:MOST_SHOWN]]
    title = f"{len(answers)} pictures, {len(classifier.classes)} classes"
    write_image(sheet, contact_sheet(drawn, [f"{name} {share:.0%}" for name, share in first], title=title))
    return [
        {"picture": str(name), "labels": dict(answer)}
        for name, answer in zip(pictures.names, answers, strict=True)
    ]


def show_labels(
    found: Sequence[Mapping[str, Any]], pictures: Pictures, sheet: Path, *, as_json: bool
) -> None:
    """Print what `label_files` found, and what could not be read."""
    from visionsmith.report.console import list_first, show_json, show_table

    if as_json:
        show_json(
            {
                "pictures": list(found),
                "left_out": [str(error) for error in pictures.broken],
                "sheet": str(sheet),
            }
        )
        return
    rows = [
        (entry["picture"] if rank == 0 else "", rank + 1, label, probability)
        for entry in found
        for rank, (label, probability) in enumerate(entry["labels"].items())
    ]
    show_table(("picture", "rank", "label", "probability"), rows)
    list_first([f"left out: {error}" for error in pictures.broken])
    print(f"contact sheet: {sheet}")


def _best(probabilities: Tensor, classes: Sequence[str], top: int) -> dict[str, float]:
    shares, places = probabilities.topk(min(top, len(classes)))
    return {
        classes[place]: round(float(share), 4) for share, place in zip(shares, places.tolist(), strict=True)
    }
