"""The first stage: an autoencoder whose latents diffusion happens in (section 3.1).

Axes: b pictures, h/w pixels, c latent channels, i/j latent positions (h / factor, w / factor).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.memory.locks import library_load
from visionsmith.papers.latent_diffusion.config import AutoencoderConfig
from visionsmith.report.sheet import contact_sheet

__all__ = [
    "AutoencoderObjective",
    "decode",
    "encode",
    "from_pixels",
    "make_autoencoder",
    "restore",
    "restored_sheet",
    "scores",
    "to_pixels",
    "whiten",
    "whitened",
]

BATCH = 64
"""Pictures that are encoded or decoded at a time."""


def make_autoencoder(config: AutoencoderConfig) -> AutoencoderKL:
    """A new `AutoencoderKL` of these sizes."""
    depth = len(config.widths)
    with library_load():
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * depth,
            up_block_types=("UpDecoderBlock2D",) * depth,
            block_out_channels=config.widths,
            layers_per_block=config.layers,
            latent_channels=config.latent_channels,
            norm_num_groups=config.groups,
            mid_block_add_attention=config.attention,
            sample_size=config.image_size,
            scaling_factor=config.scale,
        )


def from_pixels(images: Tensor) -> Tensor:
    """Pictures `b h w 3` uint8 to what the autoencoder takes: `b 3 h w` float32 [-1, 1]."""
    assert images.dtype == torch.uint8, f"images are {images.dtype}, not uint8"
    return (images.float() / 127.5 - 1).permute(0, 3, 1, 2)


def to_pixels(values: Tensor) -> np.ndarray:
    """`b 3 h w` [-1, 1] to pictures `b h w 3` uint8; what lies outside is cut off."""
    pixels = ((values.float() + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
    found: np.ndarray = pixels.permute(0, 2, 3, 1).cpu().numpy()
    return found


class AutoencoderObjective(nn.Module):
    """Absolute error of pixels and of their differences, and a light pull of the latents towards N(0, 1).

    DIFFERS: the paper adds a perceptual loss and a discriminator, which keep the texture of photographs. Drawings of
    flat colours have none; their edges, which an error of pixels blurs first, are what the differences are for.
    """

    def __init__(self, autoencoder: AutoencoderKL, *, edges: float, kl: float) -> None:
        """Make it.

        Args:
            autoencoder: to train.
            edges: weight of the error of differences between neighbouring pixels.
            kl: weight of the divergence of the latents from N(0, 1), a mean over their values.
        """
        super().__init__()
        self.autoencoder = autoencoder
        self.edges, self.kl = edges, kl

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "images" uint8 `b h w 3`."""
        images = from_pixels(batch["images"])
        latents = self.autoencoder.encode(images).latent_dist
        restored = self.autoencoder.decode(latents.sample()).sample.float()
        error = F.l1_loss(restored, images)
        edges = sum(F.l1_loss(restored.diff(dim=axis), images.diff(dim=axis)) for axis in (2, 3))
        divergence = 0.5 * (latents.mean.square() + latents.var - 1 - latents.logvar).mean()
        loss = error + self.edges * edges + self.kl * divergence
        return {"loss": loss, "error": error.detach(), "divergence": divergence.detach()}


@torch.no_grad()
def whiten(autoencoder: AutoencoderKL, images: Tensor) -> None:
    """Give the latents of these pictures mean 0 and variance 1 in each channel, in place.

    The shift and the factor go into the convolutions of 1 x 1 on both sides of the latents, so that pictures come back
    as before, and every pipeline of the library finds latents of unit variance without knowing of it.

    Args:
        autoencoder: with `scaling_factor` 1.
        images: uint8 `b h w 3`.
    """
    assert autoencoder.config.scaling_factor == 1, "the latents are scaled already"
    latents = torch.cat(list(_latents(autoencoder, images)))
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    into, back = autoencoder.quant_conv, autoencoder.post_quant_conv
    channels = len(mean)
    # The logarithm of the variance shrinks by as much as the mean does.
    into.weight[:channels] /= std[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - mean) / std
    into.bias[channels:] -= 2 * std.log()
    back.bias += torch.einsum("oixy,i->o", back.weight, mean)
    back.weight *= std[None, :, None, None]


def _latents(autoencoder: AutoencoderKL, images: Tensor) -> Iterator[Tensor]:
    for begin in range(0, len(images), BATCH):
        part = images[begin : begin + BATCH].to(autoencoder.device)
        yield autoencoder.encode(from_pixels(part)).latent_dist.mode()


@torch.no_grad()
def encode(autoencoder: AutoencoderKL, images: Tensor) -> Tensor:
    """Scaled latents `b c i j` float32, on the CPU, of pictures uint8 `b h w 3`: the mode of their distribution."""
    found = torch.cat([part.float().cpu() for part in _latents(autoencoder, images)])
    return found * float(autoencoder.config.scaling_factor)


@torch.no_grad()
def decode(autoencoder: AutoencoderKL, latents: Tensor) -> np.ndarray:
    """Pictures uint8 `b h w 3` of scaled latents `b c i j`."""
    parts = (latents / autoencoder.config.scaling_factor).split(BATCH)
    return np.concatenate(
        [to_pixels(autoencoder.decode(part.to(autoencoder.device)).sample) for part in parts]
    )


def whitened(config: AutoencoderConfig, state: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    """The state dict of an autoencoder after `whiten`; see there."""
    autoencoder = make_autoencoder(config)
    autoencoder.load_state_dict(state)
    whiten(autoencoder.eval(), images)
    return dict(autoencoder.state_dict())


@torch.no_grad()
def restore(autoencoder: AutoencoderKL, images: Tensor) -> np.ndarray:
    """What comes back of pictures: uint8 `b h w 3`, of uint8 `b h w 3`."""
    return np.concatenate(
        [to_pixels(autoencoder.decode(part).sample) for part in _latents(autoencoder, images)]
    )


def scores(autoencoder: AutoencoderKL, images: Tensor) -> dict[str, float]:
    """How well pictures come back: "psnr" (dB over all pixels), and that of each picture's mean colour.

    Args:
        autoencoder: in evaluation mode.
        images: uint8 `b h w 3`.
    """
    exact = images.numpy().astype(np.float32)
    mean = exact.mean(axis=(1, 2), keepdims=True)
    return {"psnr": _psnr(restore(autoencoder, images) - exact), "mean_colour_psnr": _psnr(mean - exact)}


def restored_sheet(autoencoder: AutoencoderKL, images: Tensor) -> np.ndarray:
    """Pictures above what comes back of them: RGB HWC uint8."""
    shown = np.concatenate((images.numpy(), restore(autoencoder, images)), axis=1)
    return contact_sheet(
        list(shown), [""] * len(shown), title="Pictures, and below them what their latents say"
    )


def _psnr(difference: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(float(np.square(difference).mean()), 1e-9)))
