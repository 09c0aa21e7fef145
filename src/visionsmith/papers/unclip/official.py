"""The ways in for weights: this project's checkpoints, and priors in diffusers' layout (Karlo, Kandinsky 2).

| source                                              | function                   |
|-----------------------------------------------------|----------------------------|
| a state dict under diffusers' names                 | `from_official`            |
| a folder with a `PriorTransformer`, or a checkpoint | `load_prior`               |
| a checkpoint                                        | `load_unclip`              |
| folders of Karlo or of Kandinsky 2.2, whole         | `published.open_published` |
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusers import PriorTransformer
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import decode
from visionsmith.errors import CheckpointError
from visionsmith.keys import require_keys
from visionsmith.papers.latent_diffusion import LatentDiffusion, load_checkpoint
from visionsmith.papers.model_folder import find_folder, read_config, read_weights
from visionsmith.papers.paper import shipped_checkpoint
from visionsmith.papers.unclip.config import PriorConfig, UnclipConfig
from visionsmith.papers.unclip.prior import make_prior

if TYPE_CHECKING:
    from visionsmith.papers.clip import Clip
    from visionsmith.papers.unclip.unclip import Unclip

__all__ = ["digest", "from_official", "load_base", "load_clip", "load_prior", "load_unclip"]

WEIGHTS = ("diffusion_pytorch_model", "model")
"""What diffusers calls the file of a part's weights."""


def from_official(state: Mapping[str, Tensor], config: PriorConfig) -> PriorTransformer:
    """A prior of weights under diffusers' names.

    Raises:
        CheckpointError: a weight is missing, left over or of another shape.
    """
    prior = make_prior(config)
    weights = {name: value.float() for name, value in state.items()}
    require_keys(prior.state_dict(), weights, where="the state dict")
    prior.load_state_dict(weights)
    return prior.eval()


def load_prior(source: str | Path, *, download: bool = False) -> tuple[PriorTransformer, PriorConfig]:
    """The prior of a checkpoint, of a folder that `PriorTransformer.save_pretrained` wrote, or of a pipeline's folder.

    Raises:
        CheckpointError: there is none, or it has settings that this project's prior has not.
    """
    path = Path(source)
    if checkpoint.is_checkpoint(path):
        found = checkpoint.read(path, paper="unclip")
        config = decode(UnclipConfig, found.config, where=str(path)).prior
        return from_official(_part(found.tensors(), "prior."), config), config
    folder = find_folder(source, download=download)
    folder = folder / "prior" if (folder / "prior" / "config.json").is_file() else folder
    config = _prior_config(read_config(folder), folder)
    return from_official(read_weights(folder, names=WEIGHTS), config), config


def _prior_config(values: Mapping[str, Any], folder: Path) -> PriorConfig:
    if (kind := values.get("_class_name", "PriorTransformer")) != "PriorTransformer":
        raise CheckpointError(
            f"holds a {kind}, not a PriorTransformer", where=folder, do="give a folder of a prior"
        )
    for name in ("norm_in_type", "embedding_proj_norm_type", "time_embed_dim"):
        if values.get(name) is not None:
            raise CheckpointError(
                f"{name} is {values[name]}, and the priors of Karlo and Kandinsky 2.2 have none",
                where=folder,
                do="use the diffusers library for this prior",
            )
    width = values.get("embedding_dim", 768)
    return PriorConfig(
        embedding=width,
        text_width=width,
        text_tokens=values.get("num_embeddings", 77),
        heads=values.get("num_attention_heads", 32),
        head_width=values.get("attention_head_dim", 64),
        layers=values.get("num_layers", 20),
    )


def load_clip(source: str | Path | None) -> Clip:
    """The CLIP whose embeddings are meant; None: the one that ships."""
    from visionsmith.papers.clip import load

    return load(source)


def load_base(source: str | Path | None) -> tuple[LatentDiffusion, bytes]:
    """The latent diffusion model that a decoder starts from, and its tokenizer.json; None: the one that ships."""
    return load_checkpoint(shipped_checkpoint("latent_diffusion") if source is None else Path(source))


def load_unclip(folder: Path, *, base: Path | None = None, clip: Path | None = None) -> Unclip:
    """A checkpoint with what it stands on.

    Args:
        folder: a checkpoint of this paper.
        base: the latent diffusion model that its decoder was made from; None: the one that ships.
        clip: the CLIP whose embeddings it knows; None: the one that ships.

    Raises:
        CheckpointError: it is damaged, or `base` or `clip` is not what it was trained with.
    """
    from visionsmith.papers.unclip.decoder import Decoder
    from visionsmith.papers.unclip.unclip import Unclip

    found = checkpoint.read(folder, paper="unclip")
    config = decode(UnclipConfig, found.config, where=str(folder))
    state = found.tensors()
    prior = from_official(_part(state, "prior."), config.prior)
    seen = load_clip(_same("clip", clip or shipped_checkpoint("clip"), config.clip, folder))
    if not config.base:
        return Unclip(config, seen, prior)
    place = _same("latent_diffusion", base or shipped_checkpoint("latent_diffusion"), config.base, folder)
    model = load_base(place)[0]
    decoder = Decoder(model, embedding=config.prior.embedding, extra_tokens=config.extra_tokens)
    weights = {name: value.float() for name, value in _part(state, "decoder.").items()}
    require_keys(decoder.state_dict(), weights, where=str(folder))
    decoder.load_state_dict(weights)
    return Unclip(config, seen, prior, base=model, decoder=decoder.eval())


def digest(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, as its manifest has it."""
    import json

    entries = json.loads((folder / checkpoint.MANIFEST).read_text(encoding="utf-8"))["files"]
    found: str = entries[checkpoint.MODEL]["sha256"]
    return found


def _same(kind: str, place: Path, wanted: str, folder: Path) -> Path:
    """The folder, when its weights are those that the checkpoint was trained with."""
    if wanted and digest(place) != wanted:
        raise CheckpointError(
            f"was trained with another {kind} than {place}",
            where=folder,
            do=f"give the one that it was trained with (weights of SHA-256 {wanted[:12]}...), or train it again",
        )
    return place


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
