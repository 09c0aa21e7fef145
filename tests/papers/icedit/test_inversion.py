"""Editing by inversion: beside a plain loop, and with a folder in FLUX.1's layout."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from tests.papers.icedit.flux import SIDE, save_flux
from visionsmith.cli.app import app
from visionsmith.diffusion.flux import pack, places, unpack
from visionsmith.errors import CheckpointError
from visionsmith.image.io import read_image, write_image
from visionsmith.papers.icedit.adapter import adapter_for
from visionsmith.papers.icedit.checkpoints import load_editor
from visionsmith.papers.icedit.config import AdapterConfig
from visionsmith.papers.icedit.editor import EarlyFilter, Editor
from visionsmith.papers.icedit.inversion import InversionEditor, way_to_noise
from visionsmith.papers.icedit.judges import NearestJudge
from visionsmith.papers.icedit.model import make_transformer as make_filler
from visionsmith.papers.icedit.model import to_latents
from visionsmith.papers.icedit.official import export
from visionsmith.papers.icedit.reader import read
from visionsmith.papers.icedit.recipes import PUBLISHED_TEMPLATE, tiny
from visionsmith.papers.latent_diffusion import TextConfig

STEPS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_flux(tmp_path_factory.mktemp("flux"), distilled=True)


@pytest.fixture(scope="module")
def editor(folder: Path) -> Editor:
    return load_editor(folder)


def _pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8))


def test_the_way_to_noise_of_a_straight_flow_is_straight() -> None:
    source, speed = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    asked: list[float] = []

    def velocity(tokens: Tensor, times: Tensor) -> Tensor:
        asked.extend(times.tolist())
        return speed

    told: list[int] = []
    way = way_to_noise(velocity, source, [1.0, 0.6, 0.25, 0.0], tell=told.append)
    assert len(way) == 4
    assert torch.equal(way[-1], source)
    for tokens, time in zip(way, (1.0, 0.6, 0.25), strict=False):
        torch.testing.assert_close(tokens, source + time * speed)
    assert asked == pytest.approx([0.0, 0.0, 0.25, 0.25, 0.6, 0.6])
    assert told == [2, 2, 2]


class _Replayed(nn.Module):
    """A layer whose output is overwritten at some of its tokens, one by one."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.seen = layer, torch.empty(0)
        self.overwrite: dict[int, Tensor] = {}
        """Token, counted from the end -> its value."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.layer(x)
        found = self.seen.clone()
        for back, value in self.overwrite.items():
            found[:, -back] = value
        return found


@pytest.mark.parametrize("distilled", [True, False])
def test_an_edit_is_that_of_a_plain_loop(distilled: bool, tmp_path: Path) -> None:
    """With all values of all layers taken from the source's own passes; the guidance told, or of two passes."""
    editor = load_editor(save_flux(tmp_path / "flux", distilled=distilled))
    assert isinstance(editor, InversionEditor)
    assert editor.template == PUBLISHED_TEMPLATE
    (picture,) = _pictures(1)
    found = editor.edit([picture], ["make it red"], seeds=[3], steps=STEPS, guidance=2.0)

    parts = editor.parts
    model = copy.deepcopy(parts.transformer)
    layers = []
    for block in [*model.transformer_blocks, *model.single_transformer_blocks]:
        block.attn.to_v = _Replayed(block.attn.to_v)
        layers.append(block.attn.to_v)
    texts = {
        text: read(parts.reader, [text])
        for text in ("", PUBLISHED_TEMPLATE.format(instruction="make it red"))
    }

    @torch.no_grad()
    def ask(tokens: Tensor, time: float, text: str, columns: int, guidance: float) -> Tensor:
        states, pooled = texts[text]
        answer: Tensor = model(
            hidden_states=tokens,
            timestep=torch.tensor([time]),
            guidance=torch.tensor([guidance]) if distilled else None,
            encoder_hidden_states=states,
            pooled_projections=pooled,
            txt_ids=torch.zeros(states.shape[1], 3),
            img_ids=places(8, columns),
            return_dict=False,
        )[0]
        return answer

    sigmas = editor._sigmas(STEPS, torch.zeros(1, 32, 16))
    way = {STEPS: pack(to_latents(parts.vae, torch.from_numpy(picture[None])))}
    for step in range(STEPS, 0, -1):
        speed = ask(way[step], sigmas[step], "", 8, 1.0)
        way[step - 1] = way[step] + (sigmas[step - 1] - sigmas[step]) * speed
    # 4 rows of 8 tokens; the first four of each row are the left half's.
    left = [row * 8 + column for row in range(4) for column in range(4)]
    tokens = pack(torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(3)))
    for step in range(STEPS):
        ask(way[step], sigmas[step], "", 8, 1.0)
        for layer in layers:
            values = layer.seen[0, -16:].clone()
            layer.overwrite = {32 - place: values[index] for index, place in enumerate(left)}
        tokens[:, left] = way[step]
        asked = ask(tokens, sigmas[step], list(texts)[1], 16, 2.0)
        if not distilled:
            free = ask(tokens, sigmas[step], "", 16, 1.0)
            asked = free + 2.0 * (asked - free)
        for layer in layers:
            layer.overwrite = {}
        tokens = tokens + (sigmas[step + 1] - sigmas[step]) * asked
    with torch.no_grad():
        right = unpack(tokens, 8, 16)[..., 8:]
        of = parts.vae.config
        wanted = parts.vae.decode(right / of.scaling_factor + of.shift_factor).sample[0]
    wanted = ((wanted.permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).round().numpy()
    assert wanted.std() > 10
    assert np.abs(found[0].astype(int) - wanted).max() <= 1


def test_values_of_the_source_are_what_the_right_half_sees(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import re

    from visionsmith.papers.icedit import inversion

    made = editor.edit(_pictures(1), ["make it red"], steps=STEPS)
    monkeypatch.setattr(inversion, "VALUES", re.compile("none"))
    without = editor.edit(_pictures(1), ["make it red"], steps=STEPS)
    assert np.abs(made.astype(int) - without).max() > 1
    assert not any(part._forward_hooks for part in editor.parts.transformer.modules())


def test_a_seed_gives_the_same_edit_alone_and_in_a_batch(editor: Editor) -> None:
    pictures, texts = _pictures(3), ["make it red", "make it blue", "make it green"]
    together = editor.edit(pictures, texts, seeds=[5, 6, 7], steps=STEPS)
    alone = editor.edit(pictures[1:2], texts[1:2], seeds=[6], steps=STEPS)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1


def test_an_early_filter_inverts_once(editor: Editor) -> None:
    (picture,) = _pictures(1)
    plain = editor.edit([picture] * 2, ["make it red"] * 2, seeds=[4, 5], steps=4)
    calls: list[int] = []
    hook = editor.parts.transformer.register_forward_hook(
        lambda module, given, options, found: calls.append(len(options["timestep"])), with_kwargs=True
    )
    early = EarlyFilter(NearestJudge(plain[1]), candidates=2, steps=2)
    chosen = editor.edit([picture], ["make it red"], seeds=[4], steps=4, early=early)
    hook.remove()
    # To noise; at each step the source alone and the candidates; then the winner.
    assert calls == [*[1] * 4, *[1, 2] * 2, *[1, 1] * 2]
    assert min(np.abs(each.astype(int) - chosen[0]).max() for each in plain) <= 1


def test_an_adapter_for_a_filler_is_refused(folder: Path, tmp_path: Path) -> None:
    recipe = tiny()
    assert recipe.train_filler is not None
    from visionsmith.papers.icedit.config import FillerConfig
    from visionsmith.papers.latent_diffusion import AutoencoderConfig

    sizes = FillerConfig(
        autoencoder=AutoencoderConfig(), text=TextConfig(), transformer=recipe.train_filler.transformer
    )
    adapter = adapter_for(make_filler(sizes), AdapterConfig(rank=2, alpha=2.0, experts=0))
    save_file(export(adapter), tmp_path / "fill.safetensors")
    with pytest.raises(CheckpointError, match="the adapter is made for"):
        load_editor(tmp_path / "fill.safetensors", base=folder)


@pytest.mark.parametrize("more", [[], ["--candidates", "2", "--early-steps", "1", "--result", "a heart"]])
def test_the_command_edits_with_a_folder_alone(
    folder: Path, tmp_path: Path, more: list[str], editor: Editor
) -> None:
    write_image(tmp_path / "me.png", _pictures(1)[0])
    said = [
        *["run", "icedit", str(tmp_path / "me.png"), "--checkpoint", str(folder), "--steps", str(STEPS)],
        *["--instruction", "make it red", "--output", str(tmp_path / "out.png"), *more],
    ]
    found = CliRunner().invoke(app, said)
    assert found.exit_code == 0, found.output
    edit = read_image(tmp_path / "out.png")
    wanted: Callable[[int], np.ndarray] = lambda seed: editor.edit(  # noqa: E731
        _pictures(1), ["make it red"], seeds=[seed], steps=STEPS
    )[0]
    assert any(np.abs(edit.astype(int) - wanted(seed)).max() <= 1 for seed in range(2 if more else 1))
