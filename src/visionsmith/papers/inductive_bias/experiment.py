"""The trainings of the experiment: five networks, the same pictures, the same updates."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from visionsmith.config import encode
from visionsmith.data.labelled import Labelled, open_labelled
from visionsmith.data.progress import DelayedBar
from visionsmith.data.sampler import ShuffledBatches
from visionsmith.data.scenes import SUBJECTS
from visionsmith.nn.pixels import normalise
from visionsmith.papers.classify import Classifier, classify_task
from visionsmith.papers.inductive_bias.config import (
    ARCHITECTURES,
    SIDE,
    UNPLACED,
    BiasRecipe,
    ExperimentConfig,
    ModelConfig,
    TransformerConfig,
    recipe,
)
from visionsmith.papers.inductive_bias.models import build
from visionsmith.papers.inductive_bias.pictures import (
    FIXED_ORDER,
    DecodedPictures,
    augment,
    fit_side,
    permute_patches,
    take_share,
)
from visionsmith.papers.inductive_bias.probes import answers, probe
from visionsmith.papers.trials import Trials
from visionsmith.train.task import Export, Task

__all__ = ["CHOICE", "COMPARED", "Experiment", "Results", "Seeds", "built_in"]

COMPARED = SUBJECTS[::4]
"""Classes that are reported."""
CHOICE = SUBJECTS[1::4]
"""Classes that the learning rates are chosen on; none of their pictures is reported."""

Seeds = list[float]
"""One share of the test pictures a seed."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What was measured, by network; accuracies are shares of the test pictures, 0 to 1."""

    classes: int
    pictures: int
    """To train on, of all classes."""
    tested: int
    parameters: dict[str, int] = field(default_factory=dict)
    choice: dict[str, dict[float, float]] = field(default_factory=dict)
    """Accuracy on the other classes by learning rate."""
    rates: dict[str, float] = field(default_factory=dict)
    """The rates that were chosen."""
    shares: dict[str, dict[float, Seeds]] = field(default_factory=dict)
    """Accuracy by share of the training data."""
    probes: dict[str, dict[str, Seeds]] = field(default_factory=dict)
    """With all training data: "top1", and what `probes.probe` returns."""
    permuted: dict[str, Seeds] = field(default_factory=dict)
    """Accuracy where training and test share one other order of the patches."""


def built_in(*, progress: bool = False) -> tuple[Labelled, Labelled]:
    """The built-in scenes: the classes that are compared, and those for the choice of the rates."""
    compared, choice = (
        open_labelled(None, size=SIDE, classes=classes, progress=progress) for classes in (COMPARED, CHOICE)
    )
    return compared, choice


class Experiment:
    """Every training in one folder; a finished one is read, an interrupted one begins again."""

    def __init__(
        self,
        folder: Path,
        compared: Labelled,
        choice: Labelled,
        settings: ExperimentConfig | None = None,
        *,
        progress: bool = True,
    ) -> None:
        """Prepare it.

        Args:
            folder: where the trainings stay.
            compared: pictures of the classes that are reported.
            choice: pictures of the classes that the learning rates are chosen on.
            settings: length, seeds, shares.
            progress: whether to show a bar over all trainings.
        """
        self.data = {"compared": compared, "choice": choice}
        self.settings = settings or ExperimentConfig()
        self.trials = Trials(folder, "inductive_bias", progress=False)
        self.progress = progress
        self._decoded: dict[str, dict[int, np.ndarray]] = {}

    def run(self) -> Results:
        """Train what is missing, and collect everything."""
        settings, data = self.settings, self.data["compared"]
        results = Results(classes=len(data.classes), pictures=len(data.train), tested=len(data.test))
        seeds = len(settings.seeds)
        each = len(settings.rates) + seeds * (len(settings.shares) + 1)
        with DelayedBar("trainings", len(ARCHITECTURES) * each + seeds, show=self.progress) as self.bar:
            for name, model in ARCHITECTURES.items():
                network = build(model, len(data.classes))
                results.parameters[name] = sum(parameter.numel() for parameter in network.parameters())
                self._choose_rate(name, model, results)
                self._train(name, model, results)
            self._probe(UNPLACED, TransformerConfig(positions=False), results.rates["Transformer"], results)
        return results

    def _choose_rate(self, name: str, model: ModelConfig, results: Results) -> None:
        found = {}
        for rate in self.settings.rates:
            seed = self.settings.choice_seed
            made = recipe(self.settings, model, rate=rate, seed=seed, classes="choice")
            found[rate] = self._fit(f"{model.kind}-rate-{rate:g}", made)["top1"]
        results.choice[name] = found
        results.rates[name] = max(found, key=lambda rate: found[rate])

    def _train(self, name: str, model: ModelConfig, results: Results) -> None:
        settings, rate = self.settings, results.rates[name]
        results.shares[name] = {}
        for share in settings.shares[:-1]:
            results.shares[name][share] = [
                self._fit(
                    f"{model.kind}-share-{share:g}-seed-{seed}",
                    recipe(settings, model, rate=rate, seed=seed, share=share),
                )["top1"]
                for seed in settings.seeds
            ]
        results.shares[name][1.0] = self._probe(name, model, rate, results)
        results.permuted[name] = [
            self._fit(
                f"{model.kind}-permuted-seed-{seed}",
                recipe(settings, model, rate=rate, seed=seed, permuted=True),
            )["top1"]
            for seed in settings.seeds
        ]

    def _probe(self, name: str, model: ModelConfig, rate: float, results: Results) -> Seeds:
        """All training data, and the questions about changed pictures."""
        kind = "transformer-unplaced" if name == UNPLACED else model.kind
        found = [
            self._fit(
                f"{kind}-all-seed-{seed}", recipe(self.settings, model, rate=rate, seed=seed, probes=True)
            )
            for seed in self.settings.seeds
        ]
        results.probes[name] = {measure: [entry[measure] for entry in found] for measure in found[0]}
        return results.probes[name]["top1"]

    def _fit(self, name: str, made: BiasRecipe) -> Mapping[str, float]:
        found = self.trials.fit(name, made, partial(self._task, made))
        self.bar.advance()
        return found

    def _task(self, made: BiasRecipe) -> Task:
        whole, seed, size = self.data[made.classes], made.train.seed, made.train.batch_size
        data = dataclasses.replace(whole, train=take_share(whole, made.share, seed))
        # A batch may be larger than the smallest share, and then holds some pictures twice.
        records = data.train * -(-size // len(data.train))
        torch.manual_seed(seed)
        network = build(made.model, len(data.classes))

        def show(image: np.ndarray) -> np.ndarray:
            return permute_patches(image, FIXED_ORDER) if made.permuted else image

        def view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return show(augment(image, rng))

        task = classify_task(
            "inductive_bias",
            Classifier(network, data.classes, show=show, prepare=normalise),
            data,
            made.train,
            view=view,
            export=lambda state: Export(
                config={"model": encode(made.model), "classes": list(data.classes)}, tensors=state, files={}
            ),
            plan=ShuffledBatches(records, size, seed),
        )
        pictures = self.pictures(made.classes)
        test = np.stack([show(pictures[index]) for index in data.test])
        labels = data.labels[list(data.test)]

        def measure() -> dict[str, float]:
            top1 = float((answers(network, test) == labels).mean())
            return {"top1": top1, **(probe(network, test, labels) if made.probes else {})}

        return dataclasses.replace(
            task,
            dataset=DecodedPictures(
                pictures, data.labels, lambda image, rng: show(augment(image, rng)), seed
            ),
            evaluate=measure,
            samples=None,
        )

    def pictures(self, classes: str) -> dict[int, np.ndarray]:
        """Every picture of the "compared" or the "choice" classes by record, decoded once."""
        if classes not in self._decoded:
            data = self.data[classes]
            self._decoded[classes] = fit_side(data, (*data.train, *data.test))
        return self._decoded[classes]
