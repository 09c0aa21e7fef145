"""The codebook: nearest centres, a decoder that answers them, and a training that restores pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.papers.flava.conftest import COLOURS, SHAPES, picture
from visionsmith.checkpoint import read
from visionsmith.config import override
from visionsmith.errors import ConfigError
from visionsmith.papers.flava.codebook import Codebook, CodebookObjective, map_pixels, unmap_pixels
from visionsmith.papers.flava.config import CodebookConfig
from visionsmith.papers.flava.official import load_codebook
from visionsmith.papers.flava.pictures import codebook_scores, some_pictures
from visionsmith.papers.flava.recipes import CodebookRecipe, codebook
from visionsmith.papers.flava.train import train

CONFIG = CodebookConfig(codes=12, width=4, blocks=1)


def pictures(size: int = 32) -> torch.Tensor:
    drawn = [picture(colour, shape, size) for colour in COLOURS for shape in SHAPES]
    return torch.from_numpy(np.stack(drawn))


def test_pixels_there_and_back() -> None:
    images = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    mapped = map_pixels(images)
    assert float(mapped.min()) >= 0.1 - 1e-6
    assert float(mapped.max()) <= 0.9 + 1e-6
    assert torch.equal(unmap_pixels(mapped), images)


def test_the_largest_logit_is_that_of_the_nearest_centre() -> None:
    made = Codebook(CONFIG)
    made.place_centres(pictures())
    features = made.features(pictures()).movedim(1, 3).flatten(0, 2)
    distances = torch.stack([(features - centre).square().sum(dim=1) for centre in made.centres], dim=1)
    assert torch.equal(made.encode(pictures()).flatten(), distances.argmin(dim=1))
    used = made.encode(pictures()).unique()
    assert len(used) == CONFIG.codes, "k-means leaves no code unused on what it saw"


def test_placing_centres_depends_on_the_pictures_alone() -> None:
    made = Codebook(CONFIG)
    made.place_centres(pictures())
    before = made.output.weight.clone()
    torch.rand(7)
    made.place_centres(pictures())
    assert torch.equal(before, made.output.weight)


def test_gradients_pass_the_code() -> None:
    made = Codebook(CONFIG)
    objective = CodebookObjective(made, commitment=0.25, loose_steps=1)
    objective({"images": pictures()})["loss"].backward()
    assert made.output.weight.grad is not None
    assert not made.output.weight.grad.any(), "no code takes part in the first steps"
    objective.after_step(pictures())
    made.zero_grad()
    losses = objective({"images": pictures()})
    losses["loss"].backward()
    assert made.output.weight.grad.any()
    assert all(p.grad is not None and p.grad.any() for p in made.decoder.parameters())
    # The stem learns from the decoder's error, through the choice.
    assert made.encoder.blocks.input.weight.grad.any()
    # What the decoder saw is what it will see: the centre of each cell's code.
    restored = unmap_pixels(made.decoder(made.centres[made.encode(pictures())].mT.unflatten(2, (4, 4))))
    assert torch.equal(made.decode(made.encode(pictures())), restored)


def mini(**settings) -> CodebookRecipe:
    base = {
        "model": {"codes": 24, "width": 8, "blocks": 1},
        "size": 32,
        "crop": 32,
        "train": {"steps": 150, "batch_size": 16, "save_every": 50, "optim": {"lr": 5e-3}},
    }
    return override(override(codebook(), base), [f"{key}={value}" for key, value in settings.items()])


def test_learns_to_restore_pictures(folder: Path, tmp_path: Path) -> None:
    made = train(mini(), data=folder, output=tmp_path / "run", progress=False)
    assert read(made, paper="flava").config == {"codebook": {"codes": 24, "width": 8, "blocks": 1}}
    found = load_codebook(made)
    assert found is not None
    from visionsmith.data.records import RecordStore

    store = RecordStore(tmp_path / "run" / "records")
    scores = codebook_scores(found, some_pictures(store, range(len(store)), 32, 16))
    untrained = Codebook(found.config)
    untrained.place_centres(some_pictures(store, range(len(store)), 32, 16))
    before = codebook_scores(untrained, some_pictures(store, range(len(store)), 32, 16))
    assert scores["psnr"] > before["psnr"] + 5
    assert scores["codes_used"] > 8
    assert 0 < scores["majority"] < 1
    assert (tmp_path / "run" / "samples.png").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("crop=12", "crop = 12 px is not a multiple of 8"),
        ("crop=40", "crop = 40 px is larger than size = 32 px"),
        ("loose=1.0", "loose = 1.0 is out of range"),
        ("model.codes=1", "codebook.codes = 1 tells nothing apart"),
        ("model.width=6", "width 6 is not a multiple of the blocks' factor 4"),
    ],
)
def test_mistakes(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        override(mini(), [setting])
