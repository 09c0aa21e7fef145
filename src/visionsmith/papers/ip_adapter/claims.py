"""What the paper says of an adapter, measured at the scale of a laptop.

OUTPUT/decoupled-seed0, ...    short trainings of an adapter, one an arm and seed
OUTPUT/gray-seed0, ...         the base, tuned to paint without colour; no adapter was near
OUTPUT/gray.records            the pictures that it is tuned on
OUTPUT/latents.safetensors, OUTPUT/features.safetensors
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.papers.claim import Claim, apart, mean, range_of, spread

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.papers.ip_adapter.prompter import ImagePrompter
    from visionsmith.papers.ip_adapter.recipes import IPAdapterRecipe
    from visionsmith.papers.latent_diffusion import Judge, World
    from visionsmith.papers.trials import Trials

__all__ = ["claims"]

COMMAND = "visionsmith claims ip_adapter"
SEEDS = (0, 1, 2)
STEPS = 300
TUNE_STEPS = 150
PROMPTS = 64
"""Held-out pictures that prompt, in the claims of the adapter that ships."""
PAINT_STEPS = 15
SCALES = (0.0, 0.25, 0.5, 0.75, 1.0)

ARMS: Mapping[str, Mapping[str, Any]] = {
    "decoupled": {},
    "concatenated": {"form": "concatenated"},
    "sixteen": {"tokens": 16},
}
"""Settings of a recipe by the name of its trainings."""


def claims(*, output: Path | None = None, progress: bool = True) -> Sequence[Claim]:
    """Check the claims.

    Args:
        output: where the trainings stay; a training that is there already is used again. None: a temporary folder.
        progress: whether to show bars.
    """
    from visionsmith.papers.ip_adapter.run import load
    from visionsmith.papers.latent_diffusion import Judge, open_world
    from visionsmith.papers.trials import Trials

    with tempfile.TemporaryDirectory(prefix="visionsmith-claims-") as scratch:
        trials = Trials(output or Path(scratch), "ip_adapter", progress=progress)
        prompter = load()
        world = open_world(None, size=prompter.painter.size, progress=progress)
        judge = Judge(world, prompter.painter.size)
        arms = {arm: [_trained(trials, world, judge, arm, seed) for seed in SEEDS] for arm in ARMS}
        return [
            _decoupled(arms),
            _tokens(arms),
            _other_base(trials, prompter, world, judge),
            _scales(prompter, world, judge, progress=progress),
        ]


def _trained(trials: Trials, world: World, judge: Judge, arm: str, seed: int) -> Mapping[str, float]:
    """Figures of `measure.scores` of a short training, for pictures without a text."""
    from visionsmith.papers.ip_adapter.encoder import open_encoder
    from visionsmith.papers.ip_adapter.train import make_task, open_base

    recipe = _recipe(arm, seed)

    def task() -> Any:
        # A base of its own for each training: an adapter stays attached to it.
        base, encoder = open_base(recipe), open_encoder(recipe.encoder, recipe.variant)
        show = trials.progress
        return make_task(recipe, world, base, encoder, judge, folder=trials.folder, progress=show)

    return trials.fit(f"{arm}-seed{seed}", recipe, task)


def _recipe(arm: str, seed: int) -> IPAdapterRecipe:
    from visionsmith.papers.ip_adapter.recipes import tiny

    recipe = tiny()
    train = dataclasses.replace(recipe.train, steps=STEPS, seed=seed, evaluate_every=0)
    return dataclasses.replace(recipe, train=train, **ARMS[arm])


def _decoupled(arms: Mapping[str, Sequence[Mapping[str, float]]]) -> Claim:
    near = {arm: [each["clip_i"] for each in arms[arm]] for arm in ("decoupled", "concatenated")}
    found = {arm: [each["found"] for each in arms[arm]] for arm in near}
    return Claim(
        statement="Keys and values of its own bring a picture nearer than tokens beside the text's do.",
        source="section 4.4.1",
        paper="shown in pictures, after 200,000 steps of both",
        measured="; ".join(
            f"{arm}: CLIP-I {range_of(near[arm], 3)}, {spread(found[arm])} nearest to their own prompt"
            for arm in near
        ),
        holds=apart(near["decoupled"], near["concatenated"]),
        command=COMMAND,
        note=f"{STEPS} steps of 32, {len(SEEDS)} seeds, 48 held-out pictures without a text; of the concatenated form "
        "only the projector learns, as in the paper",
        values=tuple((f"{arm}_clip_i", mean(values)) for arm, values in near.items()),
    )


def _tokens(arms: Mapping[str, Sequence[Mapping[str, float]]]) -> Claim:
    names = {"decoupled": "4", "sixteen": "16"}
    near = {arm: [each["clip_i"] for each in arms[arm]] for arm in names}
    found = {arm: [each["found"] for each in arms[arm]] for arm in names}
    return Claim(
        statement="More tokens of a picture bring a painting nearer to it.",
        source="section 4.4.2",
        paper="shown in pictures: 16 tokens of fine-grained features keep more than 4 of the global one",
        measured="; ".join(
            f"{count} tokens: CLIP-I {range_of(near[arm], 3)}, {spread(found[arm])} nearest to their own prompt"
            for arm, count in names.items()
        ),
        holds=apart(near["sixteen"], near["decoupled"]),
        command=COMMAND,
        note="both of the one embedding that the project's CLIP gives of a picture, so that this is about the "
        "number of tokens and not about finer features; trained and judged as above",
        values=tuple((f"tokens_{count}_clip_i", mean(near[arm])) for arm, count in names.items()),
    )


def _other_base(trials: Trials, prompter: ImagePrompter, world: World, judge: Judge) -> Claim:
    from visionsmith.papers.ip_adapter.encoder import open_encoder
    from visionsmith.papers.ip_adapter.measure import prompt_features, scores
    from visionsmith.papers.ip_adapter.prompter import ImagePrompter
    from visionsmith.papers.latent_diffusion import evenly, load_painter

    asked = evenly(world.held_out, PROMPTS)
    features = prompt_features(prompter, judge, asked)

    def painted(by: ImagePrompter, scale: float) -> np.ndarray:
        return by.paint_each(features, scale=scale, steps=PAINT_STEPS, progress=trials.progress)

    home = painted(prompter, 1.0)
    figures: dict[str, list[float]] = {"found": [], "without": [], "colour": []}
    for seed in SEEDS:
        base = load_painter(_gray_base(trials, world, seed))
        by = ImagePrompter(base, prompter.adapter, open_encoder(None, "base"))
        away = painted(by, 1.0)
        figures["found"].append(scores(judge, away, asked)["found"])
        figures["without"].append(scores(judge, painted(by, 0.0), asked)["found"])
        figures["colour"].append(_colour(away))
        by.attached.detach()
    at_home, coloured = scores(judge, home, asked)["found"], _colour(home)
    return Claim(
        statement="An adapter that was trained once serves other models tuned from the same base.",
        source="section 4.3.1",
        paper="shown in pictures, with models that others tuned",
        measured=f"on bases tuned to paint without colour {spread(figures['found'])} are nearest to their own prompt "
        f"({at_home:.1%} on its own base, {spread(figures['without'])} on the tuned ones at scale 0), and the pictures "
        f"have {spread([each / coloured for each in figures['colour']])} of the colour that it paints at home",
        holds=apart(figures["found"], figures["without"]) and max(figures["colour"]) < coloured / 2,
        command=COMMAND,
        note=f"the adapter that ships; its base tuned on gray pictures for {TUNE_STEPS} steps, {len(SEEDS)} times; "
        f"{len(asked)} held-out pictures in colour without a text; colour: mean distance of a pixel's channels",
        values=(*((name, mean(values)) for name, values in figures.items()), ("found_at_home", at_home)),
    )


def _gray_base(trials: Trials, world: World, seed: int) -> Path:
    """A checkpoint of the base that ships, tuned on the training pictures without their colour."""
    from visionsmith.data.records import open_or_make, pack
    from visionsmith.papers.latent_diffusion import denoiser_task, starting_model, tiny
    from visionsmith.papers.paper import shipped_checkpoint

    recipe = tiny()
    (stage,) = recipe.train.stages
    optim = dataclasses.replace(stage.optim, lr=1e-3, warmup_steps=10)
    stage = dataclasses.replace(stage, steps=TUNE_STEPS, optim=optim)
    train = dataclasses.replace(recipe.train, stages=(stage,), seed=seed, evaluate_every=0, ema=None)
    start = shipped_checkpoint("latent_diffusion")
    recipe = dataclasses.replace(recipe, train=train, train_autoencoder=None, initial=str(start))
    path = trials.folder / "gray.records"
    store = open_or_make(path, lambda: pack(_gray(world), path, total=len(world.store)))
    gray = dataclasses.replace(world, store=store)
    name = f"gray-seed{seed}"
    trials.fit(
        name,
        recipe,
        lambda: denoiser_task(recipe, gray, *starting_model(recipe, None), progress=trials.progress),
    )
    return trials.folder / name / "model"


def _gray(world: World) -> Any:
    """The world's samples, their pictures without colour."""
    import cv2

    from visionsmith.image.io import decode, encode_png

    for sample in world.store:
        picture = decode(sample.image, where=sample.key)
        plain = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        yield dataclasses.replace(sample, image=encode_png(plain))


def _colour(pictures: np.ndarray) -> float:
    """Mean distance between the largest and the smallest channel of a pixel, 0 to 255."""
    import numpy as np

    return float(np.ptp(pictures.astype(np.int16), axis=-1).mean())


def _scales(prompter: ImagePrompter, world: World, judge: Judge, *, progress: bool) -> Claim:
    from visionsmith.papers.ip_adapter.measure import prompt_features
    from visionsmith.papers.latent_diffusion import evenly

    asked = evenly(world.held_out, PROMPTS)
    features = prompt_features(prompter, judge, asked)
    real = judge.embed(judge.real(asked))
    picture: dict[float, list[float]] = {scale: [] for scale in SCALES}
    text: dict[float, list[float]] = {scale: [] for scale in SCALES}
    for seed in SEEDS:
        # Each prompt beside the caption of another one, of a new one with each seed.
        turn = (1 + seed * 7) % len(asked) or 1
        told = [asked[(place + turn) % len(asked)] for place in range(len(asked))]
        captions = [world.store[index].caption for index in told]
        for scale in SCALES:
            made = prompter.paint_each(
                features, texts=captions, scale=scale, steps=PAINT_STEPS, progress=progress
            )
            found = judge.embed(made)
            picture[scale].append(float((found * real).sum(dim=1).mean()))
            text[scale].append(float((found * judge.captions[told]).sum(dim=1).mean()))
    curve = "; ".join(
        f"scale {scale:g}: {mean(picture[scale]):.2f} to the picture, {mean(text[scale]):.2f} to the text"
        for scale in SCALES
    )
    steps = itertools.pairwise(SCALES)
    return Claim(
        statement="The scale moves a painting from the text's side to the picture's.",
        source="section 3.2.2; section 4.3.4",
        paper="0.5 is used where a text stands beside a picture",
        measured=curve,
        holds=all(
            mean(picture[higher]) > mean(picture[lower]) and mean(text[higher]) < mean(text[lower])
            for lower, higher in steps
        )
        and apart(picture[SCALES[-1]], picture[SCALES[0]]),
        command=COMMAND,
        note=f"the adapter that ships; {len(asked)} held-out pictures, each with another one's caption, "
        f"{len(SEEDS)} pairings; cosine of CLIP embeddings; holds if both move at every step of the scale",
        values=(
            *((f"picture_{scale:g}", mean(values)) for scale, values in picture.items()),
            *((f"text_{scale:g}", mean(values)) for scale, values in text.items()),
        ),
    )
