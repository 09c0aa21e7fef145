"""FLAVA as a user meets it: pictures and sentences in; embeddings, rankings and missing words out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from visionsmith.config import encode
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.io import read_image
from visionsmith.papers.clip import normalise, resize_and_crop
from visionsmith.papers.flava.codebook import Codebook
from visionsmith.papers.flava.model import FLAVA
from visionsmith.papers.flava.words import Words
from visionsmith.papers.vocabulary import vocabulary_file

if TYPE_CHECKING:
    from visionsmith.train.task import Export

__all__ = ["CODEBOOK_FILE", "Flava", "codebook_file", "to_square"]

CODEBOOK_FILE = "codebook.safetensors"
"""Name of the codebook in a checkpoint."""
BATCH = 128

Picture = np.ndarray | Path | str
T = TypeVar("T")


class Flava:
    """A FLAVA with its vocabulary, preprocessing and, where there is one, its codebook.

    flava = visionsmith.load("flava")
    flava.rank("photo.jpg", ["a cat", "a dog"])      # [("a cat", 0.98, 0.9), ...]: contrastive, matching
    flava.fill("a [MASK] cat", "photo.jpg")          # [[("black", 0.7), ...]]
    """

    def __init__(self, model: FLAVA, words: Words, codebook: Codebook | None = None) -> None:
        self.model, self.words, self.codebook = model, words, codebook

    def export(self, state: dict[str, Tensor]) -> Export:
        """The checkpoint of a state dict of this model and its codebook: matrices in float16, the rest in float32."""
        from visionsmith.train.task import Export

        files = vocabulary_file(self.words.tokenizer)
        if self.codebook is not None:
            files |= codebook_file(self.codebook)
        return Export(config=encode(self.model.config), tensors=_small(state), files=files)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.logit_scale.device

    def to(self, device: str | torch.device) -> Flava:
        """Move the model."""
        self.model.to(device)
        if self.codebook is not None:
            self.codebook.to(device)
        return self

    def require_codebook(self) -> Codebook:
        """The codebook.

        Raises:
            CheckpointError: there is none.
        """
        if self.codebook is None:
            raise CheckpointError(
                "this FLAVA came without its codebook", do="give a checkpoint that holds one"
            )
        return self.codebook

    def pixels(self, pictures: Sequence[Picture]) -> Tensor:
        """Files or arrays (RGB HWC uint8) as the image encoder takes them: float32 `b 3 h w`, on the device."""
        size = self.model.config.image.image_size
        squares = np.stack([to_square(picture, size) for picture in pictures])
        return normalise(torch.from_numpy(squares).to(self.device))

    def encode_images(self, pictures: Iterable[Picture]) -> Tensor:
        """Unit-norm embeddings `n e` of pictures, float32 on the CPU."""
        return self._in_batches(pictures, lambda batch: self.model.encode_images(self.pixels(batch)))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit-norm embeddings `n e` of texts, float32 on the CPU; longer texts than the context are cut."""
        return self._by_length(texts, lambda batch: self.model.encode_texts(self._encode(batch)))

    def image_features(self, pictures: Iterable[Picture]) -> Tensor:
        """What a classifier of pictures learns from: `n d`, the image encoder's first token."""
        return self._in_batches(pictures, lambda batch: self.model.image_features(self.pixels(batch)))

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """What a classifier of texts learns from: `n d`, the text encoder's first token."""
        return self._by_length(texts, lambda batch: self.model.text_features(self._encode(batch)))

    def pair_features(self, pictures: Iterable[Picture], texts: Sequence[str]) -> Tensor:
        """What a classifier of pairs learns from: `n d`, the multimodal encoder's first token, row by row."""

        def embed(batch: list[tuple[Picture, str]]) -> Tensor:
            states = self.model.image_states(self.pixels([picture for picture, _ in batch]))
            return self.model.pair_features(states, self._encode([text for _, text in batch]))[:, 0]

        return self._in_batches(zip(pictures, texts, strict=True), embed)

    def matches(self, pictures: Iterable[Picture], texts: Sequence[str]) -> Tensor:
        """Probability that each picture and the text of the same row belong together: `n`, float32 on the CPU."""
        first = self.pair_features(pictures, texts)
        with torch.no_grad():
            return self.model.match(first.to(self.device)).float().softmax(dim=1)[:, 1].cpu()

    def rank(self, picture: Picture, texts: Sequence[str]) -> list[tuple[str, float, float]]:
        """(text, its share by the contrastive scores, probability of a match), the best contrastive score first."""
        return self.rank_all([picture], texts)[0]

    def rank_all(
        self, pictures: Iterable[Picture], texts: Sequence[str]
    ) -> list[list[tuple[str, float, float]]]:
        """`rank` for several pictures.

        Raises:
            ConfigError: there are no texts.
        """
        texts = list(dict.fromkeys(texts))
        if not texts:
            raise ConfigError("no texts were given", do='give some, as in --texts "a cat, a dog"')
        own = self.encode_texts(texts)
        scale = float(self.model.logit_scale.detach().exp())
        found = []
        for picture in pictures:
            shares = (scale * self.encode_images([picture]) @ own.T).softmax(dim=1)[0].tolist()
            matches = self.matches([picture] * len(texts), texts).tolist()
            rows = list(zip(texts, shares, matches, strict=True))
            found.append(sorted(rows, key=lambda row: row[1], reverse=True))
        return found

    @torch.no_grad()
    def fill(
        self, text: str, picture: Picture | None = None, *, top: int = 5
    ) -> list[list[tuple[str, float]]]:
        """The likeliest word pieces for each "[MASK]" of a text: (piece, probability), the likeliest first.

        Args:
            text: with at least one "[MASK]".
            picture: what the text is about; None: the text alone.
            top: how many pieces.

        Raises:
            ConfigError: there is no "[MASK]".
        """
        framed, where = self.words.places_to_fill(text)
        words = torch.from_numpy(framed)[None].to(self.device)
        places = torch.tensor([where], device=self.device)
        with self.judging():
            if picture is None:
                logits = self.model.mlm_head(self.model.masked_texts(words, places))[0]
            else:
                states = self.model.image_states(self.pixels([picture]))
                logits = self.model.mmm_text_head(self.model.pair_features(states, words, places)[:, 1:])[0]
        logits = logits.float()
        # A special token is no word; published vocabularies hold them among the first ids.
        special = [self.words.first, self.words.last, self.words.mask, self.words.unknown, 0]
        logits[:, special] = -torch.inf
        best = logits.softmax(dim=-1).topk(min(top, self.words.size), dim=-1)
        return [
            [
                (self.words.word(piece), share)
                for piece, share in zip(pieces.tolist(), shares.tolist(), strict=True)
            ]
            for pieces, shares in zip(best.indices, best.values, strict=True)
        ]

    def _encode(self, texts: Sequence[str]) -> Tensor:
        return self.words.encode(texts).to(self.device)

    def _by_length(self, texts: Sequence[str], embed: Callable[[list[str]], Tensor]) -> Tensor:
        # Sorted by length, each batch is padded to about its own longest text.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        found = self._in_batches([texts[place] for place in order], embed)
        result = torch.empty_like(found)
        result[order] = found
        return result

    @contextmanager
    def judging(self) -> Iterator[None]:
        """In evaluation mode, and afterwards as before."""
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    @torch.no_grad()
    def _in_batches(self, items: Iterable[T], embed: Callable[[list[T]], Tensor]) -> Tensor:
        """Embed batch by batch; no more than one batch of items is held at a time."""
        stream, parts = iter(items), []
        with self.judging():
            while batch := list(islice(stream, BATCH)):
                parts.append(embed(batch).float().cpu())
        return torch.cat(parts) if parts else torch.empty(0, self.model.config.embed_dim)


def codebook_file(codebook: Codebook) -> dict[str, bytes]:
    """The file of a codebook, for `Export.files`."""
    from safetensors.torch import save

    return {CODEBOOK_FILE: save({name: t.contiguous() for name, t in _small(codebook.state_dict()).items()})}


def _small(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in float16, since three digits are what training leaves; the rest as it is."""
    return {
        name: value.half() if value.ndim >= 2 and value.is_floating_point() else value
        for name, value in state.items()
    }


def to_square(picture: Picture, size: int) -> np.ndarray:
    """A file or array as the model looks at it: RGB uint8 (size, size, 3), the centre square of what is longer."""
    image = picture if isinstance(picture, np.ndarray) else read_image(Path(picture))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ConfigError(
            f"a picture is {image.dtype} of shape {image.shape}",
            do="give RGB arrays of uint8, height x width x 3",
        )
    return image if image.shape[:2] == (size, size) else resize_and_crop(image, size)
