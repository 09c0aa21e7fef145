"""What a user of C3 touches: texts into latents, and back; and questions about a text that is latents only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GenerationConfig

from visionsmith.config import encode
from visionsmith.data.progress import DelayedBar
from visionsmith.errors import DataError
from visionsmith.papers.c3.model import C3, Latents
from visionsmith.papers.c3.speech import REPEAT, Speech, filled
from visionsmith.papers.vocabulary import vocabulary_file

if TYPE_CHECKING:
    from visionsmith.train.task import Export

__all__ = ["Answer", "Codec", "Packed"]

T = TypeVar("T")

BATCH = 32
"""Chunks that are read or restored at once."""


@dataclass(frozen=True)
class Packed:
    """A text as latents, chunk by chunk."""

    latents: tuple[Tensor, ...]
    """Of each chunk: `n d`."""
    tokens: tuple[int, ...]
    """Tokens of each chunk."""

    @property
    def ratio(self) -> float:
        """Tokens a latent."""
        return sum(self.tokens) / sum(map(len, self.latents))


@dataclass(frozen=True)
class Answer:
    """What the decoder said."""

    tokens: tuple[int, ...]
    """Without the end of the turn."""
    text: str
    sure: float
    """Geometric mean of the tokens' probabilities, 0 to 1."""


class Codec:
    """A C3 with its vocabulary.

    c3 = visionsmith.load("c3")
    packed = c3.compress("Some text ...")
    c3.restore(packed)
    """

    def __init__(self, model: C3, tokenizer: Tokenizer) -> None:
        """Take a model into use.

        Args:
            model: in evaluation mode where it only answers.
            tokenizer: its vocabulary.
        """
        self.model, self.speech = model, Speech(tokenizer, model.config)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.queries.weight.device

    def to(self, device: str | torch.device) -> Codec:
        """Move the model."""
        self.model.to(device)
        return self

    def digest(self) -> str:
        """A mark of the weights, 16 hexadecimal digits: latents mean something to the model that wrote them alone."""
        found = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            found.update(name.encode())
            # As they are stored: a checkpoint in float16 has one mark, wherever and however it is opened.
            found.update(value.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
        return found.hexdigest()[:16]

    def cut(self, text: str) -> list[list[int]]:
        """The tokens of a text in chunks; nothing is left out.

        Raises:
            DataError: the text is empty.
        """
        ids = self.speech.encode(text)
        if not ids:
            raise DataError("the text is empty", do="give a text with something in it")
        size = self.model.config.chunk
        return [ids[start : start + size] for start in range(0, len(ids), size)]

    def compress(self, text: str, *, progress: bool = False) -> Packed:
        """Read a text of any length into latents.

        Args:
            text: what to keep.
            progress: whether to show a bar.

        Raises:
            DataError: the text is empty.
        """
        chunks = self.cut(text)
        return Packed(self.compress_tokens(chunks, progress=progress), tuple(map(len, chunks)))

    @torch.no_grad()
    def compress_tokens(
        self, chunks: Sequence[Sequence[int]], *, progress: bool = False
    ) -> tuple[Tensor, ...]:
        """Latents `n d` (float32, on the CPU) of chunks of tokens."""
        found: list[Tensor] = []
        with DelayedBar("compressing", len(chunks), show=progress) as bar:
            for part in _parts(chunks):
                ids, present = filled(part, self.speech.fill)
                latents = self.model.compress(ids.to(self.device), present.to(self.device))
                values = latents.values.float().cpu()
                counts = latents.present.sum(dim=1).tolist()
                found += [row[:count].clone() for row, count in zip(values, counts, strict=True)]
                bar.advance(len(part))
        return tuple(found)

    def restore(self, packed: Packed, *, progress: bool = False) -> str:
        """The text of latents, as far as they hold it.

        Args:
            packed: as `compress` gives it.
            progress: whether to show a bar.
        """
        ids = self.restore_tokens(packed, progress=progress)
        # Together: a letter of several bytes may lie across two chunks.
        return self.speech.decode([token for chunk in ids for token in chunk])

    def restore_tokens(self, packed: Packed, *, progress: bool = False) -> list[list[int]]:
        """The tokens of each chunk, as many as it had."""
        found: list[list[int]] = [[] for _ in packed.tokens]
        # Chunks of one length together: none waits for another.
        order = sorted(range(len(found)), key=lambda place: -packed.tokens[place])
        with DelayedBar("restoring", len(order), show=progress) as bar:
            for part in _parts(order):
                longest = max(packed.tokens[place] for place in part)
                settings = self._settings(longest, min_new_tokens=longest)
                ids = self._generate(
                    [packed.latents[place] for place in part], [REPEAT] * len(part), settings
                )
                for place, row in zip(part, ids.sequences.tolist(), strict=True):
                    found[place] = row[: packed.tokens[place]]
                bar.advance(len(part))
        return found

    def ask(
        self,
        latents: Sequence[Tensor],
        instructions: Sequence[str],
        *,
        limit: int = 64,
        progress: bool = False,
    ) -> list[Answer]:
        """What the decoder says to instructions about chunks.

        Args:
            latents: of each chunk, `n d`.
            instructions: one a chunk; a model knows those that it was trained on.
            limit: most tokens of an answer.
            progress: whether to show a bar.
        """
        found: list[Answer] = []
        settings = self._settings(limit, output_logits=True)
        with DelayedBar("asking", len(latents), show=progress) as bar:
            for part in _parts(range(len(latents))):
                output = self._generate(
                    [latents[place] for place in part], [instructions[place] for place in part], settings
                )
                logits = torch.stack(output.logits, dim=1).float()
                chosen = logits.log_softmax(dim=-1).gather(2, output.sequences[:, :, None])[:, :, 0]
                for ids, logs in zip(output.sequences.tolist(), chosen, strict=True):
                    said = ids.index(self.speech.end) if self.speech.end in ids else len(ids)
                    sure = float(logs[: said + 1].mean().exp())
                    found.append(Answer(tuple(ids[:said]), self.speech.decode(ids[:said]), sure))
                bar.advance(len(part))
        return found

    def _settings(self, limit: int, **more: Any) -> GenerationConfig:
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=limit,
            do_sample=False,
            use_cache=True,
            return_dict_in_generate=True,
            pad_token_id=self.speech.fill,
            eos_token_id=self.speech.end,
            **more,
        )

    @torch.no_grad()
    def _generate(
        self, latents: Sequence[Tensor], instructions: Sequence[str], settings: GenerationConfig
    ) -> Any:
        """One batch through the library's own `generate`."""
        most = max(map(len, latents))
        values = torch.zeros(len(latents), most, latents[0].shape[1])
        present = torch.zeros(len(latents), most, dtype=torch.bool)
        for row, own in enumerate(latents):
            values[row, : len(own)], present[row, : len(own)] = own, True
        spoken = self.speech.speak(
            [
                self.speech.prompt(instruction, len(own))
                for instruction, own in zip(instructions, latents, strict=True)
            ]
        )
        given = self.model.decoder_input(
            Latents(values.to(self.device), present.to(self.device)),
            spoken.ids.to(self.device),
            spoken.present.to(self.device),
            spoken.asked.to(self.device),
        )
        decoder: Any = self.model.decoder
        return decoder.generate(
            inputs_embeds=given.states,
            attention_mask=given.present.to(torch.int64),
            position_ids=given.places,
            generation_config=settings,
        )

    def export(self, state: dict[str, Tensor]) -> Export:
        """The checkpoint of a state dict of this model: matrices in float16, gains and biases in float32."""
        from visionsmith.train.task import Export

        tensors = {name: value.half() if value.ndim >= 2 else value.float() for name, value in state.items()}
        return Export(
            config=encode(self.model.config), tensors=tensors, files=vocabulary_file(self.speech.tokenizer)
        )


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
