"""FLAVA: an image, a text and a multimodal encoder (Singh et al. 2021, arXiv:2112.04482, fig. 2 and section 3.1).

The parts and their names are those of transformers' `FlavaForPreTraining`; what runs when is decided here. A masked
and a whole pass of an encoder run as one, stacked along the batch; a pass that no loss needs does not run; the text's
padding is hidden from the multimodal encoder too.

Axes: b samples, p patches, t word pieces, k masked places of a sample, d width, e joint embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.flava.modeling_flava import FlavaITMHead, FlavaMaskedPredictionHead, FlavaModel

from visionsmith.memory.locks import library_load
from visionsmith.papers.flava.config import FlavaConfig
from visionsmith.papers.flava.layers import initialise, library_config, run_layers, with_fused_layers

__all__ = ["FLAVA", "PAD", "PairStates"]

PAD = 0
"""Id of the padding token, as in BERT's vocabularies."""
LOGIT_SCALE_RANGE = (0.0, 4.6052)
"""Of the logarithm of the inverse temperature, as in the published code."""


@dataclass(frozen=True)
class PairStates:
    """What a pass over pairs gives."""

    images: Tensor | None
    """`b e`, unit norm: whole pictures; None when not asked for."""
    texts: Tensor | None
    """`b e`, unit norm: whole texts."""
    first: Tensor | None
    """`b d`: state of the multimodal first token over the masked pair; None when not asked for."""
    patches: Tensor | None
    """`b k d`: states at the masked patches."""
    words: Tensor | None
    """`b k d`: states at the masked words."""


class FLAVA(nn.Module):
    """The encoders and the heads of the losses; names and shapes of the weights as in `facebook/flava-full`."""

    def __init__(self, config: FlavaConfig) -> None:
        super().__init__()
        self.config = config
        library = library_config(config)
        with library_load():
            self.flava = with_fused_layers(FlavaModel(library))
            # The library's heads carry no types.
            head: Callable[..., nn.Module] = FlavaMaskedPredictionHead
            self.mim_head = head(library.image_config)
            self.mlm_head = head(library.text_config)
            self.mmm_image_head = head(library.image_config)
            self.mmm_text_head = head(library.text_config)
            matcher: Callable[..., nn.Module] = FlavaITMHead
            self.itm_head = matcher(library)
        for made in (self.mim_head, self.mlm_head, self.mmm_image_head, self.mmm_text_head):
            # The published weights hold the decoder's bias under two names; one of them is a parameter here.
            del made.bias
        initialise(self, config.image.width)

    @property
    def logit_scale(self) -> nn.Parameter:
        """Logarithm of the inverse temperature."""
        scale: nn.Parameter = self.flava.logit_scale
        return scale

    def clamp(self) -> None:
        """Keep the temperature in its range, in place, after a step."""
        with torch.no_grad():
            self.logit_scale.clamp_(*LOGIT_SCALE_RANGE)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Unit-norm embeddings `b e` of whole pictures. `pixels`: float `b 3 h w`, normalised."""
        model = self.flava.image_model
        states = run_layers(model.encoder.layer[:-1], self._embed_images(pixels))
        return self._image_vector(model.encoder.layer[-1](states, None, _first(states)))

    def encode_texts(self, words: Tensor) -> Tensor:
        """Unit-norm embeddings `b e` of whole texts. `words`: int64 `b t`, padded with `PAD`."""
        model, mask = self.flava.text_model, _attended(words)
        states = run_layers(model.encoder.layer[:-1], self._embed_texts(words), mask)
        return self._text_vector(model.encoder.layer[-1](states, mask, _first(states)))

    def image_features(self, pixels: Tensor) -> Tensor:
        """The image encoder's state at its first token, normed: `b d`. What a classifier of pictures sees."""
        model = self.flava.image_model
        states = run_layers(model.encoder.layer[:-1], self._embed_images(pixels))
        features: Tensor = model.layernorm(model.encoder.layer[-1](states, None, _first(states))[:, 0])
        return features

    def text_features(self, words: Tensor) -> Tensor:
        """The same of the text encoder: `b d`."""
        model, mask = self.flava.text_model, _attended(words)
        states = run_layers(model.encoder.layer[:-1], self._embed_texts(words), mask)
        features: Tensor = model.layernorm(model.encoder.layer[-1](states, mask, _first(states))[:, 0])
        return features

    def pair_features(self, image_states: Tensor, words: Tensor, places: Tensor | None = None) -> Tensor:
        """The multimodal encoder over whole or masked states.

        Args:
            image_states: `b 1+p d`, of `image_states`.
            words: int64 `b t`; a word to be filled in is the mask token.
            places: int64 `b k`, of the text, whose states are wanted too; None: the first token's alone.

        Returns:
            `b 1+k d`, normed: the multimodal first token, then the text's places.
        """
        text = run_layers(self.flava.text_model.encoder.layer, self._embed_texts(words), _attended(words))
        asked = torch.zeros(len(words), 1, dtype=torch.int64, device=words.device)
        if places is not None:
            asked = torch.cat((asked, places + 1 + image_states.shape[1]), dim=1)
        return self._fuse(image_states, text, words, asked)

    def image_states(self, pixels: Tensor, places: Tensor | None = None) -> Tensor:
        """States of all places `b 1+p d`, before the last norm, as the multimodal encoder takes them.

        Args:
            pixels: float `b 3 h w`, normalised.
            places: int64 `b k`, of the patches to mask; None: none.
        """
        embedded = self._embed_images(pixels) if places is None else self._masked_images(pixels, places)[0]
        return run_layers(self.flava.image_model.encoder.layer, embedded)

    def masked_images(self, pixels: Tensor, places: Tensor) -> Tensor:
        """Masked pictures alone, for masked image modelling.

        Args:
            pixels: float `b 3 h w`, normalised.
            places: int64 `b k`, of the masked patches; one may be named twice.

        Returns:
            `b k d`: normed states at the masked patches.
        """
        model = self.flava.image_model
        states = run_layers(model.encoder.layer[:-1], self._masked_images(pixels, places)[0])
        found: Tensor = model.layernorm(model.encoder.layer[-1](states, None, places + 1))
        return found

    def masked_texts(self, words: Tensor, places: Tensor) -> Tensor:
        """Masked texts alone, for masked language modelling.

        Args:
            words: int64 `b t`, masked already.
            places: int64 `b k`, whose states are wanted.

        Returns:
            `b k d`: normed states there.
        """
        model, mask = self.flava.text_model, _attended(words)
        states = run_layers(model.encoder.layer[:-1], self._embed_texts(words), mask)
        found: Tensor = model.layernorm(model.encoder.layer[-1](states, mask, places))
        return found

    def pairs(
        self,
        pixels: Tensor,
        words: Tensor,
        masked_words: Tensor,
        patch_places: Tensor,
        word_places: Tensor,
        *,
        contrast: bool = True,
        fuse: bool = True,
    ) -> PairStates:
        """Pictures with texts, masked and whole, in one pass of each encoder.

        Args:
            pixels: float `b 3 h w`, normalised.
            words: int64 `b t`, the pictures' own texts, whole.
            masked_words: int64 `b t'`, the texts that are read with the pictures, masked.
            patch_places: int64 `b k`, of the masked patches.
            word_places: int64 `b k'`, of the masked words.
            contrast: whether embeddings of the whole pictures and texts are wanted.
            fuse: whether the states of the masked pair are wanted.
        """
        images = texts = None
        if not fuse:
            return PairStates(self.encode_images(pixels), self.encode_texts(words), None, None, None)
        model = self.flava.image_model
        embedded = torch.cat(self._masked_images(pixels, patch_places)[: 1 + contrast])
        masked, whole = _run_stacked(model.encoder.layer, embedded, None, len(pixels))
        if whole is not None:
            images = self._image_vector(whole)
        reader = self.flava.text_model
        stacked = masked_words if not contrast else _stack(masked_words, words)
        read, own = _run_stacked(
            reader.encoder.layer, self._embed_texts(stacked), _attended(stacked), len(words)
        )
        if own is not None:
            texts = self._text_vector(own)
        padded = stacked[: len(words)]
        asked = torch.cat(
            (
                torch.zeros_like(patch_places[:, :1]),
                patch_places + 2,  # behind the multimodal and the picture's first token
                word_places + 1 + masked.shape[1],
            ),
            dim=1,
        )
        states = self._fuse(masked, read, padded, asked)
        border = 1 + patch_places.shape[1]
        return PairStates(images, texts, states[:, 0], states[:, 1:border], states[:, border:])

    def match(self, first: Tensor) -> Tensor:
        """Logits `b 2` (no, yes): do picture and text belong together? `first`: `b d`, of the multimodal encoder."""
        # The head picks the first of a sequence by itself.
        logits: Tensor = self.itm_head(first[:, None])
        return logits

    def _fuse(self, image_states: Tensor, text_states: Tensor, words: Tensor, places: Tensor) -> Tensor:
        """`b k d`: normed states of the multimodal encoder at `places` of [first; picture; text]."""
        model = self.flava.multimodal_model
        states = torch.cat(
            (
                model.cls_token.expand(len(words), -1, -1),
                self.flava.image_to_mm_projection(image_states),
                self.flava.text_to_mm_projection(text_states),
            ),
            dim=1,
        )
        before = words.new_ones(len(words), states.shape[1] - words.shape[1], dtype=torch.bool)
        mask = torch.cat((before, words != PAD), dim=1)[:, None, None]
        *early, last = model.encoder.layer
        fused: Tensor = model.layernorm(last(run_layers(early, states, mask), mask, places))
        return fused

    def _patches(self, pixels: Tensor) -> Tensor:
        size = self.config.image.image_size
        assert pixels.shape[1:] == (3, size, size), (
            f"pixels are {tuple(pixels.shape)}, not (b, 3, {size}, {size})"
        )
        patches: Tensor = self.flava.image_model.embeddings.patch_embeddings.projection(pixels)
        return patches.flatten(2).transpose(1, 2)  # b p d

    def _with_positions(self, patches: Tensor) -> Tensor:
        embeddings = self.flava.image_model.embeddings
        first = embeddings.cls_token.expand(len(patches), -1, -1)
        placed: Tensor = torch.cat((first, patches), dim=1) + embeddings.position_embeddings
        return placed

    def _embed_images(self, pixels: Tensor) -> Tensor:
        return self._with_positions(self._patches(pixels))

    def _masked_images(self, pixels: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded pictures with the mask token at `places`, and whole; the patches are projected once."""
        patches = self._patches(pixels)
        masked = torch.zeros(patches.shape[:2], dtype=torch.bool, device=pixels.device).scatter(
            1, places, value=True
        )
        token = self.flava.image_model.embeddings.mask_token
        assert token is not None, "the config asks for a mask token"
        return self._with_positions(
            torch.where(masked[..., None], token.to(patches.dtype), patches)
        ), self._with_positions(patches)

    def _embed_texts(self, words: Tensor) -> Tensor:
        length = self.config.text.context_length
        assert words.shape[1] <= length, f"a text of {words.shape[1]} word pieces is longer than {length}"
        embedded: Tensor = self.flava.text_model.embeddings(words)
        return embedded

    def _image_vector(self, first: Tensor) -> Tensor:
        return _unit(self.flava.image_projection(self.flava.image_model.layernorm(first[:, 0])))

    def _text_vector(self, first: Tensor) -> Tensor:
        return _unit(self.flava.text_projection(self.flava.text_model.layernorm(first[:, 0])))


def _run_stacked(
    layers: nn.ModuleList, states: Tensor, mask: Tensor | None, masked: int
) -> tuple[Tensor, Tensor | None]:
    """All states of the first `masked` samples, and of the others, where there are any, that of the first place."""
    *early, last = layers
    states = run_layers(early, states, mask)
    head_mask, tail_mask = (None, None) if mask is None else (mask[:masked], mask[masked:])
    whole = states[masked:]
    return (
        last(states[:masked], head_mask),
        last(whole, tail_mask, _first(whole)) if len(whole) else None,
    )


def _first(states: Tensor) -> Tensor:
    return torch.zeros(len(states), 1, dtype=torch.int64, device=states.device)


def _attended(words: Tensor) -> Tensor:
    return (words != PAD)[:, None, None]


def _stack(first: Tensor, second: Tensor) -> Tensor:
    """Two batches of texts as one, padded to the longer."""
    length = max(first.shape[1], second.shape[1])
    return torch.cat([F.pad(words, (0, length - words.shape[1]), value=PAD) for words in (first, second)])


def _unit(x: Tensor) -> Tensor:
    # In bfloat16 the norm would be off by some thousandths.
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
