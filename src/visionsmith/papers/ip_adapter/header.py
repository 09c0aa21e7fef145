"""What a published file holds, judged by the names and shapes in its header before a weight is read.

Files that do not fit are the most frequent mistake of all: a wrong image encoder, variant or base. Here each is named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visionsmith.errors import CheckpointError
from visionsmith.papers.ip_adapter.config import (
    FLUX1_WIDTHS,
    Denoiser,
    IPAdapterConfig,
    ResamplerConfig,
    Variant,
)
from visionsmith.vet import refuse_unsafe

__all__ = ["Recognised", "Shapes", "encoder_by_width", "family", "published_name", "read_header", "recognise"]

Shapes = Mapping[str, tuple[int, ...]]

KEY = re.compile(r"ip_adapter\.(\d+)\.to_k_ip\.weight")
XLABS = re.compile(r"double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_([kv])_proj\.(weight|bias)")
"""Names of keys and values in XLabs' files for FLUX.1; their projector is `XLABS_PROJECTOR`."""
XLABS_PROJECTOR = "ip_adapter_proj_model."
BASES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
"""UNets by the width of the text that they read."""
FLUX1_TEXT = 4096
"""Width of the text that FLUX.1 reads."""
POOLED = {768: "CLIP ViT-L/14", 1024: "CLIP ViT-H/14", 1280: "CLIP ViT-bigG/14"}
"""Encoders by the width of a picture's embedding."""
STATES = {1024: "CLIP ViT-L/14", 1280: "CLIP ViT-H/14", 1664: "CLIP ViT-bigG/14"}
"""Encoders by the width of their hidden states."""
HEAD_WIDTH = 64
"""Of a resampler; shapes do not tell it, and all published ones have it."""
VIT_STATES = 257
"""Of the encoders above at 224 pixels: one state a patch of 14 pixels, and one for the whole."""

BUILT: dict[str, Variant] = {"base": "base", "plus": "plus", "full": "full"}


@dataclass(frozen=True)
class Recognised:
    """A published adapter, by its header."""

    variant: str
    """"base", "plus", "full", "FaceID", "FaceID-Plus" or "Portrait"."""
    tokens: int
    """Image tokens of a picture, or of a face."""
    denoiser: Denoiser
    image_width: int
    """Of the features that it takes."""
    text_width: int
    positions: tuple[int, ...]
    widths: tuple[int, ...]
    resampler: ResamplerConfig
    """Of "plus" alone."""

    @property
    def base(self) -> str:
        """The family of denoisers that it belongs on."""
        return family(self.denoiser, self.text_width, self.widths)

    @property
    def encoder(self) -> str:
        """The image encoder that it needs."""
        return encoder_by_width(self.variant, self.image_width)

    def config(self) -> IPAdapterConfig:
        """The sizes.

        Raises:
            CheckpointError: the variant is not built here.
        """
        if self.variant not in BUILT:
            raise CheckpointError(
                f"is an IP-Adapter of the variant {self.variant} ({self.tokens} tokens, for {self.base}, with "
                f"{self.encoder}), which is not built here",
                do="give one of the variants base, plus or full",
            )
        return IPAdapterConfig(
            denoiser=self.denoiser,
            variant=BUILT[self.variant],
            tokens=self.tokens,
            image_width=self.image_width,
            text_width=self.text_width,
            positions=self.positions,
            widths=self.widths,
            resampler=self.resampler,
        )

    def __str__(self) -> str:
        return f"'{self.variant}' with {self.tokens} tokens for {self.base}, with {self.encoder}"


def family(denoiser: Denoiser, text_width: int, widths: Sequence[int]) -> str:
    """The family of denoisers that read text of this width, and whose layers have these widths."""
    if denoiser == "unet":
        return BASES.get(text_width, f"a denoiser of text width {text_width}")
    if text_width == FLUX1_TEXT and tuple(widths) == FLUX1_WIDTHS:
        return "FLUX.1"
    return f"a Flux transformer of text width {text_width} with {len(widths)} double blocks of {max(widths)}"


def encoder_by_width(variant: str, width: int) -> str:
    """The image encoder whose features have this width."""
    if variant in ("FaceID", "Portrait"):
        return f"a face encoder of width {width}" + (" (ArcFace)" if width == 512 else "")
    kind, known = ("embeddings", POOLED) if variant == "base" else ("hidden states", STATES)
    found = known.get(width, f"an encoder whose {kind} have width {width}")
    return f"a face encoder and {found}" if variant == "FaceID-Plus" else found


def read_header(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a safetensors file; no weight is read.

    Raises:
        CheckpointError: it is a pickle, is missing, or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise CheckpointError("no such file", where=file, do="check the path")
    refuse_unsafe(file, paper="ip_adapter")
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"is not a readable safetensors file ({error})", where=file, do="copy it again from its source"
        ) from error


def published_name(name: str) -> str:
    """The name that a weight of XLabs' files has in the published layout; another name stays as it is."""
    if found := XLABS.fullmatch(name):
        return f"ip_adapter.{found[1]}.to_{found[2]}_ip.{found[3]}"
    if name.startswith(XLABS_PROJECTOR):
        return f"image_proj.{name.removeprefix(XLABS_PROJECTOR)}"
    return name


def recognise(shapes: Shapes) -> Recognised:
    """Name the variant, its tokens, the family of its base, and the encoder that it needs.

    Args:
        shapes: names and shapes in the published layout or in XLabs', e.g. of `read_header`.

    Raises:
        CheckpointError: it is no IP-Adapter, or a part is missing.
    """
    shapes = {published_name(name): shape for name, shape in shapes.items()}
    projector = {
        name.removeprefix("image_proj."): shape
        for name, shape in shapes.items()
        if name.startswith("image_proj.")
    }
    layers = sorted((int(found[1]), shapes[name]) for name in shapes if (found := KEY.fullmatch(name)))
    if not projector:
        raise CheckpointError(
            "is no IP-Adapter: no name begins with 'image_proj.'",
            do="give a file with the parts image_proj and ip_adapter",
        )
    if not layers:
        raise CheckpointError(
            "has no keys and values: no name begins with 'ip_adapter.'",
            do="convert the training's state again; the published recipe loses this part with a recent accelerate",
        )
    faces = any("_lora." in name for name in shapes)
    try:
        variant, tokens, width, sizes = _projector(projector, faces=faces, text=layers[0][1][1])
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"has a projector that is of no known variant ({', '.join(sorted(projector)[:4])}, ...)",
            do="give a published IP-Adapter, or one that was exported here",
        ) from error
    return Recognised(
        variant=variant,
        tokens=tokens,
        # Cross-attention layers of UNets have no bias at keys and values.
        denoiser="flux" if f"ip_adapter.{layers[0][0]}.to_k_ip.bias" in shapes else "unet",
        image_width=width,
        text_width=layers[0][1][1],
        positions=tuple(position for position, _ in layers),
        widths=tuple(shape[0] for _, shape in layers),
        resampler=sizes,
    )


def _projector(found: Shapes, *, faces: bool, text: int) -> tuple[str, int, int, ResamplerConfig]:
    """Variant, tokens, image width and sizes of a resampler."""
    sizes = ResamplerConfig()
    if "perceiver_resampler.proj_in.weight" in found:
        tokens = found["proj.2.weight"][0] // found["norm.weight"][0]
        return "FaceID-Plus", tokens, found["perceiver_resampler.proj_in.weight"][1], sizes
    if "latents" in found:
        width = found["latents"][2]
        sizes = ResamplerConfig(
            width=width,
            depth=len({name.split(".")[1] for name in found if name.startswith("layers.")}),
            heads=found["layers.0.0.to_q.weight"][0] // HEAD_WIDTH,
            head_width=HEAD_WIDTH,
            ratio=found["layers.0.1.1.weight"][0] // width,
        )
        return "plus", found["latents"][1], found["proj_in.weight"][1], sizes
    if "proj.3.weight" in found:
        return "full", VIT_STATES, found["proj.0.weight"][1], sizes
    if "proj.weight" in found:
        return "base", found["proj.weight"][0] // text, found["proj.weight"][1], sizes
    tokens = found["proj.2.weight"][0] // found["norm.weight"][0]
    # Portrait has the projector of FaceID and no LoRA.
    return "FaceID" if faces else "Portrait", tokens, found["proj.0.weight"][1], sizes
