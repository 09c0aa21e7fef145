"""A chat endpoint that speaks OpenAI's protocol: asked again when it falters, not asked what it has answered.

It makes data (LLaVA's instructions, SwimBird's curation) and judges answers. Nothing is sent anywhere unless a user
names an address; a local server (vLLM, llama.cpp, ollama) does as well as a paid one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.durable import write_whole
from visionsmith.errors import ConfigError, VisionsmithError

if TYPE_CHECKING:
    import httpx
    import numpy as np

__all__ = ["Endpoint", "EndpointError", "Price", "Reply", "Used"]

Message = Mapping[str, Any]
"""{"role": ..., "content": text, or a list of parts}."""

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers after which another try may succeed."""
_LONGEST_WAIT = 60.0
"""Seconds; what a server asks for beyond it is not waited for."""


class EndpointError(VisionsmithError):
    """An endpoint did not answer, or not what was asked for."""


@dataclass(frozen=True)
class Price:
    """What tokens cost, in any currency a million."""

    prompt: float = 0.0
    answer: float = 0.0


@dataclass(frozen=True)
class Reply:
    """An answer."""

    text: str
    prompt_tokens: int
    """As the server counts them; 0 where it does not say."""
    answer_tokens: int
    cached: bool = False
    """Whether it came from the cache, without a request."""


@dataclass(frozen=True)
class Used:
    """What has been used so far."""

    requests: int = 0
    """Sent, those that were tried again included."""
    cached: int = 0
    """Answered from the cache."""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cost: float = 0.0
    """By the price that was given."""


class Endpoint:
    """One model behind one address; may be asked from several threads."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        cache: Path | None = None,
        retries: int = 4,
        timeout: float = 60.0,
        price: Price | None = None,
        wait: float = 1.0,
    ) -> None:
        """Make it; nothing is sent yet.

        Args:
            url: as "http://localhost:8000/v1"; "/chat/completions" is added where it is missing.
            model: name of the model there.
            key_variable: environment variable with the key, sent where it is set.
            cache: folder in which answers are kept by what was asked, so that a run goes on where it stopped.
            retries: more tries after one that failed for a reason that may pass.
            timeout: seconds that one try may take.
            price: of tokens, for `Used.cost`.
            wait: seconds before the second try; doubled each time.

        Raises:
            ConfigError: the address is none.
        """
        if not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"'{url}' is no address of an endpoint", do="give one, as http://localhost:8000/v1"
            )
        if not model:
            raise ConfigError("no model was named", do="give the name that the endpoint knows")
        address = url.rstrip("/")
        self.url = address if address.endswith("/chat/completions") else f"{address}/chat/completions"
        self.model, self.key_variable, self.cache = model, key_variable, cache
        self.retries, self.timeout, self.price, self.wait = retries, timeout, price or Price(), wait
        self._used, self._lock = Used(), threading.Lock()

    @property
    def used(self) -> Used:
        """What has been used so far, of all threads."""
        return self._used

    @staticmethod
    def image(picture: np.ndarray) -> dict[str, Any]:
        """A picture (RGB HWC uint8) as a part of a message's content."""
        from visionsmith.image.io import encode_png

        data = base64.b64encode(encode_png(picture)).decode("ascii")
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}

    def chat(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        most: int = 1024,
        sample: int = 0,
    ) -> Reply:
        """Ask.

        Args:
            messages: the dialogue so far.
            temperature: of the sampling there.
            most: most tokens of the answer.
            sample: number of the sample; another number is another answer to the same question.

        Raises:
            EndpointError: it could not be reached, refused, or sent what is no answer; nothing was kept.
        """
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "temperature": temperature,
            "max_tokens": most,
        }
        if sample:
            body["seed"] = sample
        place = self._place(body)
        if place is not None and (kept := _read(place)) is not None:
            self._count(cached=1)
            return replace(kept, cached=True)
        reply = self._ask(body)
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, json.dumps(asdict(reply), ensure_ascii=False).encode(), synced=False)
        return reply

    def _place(self, body: Mapping[str, Any]) -> Path | None:
        """The file of what is asked: the address belongs to it, the key does not."""
        if self.cache is None:
            return None
        asked = json.dumps([self.url, body], sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(asked.encode()).hexdigest()
        return self.cache / digest[:2] / f"{digest}.json"

    def _ask(self, body: Mapping[str, Any]) -> Reply:
        import httpx

        key = os.environ.get(self.key_variable, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        reason, pause = "", self.wait
        for attempt in range(self.retries + 1):
            if attempt:
                # Threads that were turned away together do not come back together.
                time.sleep(pause * (0.5 + random.random()))
                pause = min(2 * pause, _LONGEST_WAIT)
            self._count(requests=1)
            try:
                response = httpx.post(self.url, json=body, headers=headers, timeout=self.timeout)
            except httpx.HTTPError as error:
                reason = f"cannot be reached ({type(error).__name__}: {error})"
                continue
            if response.status_code in _AGAIN:
                reason = f"answered {response.status_code} ({_message(response)})"
                pause = max(pause, min(_asked_wait(response), _LONGEST_WAIT))
                continue
            if response.status_code != 200:
                raise EndpointError(
                    f"answered {response.status_code} ({_message(response)})",
                    where=self.url,
                    do=_advice(response.status_code, self.key_variable),
                )
            reply = _parse(response)
            if isinstance(reply, Reply):
                self._count(prompt_tokens=reply.prompt_tokens, answer_tokens=reply.answer_tokens)
                return reply
            reason = reply
        tries = self.retries + 1
        raise EndpointError(
            f"{reason}, {tries} tr{'y' if tries == 1 else 'ies'}",
            where=self.url,
            do="see that it is running, and give the same command again: what it answered is kept",
        )

    def add(self, used: Used) -> None:
        """Count what a copy of this endpoint has used in another process."""
        more = asdict(used)
        more.pop("cost")  # follows from the tokens
        self._count(**more)

    def _count(self, **more: int) -> None:
        with self._lock:
            used = self._used
            found = replace(used, **{name: getattr(used, name) + value for name, value in more.items()})
            cost = (found.prompt_tokens * self.price.prompt + found.answer_tokens * self.price.answer) / 1e6
            self._used = replace(found, cost=cost)

    def __getstate__(self) -> dict[str, Any]:
        """For another process: all but the lock."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = threading.Lock()


def _parse(response: httpx.Response) -> Reply | str:
    """The answer, or what is wrong with it."""
    try:
        content = response.json()
        text = content["choices"][0]["message"]["content"]
        used = content.get("usage") or {}
        counts = int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or 0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return f"sent what is no chat completion ('{response.text[:80].strip()}')"
    return Reply(text, *counts) if isinstance(text, str) else "sent an answer without text"


def _read(place: Path) -> Reply | None:
    """A kept answer; None where there is none, or a damaged one."""
    try:
        return Reply(**json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _message(response: httpx.Response) -> str:
    """What a refusal says, in short."""
    try:
        found = response.json()["error"]
        text = found["message"] if isinstance(found, dict) else str(found)
    except (ValueError, KeyError, TypeError):
        text = response.text
    return " ".join(str(text).split())[:160] or "no reason given"


def _asked_wait(response: httpx.Response) -> float:
    try:
        return float(response.headers.get("retry-after", 0))
    except ValueError:
        return 0.0


def _advice(status: int, key_variable: str) -> str:
    if status in (401, 403):
        return f"put a valid key into the environment variable {key_variable}"
    if status == 404:
        return "check the address and the model's name"
    return "mend what it complains of"
