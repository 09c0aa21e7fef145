"""LLaVA as a user meets it: pictures and questions in, answers out; one by one, in batches, or as a chat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from visionsmith import checkpoint
from visionsmith.config import encode as plain
from visionsmith.errors import ConfigError, DataError
from visionsmith.image.io import read_image
from visionsmith.papers.clip import normalise, resize_and_crop
from visionsmith.papers.llava.config import LlavaConfig
from visionsmith.papers.llava.conversation import IMAGE_MARK, TEMPLATES, Layout, Turn, encode
from visionsmith.papers.llava.model import Llava
from visionsmith.papers.vocabulary import vocabulary_file
from visionsmith.train.task import Export

__all__ = ["LONGEST", "Assistant", "Chat", "Picture", "layout_of"]

LONGEST = 96
"""Most tokens of an answer, unless more are asked for."""

Picture = np.ndarray | Path | str


def layout_of(config: LlavaConfig, tokenizer: Tokenizer, *, template: str | None = None) -> Layout:
    """How a model's conversations are written; `template` replaces its own."""
    return Layout(
        template=template or config.template,
        tokenizer=tokenizer,
        image_token=config.image_token,
        patches=config.vision.patches,
        context=config.language.context,
        start_token=config.start_token,
        system=config.system,
    )


class Assistant:
    """A LLaVA with its tokenizer and preprocessing.

    assistant = visionsmith.load("llava")
    assistant.ask("scene.png", "What colour is the cat?")      # "red"
    chat = assistant.chat("scene.png"); chat.ask("What is at the top?"); chat.ask("How many things are there?")
    """

    def __init__(self, model: Llava, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.layout = layout_of(model.config, tokenizer)

    def export(self, state: dict[str, Tensor]) -> Export:
        """The checkpoint of a state dict of this model: matrices in float16, all that training leaves."""
        tensors = {name: value.half() if value.ndim > 1 else value for name, value in state.items()}
        if self.model.config.language.tied:
            del tensors["language.lm_head.weight"]
        return Export(config=plain(self.model.config), tensors=tensors, files=vocabulary_file(self.tokenizer))

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `run.load` opens."""
        export = self.export(self.model.state_dict())
        checkpoint.write(
            folder, paper="llava", config=export.config, tensors=export.tensors, files=export.files
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def to(self, device: str | torch.device) -> Assistant:
        """Move the model."""
        self.model.to(device)
        return self

    def ask(self, pictures: Picture | Sequence[Picture], question: str, *, longest: int = LONGEST) -> str:
        """The answer to one question about one picture or several."""
        return self.answer([(_several(pictures), question)], longest=longest)[0]

    def answer(self, asked: Sequence[tuple[Sequence[Picture], str]], *, longest: int = LONGEST) -> list[str]:
        """Answers to questions, each about its own pictures, in one batch; the same as one by one.

        Args:
            asked: pictures (files, or RGB HWC uint8) and a question; no pictures: a question in words alone.
            longest: most tokens of an answer.

        Raises:
            ConfigError: a question is empty or holds a mark of the vocabulary.
            DataError: a picture cannot be read, or a question does not fit into the model's context.
        """
        if not asked:
            return []
        prompts = [
            self.prompt([(_with_marks(self.checked(question), len(pictures)), None)], len(pictures))
            for pictures, question in asked
        ]
        features = self.look([picture for pictures, _ in asked for picture in pictures])
        written = self.write(prompts, features, longest=longest)
        return [self.words(ids) for ids in written]

    def chat(self, pictures: Picture | Sequence[Picture]) -> Chat:
        """A conversation about one picture or several, which keeps what it has read."""
        return Chat(self, _several(pictures))

    @torch.no_grad()
    def look(self, pictures: Sequence[Picture]) -> Tensor | None:
        """What the tower sees in pictures: `p n c`; None where there are none."""
        if not pictures:
            return None
        size = self.model.config.vision.image_size
        images = torch.from_numpy(np.stack([_square(picture, size) for picture in pictures]))
        weight = self.model.vision.embeddings.patch_embedding.weight
        return self.model.look(normalise(images.to(self.device)).to(weight.dtype))

    def prompt(self, turns: Sequence[Turn], pictures: int) -> Tensor:
        """The ids of a conversation that waits for an answer."""
        return encode(turns, self.layout, pictures=pictures).ids.to(self.device)

    @torch.no_grad()
    def write(
        self,
        prompts: Sequence[Tensor],
        features: Tensor | None,
        *,
        longest: int,
        cache: DynamicCache | None = None,
        streamer: BaseStreamer | None = None,
    ) -> list[Tensor]:
        """Go on with prompts, always with the likeliest token: ids of the answers, without the end token.

        Args:
            prompts: ids `t`, of unequal lengths.
            features: of all their pictures, in order.
            longest: most tokens of an answer.
            cache: of the first tokens of a single prompt; what is read and written is added to it.
            streamer: is given each token.
        """
        self.model.eval()
        end = self.model.config.end_token
        most = max(len(ids) for ids in prompts)
        rows = torch.stack([torch.nn.functional.pad(ids, (most - len(ids), 0), value=end) for ids in prompts])
        lengths = torch.tensor([len(ids) for ids in prompts], device=rows.device)
        mask = (torch.arange(most, device=rows.device) >= most - lengths[:, None]).long()
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=longest, do_sample=False, eos_token_id=end, pad_token_id=end, use_cache=True
        )
        language: Any = self.model.language
        written = language.generate(
            inputs_embeds=self.model.embed(rows, features),
            attention_mask=mask,
            generation_config=settings,
            past_key_values=cache,
            streamer=streamer,
            stopping_criteria=self._stops(),
        )
        return [_until(row, end) for row in written]

    def words(self, ids: Tensor) -> str:
        """An answer's text, without what ends it."""
        text: str = self.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        return text.removesuffix(TEMPLATES[self.layout.template].after_answer.strip() or "\n").strip()

    def checked(self, question: str) -> str:
        """A question that can be asked.

        Raises:
            ConfigError: it is empty or holds a mark of the vocabulary.
        """
        question = question.strip()
        if not question:
            raise ConfigError("the question is empty", do='write one, as in --ask "What is at the top?"')
        for mark in (IMAGE_MARK, TEMPLATES[self.layout.template].after_answer.strip()):
            if mark and mark in question:
                raise ConfigError(
                    f"the question holds '{mark}', which has a meaning of its own", do="leave it out"
                )
        return question

    def _stops(self) -> StoppingCriteriaList | None:
        """Where an answer does not end with the end token, its last tokens are read for what ends it."""
        mark = TEMPLATES[self.layout.template].after_answer.strip(" ")
        special = self.tokenizer.id_to_token(self.model.config.end_token)
        return None if mark == special else StoppingCriteriaList([_EndsWith(self.tokenizer, mark)])


class Chat:
    """A conversation that keeps the model's states of the picture and of all earlier turns.

    Each turn the whole conversation is encoded anew, and only what differs from the tokens read before is read: the
    answers are those of a model that remembers nothing and reads all again.
    """

    def __init__(self, assistant: Assistant, pictures: Sequence[Picture]) -> None:
        self.assistant = assistant
        self.turns: list[Turn] = []
        self.read = 0
        """Tokens that the last turn had to read."""
        self._pictures = len(pictures)
        self._features = assistant.look(pictures)
        self._cache = DynamicCache(config=assistant.model.language.config)
        self._ids = torch.empty(0, dtype=torch.int64, device=assistant.device)

    def ask(
        self, question: str, *, longest: int = LONGEST, on_text: Callable[[str], None] | None = None
    ) -> str:
        """The answer to the next question.

        Args:
            question: in words.
            longest: most tokens of the answer.
            on_text: is given the answer piece by piece, as it comes.
        """
        assistant = self.assistant
        question = assistant.checked(question)
        asked = question if self.turns else _with_marks(question, self._pictures)
        ids = assistant.prompt([*self.turns, (asked, None)], self._pictures)
        shared = self._shared(ids)
        if (unlike := self._cache.get_seq_length() - shared) > 0:
            self._cache.crop(-unlike)
        self.read = len(ids) - shared
        streamer = _Pieces(assistant.tokenizer, on_text) if on_text is not None else None
        (written,) = assistant.write(
            [ids], self._features, longest=longest, cache=self._cache, streamer=streamer
        )
        self._ids = torch.cat([ids, written])[: self._cache.get_seq_length()]
        answer = assistant.words(written)
        self.turns.append((asked, answer))
        return answer

    def _shared(self, ids: Tensor) -> int:
        """How many of the first tokens were read before; the last token is always read, for what comes after it."""
        most = min(len(ids) - 1, len(self._ids))
        unlike = (ids[:most] != self._ids[:most]).nonzero()
        return int(unlike[0]) if len(unlike) else most


class _Pieces(BaseStreamer):
    """Text of tokens as they come, as soon as its characters are complete."""

    def __init__(self, tokenizer: Tokenizer, on_text: Callable[[str], None]) -> None:
        self.tokenizer, self.on_text = tokenizer, on_text
        self.ids: list[int] = []
        self.said = ""

    def put(self, value: Tensor) -> None:
        """One more token; the prompt, which has none, comes first."""
        self.ids += value.flatten().tolist()
        self._say(complete=False)

    def end(self) -> None:
        """What was held back, if the answer ends within a character."""
        self._say(complete=True)

    def _say(self, *, complete: bool) -> None:
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True).lstrip()
        if len(text) > len(self.said) and (complete or not text.endswith("\N{REPLACEMENT CHARACTER}")):
            self.on_text(text[len(self.said) :])
            self.said = text


class _EndsWith(StoppingCriteria):
    """Stop a row when its last tokens hold a text."""

    _LOOKED_AT = 8

    def __init__(self, tokenizer: Tokenizer, mark: str) -> None:
        self.tokenizer, self.mark = tokenizer, mark

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        tails = self.tokenizer.decode_batch(
            input_ids[:, -self._LOOKED_AT :].tolist(), skip_special_tokens=False
        )
        return torch.tensor([self.mark in tail for tail in tails], device=input_ids.device)


def _several(pictures: Picture | Sequence[Picture]) -> list[Picture]:
    return [pictures] if isinstance(pictures, np.ndarray | Path | str) else list(pictures)


def _with_marks(question: str, pictures: int) -> str:
    return "".join(f"{IMAGE_MARK}\n" for _ in range(pictures)) + question


def _until(ids: Tensor, end: int) -> Tensor:
    """The ids before the first end token."""
    ends = (ids == end).nonzero()
    return ids[: int(ends[0])] if len(ends) else ids


def _square(picture: Picture, size: int) -> np.ndarray:
    image = picture if isinstance(picture, np.ndarray) else read_image(Path(picture))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f"a picture is {image.dtype} of shape {image.shape}",
            do="give RGB arrays of uint8, height x width x 3",
        )
    return image if image.shape[:2] == (size, size) else resize_and_crop(image, size)
