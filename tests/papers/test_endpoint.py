"""A real server on this machine that behaves badly in every way that servers do."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from visionsmith.errors import ConfigError
from visionsmith.image.io import decode
from visionsmith.papers.endpoint import Endpoint, EndpointError, Price

ASKED = [{"role": "user", "content": "Why?"}]
Answer = tuple[int, str, dict[str, str]]


def completion(text: object = "Because.", prompt: int = 7, answer: int = 3) -> Answer:
    usage = {"prompt_tokens": prompt, "completion_tokens": answer}
    return 200, json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}), {}


@contextmanager
def server(respond: Callable[[int, dict, dict], Answer]) -> Iterator[tuple[str, list[dict]]]:
    """Its address, and the bodies that it was sent. `respond`: number of the request, body, headers -> answer."""
    received: list[dict] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(received)
                received.append(body | {"path": self.path})
            status, text, headers = respond(number, body, dict(self.headers))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", received
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def test_asks_counts_and_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    headers: list[dict] = []

    def respond(number: int, body: dict, sent: dict) -> Answer:
        headers.append(sent)
        return completion(f"answer {number}")

    with server(respond) as (url, received):
        asked = Endpoint(
            url, "m", key_variable="MY_KEY", cache=tmp_path, price=Price(prompt=2.0, answer=10.0)
        )
        first = asked.chat(ASKED, temperature=0.5, most=9)
        again = asked.chat(ASKED, temperature=0.5, most=9)
        other = asked.chat(ASKED, temperature=0.5, most=9, sample=1)
        # A new process finds what was kept; another model does not.
        later = Endpoint(url, "m", cache=tmp_path).chat(ASKED, temperature=0.5, most=9)
        stranger = Endpoint(url, "n", cache=tmp_path).chat(ASKED, temperature=0.5, most=9)
    assert [first.text, again.text, other.text, later.text, stranger.text] == [
        "answer 0", "answer 0", "answer 1", "answer 0", "answer 2",
    ]  # fmt: skip
    assert [first.cached, again.cached, later.cached] == [False, True, True]
    assert (asked.used.requests, asked.used.cached) == (2, 1)
    assert (asked.used.prompt_tokens, asked.used.answer_tokens) == (14, 6)
    assert asked.used.cost == pytest.approx((14 * 2 + 6 * 10) / 1e6)
    assert received[0] == {
        "model": "m", "messages": ASKED, "temperature": 0.5, "max_tokens": 9, "path": "/v1/chat/completions",
    }  # fmt: skip
    assert headers[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in headers[2]
    assert not any("secret" in file.read_text() for file in tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "bad",
    [
        (500, "oops", {}),
        (429, json.dumps({"error": {"message": "slow down"}}), {"Retry-After": "0"}),
        (200, "not json", {}),
        (200, "{}", {}),
        completion(None),
    ],
)
def test_tries_again_and_then_says_why(bad: Answer, tmp_path: Path) -> None:
    with server(lambda number, *_: bad if number < 2 else completion()) as (url, received):
        assert Endpoint(url, "m", wait=0.001).chat(ASKED).text == "Because."
        assert len(received) == 3
    with server(lambda *_: bad) as (url, received):
        asked = Endpoint(url, "m", wait=0.001, retries=1, cache=tmp_path)
        with pytest.raises(EndpointError, match="2 tries; see that it is running"):
            asked.chat(ASKED)
        assert len(received) == 2
        assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "OPENAI_API_KEY"), (404, "model's name"), (400, "complains of")]
)
def test_a_refusal_is_final(status: int, advice: str) -> None:
    refusal = (status, json.dumps({"error": {"message": "no such\nthing"}}), {})
    with server(lambda *_: refusal) as (url, received):
        with pytest.raises(EndpointError, match=rf"answered {status} \(no such thing\).*{advice}"):
            Endpoint(url, "m", wait=0.001).chat(ASKED)
        assert len(received) == 1


def test_nobody_there_and_too_slow() -> None:
    with pytest.raises(EndpointError, match="cannot be reached"):
        Endpoint("http://127.0.0.1:1", "m", wait=0.001, retries=0).chat(ASKED)
    slow = threading.Event()

    def respond(*_: object) -> Answer:
        slow.wait(2)
        return completion()

    with server(respond) as (url, _):
        with pytest.raises(EndpointError, match="Timeout"):
            Endpoint(url, "m", retries=0, timeout=0.1).chat(ASKED)
        slow.set()


def test_a_damaged_answer_in_the_cache_is_asked_again(tmp_path: Path) -> None:
    with server(lambda number, *_: completion(f"answer {number}")) as (url, _):
        asked = Endpoint(url, "m", cache=tmp_path)
        asked.chat(ASKED)
        (file,) = tmp_path.rglob("*.json")
        file.write_text('{"text": "answ', encoding="utf-8")
        assert asked.chat(ASKED).text == "answer 1"
        assert asked.chat(ASKED).cached


def test_several_threads(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with server(lambda _, body, __: completion(body["messages"][0]["content"])) as (url, received):
        asked = Endpoint(url, "m", cache=tmp_path)
        texts = [str(number % 20) for number in range(60)]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda text: asked.chat([{"role": "user", "content": text}]).text, texts))
        assert found == texts
        assert asked.used.requests + asked.used.cached == 60
        assert asked.used.requests == len(received)


def test_pictures_go_along() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    part = Endpoint.image(picture)
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(decode(base64.b64decode(data)), picture)


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="is no address"):
        Endpoint("localhost:8000", "m")
    with pytest.raises(ConfigError, match="no model"):
        Endpoint("http://localhost", "")
