"""The decoder: from an image embedding, and a text beside it, to a picture's latents (section 2.1).

The embedding comes in twice: projected onto the embedding of the time, and as extra tokens beside the text's. These
projections are diffusers' `UnCLIPTextProjModel`, the network is a `UNet2DConditionModel`.

Axes: b pictures, c latent channels, i/j latent positions, n text tokens, e embedding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from torch import Tensor, nn

from visionsmith.data.progress import DelayedBar
from visionsmith.diffusion.noise import noised, target
from visionsmith.memory.locks import library_load
from visionsmith.papers.latent_diffusion import LatentDiffusion, make_denoiser, make_noise, make_sampler
from visionsmith.papers.unclip.prior import Read

__all__ = ["Decoder", "DecoderObjective", "paint"]


class Decoder(nn.Module):
    """The denoiser of a latent diffusion model, taught to follow an image embedding."""

    unet: UNet2DConditionModel
    text_proj: UnCLIPTextProjModel

    def __init__(self, base: LatentDiffusion, *, embedding: int, extra_tokens: int) -> None:
        """Make one that paints what `base` paints, but for the normalisation of the text's states.

        DIFFERS: the paper trains a decoder of pixels from nothing, and upsamplers after it. This one works in the
        base's latents, as Kandinsky does, and starts from its denoiser.

        Args:
            base: whose denoiser is copied, and whose noise schedule and text encoder it keeps.
            embedding: values of CLIP's embeddings.
            extra_tokens: tokens that an embedding becomes.
        """
        super().__init__()
        self.noise_config = base.config.noise
        width = base.config.text.width
        self.unet = make_denoiser(base.config, class_embed_type="identity")
        self.unet.load_state_dict(base.unet.state_dict())
        with library_load():
            self.text_proj = UnCLIPTextProjModel(
                clip_extra_context_tokens=extra_tokens,
                clip_embeddings_dim=embedding,
                time_embed_dim=self.unet.time_embedding.linear_2.out_features,
                cross_attention_dim=width,
            )
        # The states of the base's text encoder go in as they are.
        states = nn.Linear(width, width)
        nn.init.eye_(states.weight)
        nn.init.zeros_(states.bias)
        self.text_proj.encoder_hidden_states_proj = states
        for part in ("embedding_proj", "clip_image_embeddings_project_to_time_embeddings"):
            nn.init.zeros_(getattr(self.text_proj, part).weight)
            nn.init.zeros_(getattr(self.text_proj, part).bias)

    def forward(
        self, noised: Tensor, times: Tensor, embeddings: Tensor, dropped: Tensor, read: Read
    ) -> Tensor:
        """The denoiser's prediction `b c i j`.

        Args:
            noised: latents `b c i j`.
            times: b int64, or one for all.
            embeddings: image embeddings `b e`, scaled to about unit variance by the square root of e.
            dropped: b bool: where the learned embedding of "none" takes the embedding's place.
            read: of the text encoder, b rows.
        """
        none = self.text_proj.learned_classifier_free_guidance_embeddings
        embeddings = torch.where(dropped[:, None], none[None].to(embeddings), embeddings)
        context, added = self.text_proj(
            image_embeddings=embeddings,
            prompt_embeds=read.embedding,
            text_encoder_hidden_states=read.states,
            do_classifier_free_guidance=False,
        )
        found: Tensor = self.unet(noised, times, context, class_labels=added).sample
        return found


def scaled(embeddings: Tensor) -> Tensor:
    """Unit-norm embeddings `b e` at about unit variance; the paper's factor is 17.2."""
    return embeddings * math.sqrt(embeddings.shape[1])


class DecoderObjective(nn.Module):
    """Squared error of the prediction at a random time; embedding and text are left out at times."""

    def __init__(self, decoder: Decoder, reader: Any, *, drop_embedding: float) -> None:
        """Make it.

        Args:
            decoder: to train.
            reader: of texts, frozen.
            drop_embedding: chance that a sample goes without its embedding (0.1 in the paper).
        """
        super().__init__()
        self.decoder = decoder
        self.noise = make_noise(decoder.noise_config)
        self.drop_embedding = drop_embedding
        self.reader: Any
        self.__dict__["reader"] = reader

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "latents" float `b c i j`, "images" unit-norm float `b e`, "tokens" int64 `b n`."""
        clean = batch["latents"]
        times = torch.randint(self.noise.config.num_train_timesteps, (len(clean),), device=clean.device)
        drawn = torch.randn_like(clean)
        dropped = torch.rand(len(clean), device=clean.device) < self.drop_embedding
        found = self.decoder(
            noised(self.noise, clean, drawn, times),
            times,
            scaled(batch["images"]),
            dropped,
            self.reader(batch["tokens"]),
        )
        error = found.float() - target(self.noise, clean, drawn, times).float()
        return {"loss": error.square().mean()}


@torch.no_grad()
def paint(
    decoder: Decoder,
    start: Tensor,
    embeddings: Tensor,
    read: Read,
    nothing: Read,
    *,
    steps: int,
    guidance: float,
    progress: bool = False,
) -> Tensor:
    """Latents `b c i j` of pictures with these embeddings.

    Args:
        decoder: in evaluation mode.
        start: noise `b c i j`.
        embeddings: unit norm `b e`.
        read: of the texts beside them, b rows; of empty texts where there are none.
        nothing: of the empty text, one row.
        steps: of the sampler.
        guidance: how much more embedding and text count than neither; 1: no guidance.
        progress: whether to show a bar.
    """
    sampler = make_sampler(decoder.noise_config)
    sampler.set_timesteps(steps, device=start.device)
    guided, count = guidance != 1.0, len(start)
    rows = read.beside(nothing.repeated(count)) if guided else read
    given = scaled(embeddings)
    given = torch.cat((given, given)) if guided else given
    dropped = torch.arange(len(given), device=start.device) >= count
    state = start
    with DelayedBar("painting", steps, show=progress) as bar:
        for time in sampler.timesteps:
            both = torch.cat((state, state)) if guided else state
            found = decoder(both, time, given, dropped, rows)
            if guided:
                wanted, without = found.chunk(2)
                found = without + guidance * (wanted - without)
            state = sampler.step(found, time, state).prev_sample
            bar.advance()
    return state
