"""Instructions from captions and boxes: by a server that misbehaves, by the grammar, and from the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.papers.test_endpoint import completion, server
from visionsmith.cli.app import app
from visionsmith.errors import ConfigError, DataError, OutputError
from visionsmith.papers.endpoint import Endpoint, EndpointError
from visionsmith.papers.llava.facts import Facts, Thing, invented, of_world
from visionsmith.papers.llava.generate import by_endpoint, by_grammar, checked, generate, open_facts
from visionsmith.papers.llava.spread import in_threads, on_ray

GOOD = [{"question": "What is there?", "answer": "A dog on a sofa."}]
DOG = Facts(
    "1",
    b"",
    ("a dog sleeps on a sofa",),
    (Thing("dog", (0.1, 0.2, 0.3, 0.3)), Thing("couch", (0, 0.4, 1, 0.6))),
)


def coco(folder: Path) -> Path:
    """Two pictures, a caption for one, boxes for both."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "val").mkdir()
    for number in (1, 2):
        image = np.full((60, 80, 3), 40 * number, np.uint8)
        cv2.imwrite(str(folder / "val" / f"{number}.png"), image)
    images = [{"id": number, "file_name": f"{number}.png", "width": 80, "height": 60} for number in (1, 2)]
    boxes = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 6, 24, 30]},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": [60, 6, 16, 30]},
        {"id": 3, "image_id": 2, "category_id": 3, "bbox": [0, 0, 40, 60]},
    ]
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cup"}, {"id": 3, "name": "train"}]
    instances = {"images": images, "annotations": boxes, "categories": categories}
    captions = {"images": images, "annotations": [{"id": 1, "image_id": 1, "caption": "a dog beside a cup"}]}
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(instances))
    (folder / "annotations" / "captions_val.json").write_text(json.dumps(captions))
    return folder / "annotations" / "captions_val.json"


def test_facts_of_coco(tmp_path: Path) -> None:
    facts, _, left_out = open_facts(coco(tmp_path), count=0, seed=0)
    assert [each.captions for each in facts] == [("a dog beside a cup",), ()]
    assert facts[0].things[0] == Thing("dog", (0.1, 0.1, 0.3, 0.5))
    assert (
        facts[0].told()
        == "a dog beside a cup\ndog: [0.100, 0.100, 0.300, 0.500]\ncup: [0.750, 0.100, 0.200, 0.500]"
    )
    assert left_out == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A dog and a cat.", ["cat"]),
        ("Two dogs. There is no cat.", []),
        ("It cannot be a train; cats sleep here.", ["cat"]),
        ("The catalogue is open.", []),
        ("The dog is on the couch.", []),
    ],
)
def test_invented_objects(text: str, found: list[str]) -> None:
    assert invented(text, DOG, ["dog", "cat", "train", "couch"]) == found


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([("What is there?", "A dog.")], None),
        ([("Is there a cat?", "No.")], None),
        ([("Is there a cat?", "Yes.")], "invented: cat"),
        ([("Why does the cat sleep?", "It is tired.")], "invented: cat"),
        ([("What?", "The caption says a dog.")], "it tells how it was made: 'caption'"),
        ([("Where?", "At 0.25, left.")], "it tells how it was made: '0.25'"),
        ([("", "A dog.")], "an empty question or answer"),
        ([("What?", "a dog </s>")], "a mark of the vocabulary in it"),
        ([], "another number of turns: 0"),
        (None, "not the list that was asked for"),
    ],
)
def test_checks(turns: list[tuple[str, str]] | None, reason: str | None) -> None:
    assert checked(turns, DOG, ["cat", "dog"], "conversation") == reason
    if turns and reason is None:
        assert checked(turns * 2, DOG, ["cat"], "detail") == "more than one turn: 2"


def test_a_server_that_misbehaves_costs_nothing_but_what_it_spoiled(tmp_path: Path) -> None:
    facts = open_facts(coco(tmp_path / "coco"), count=0, seed=0)[0]
    state = {"down": True}

    def respond(number: int, body: dict, headers: dict):
        kind = body["messages"][0]["content"]
        about_dog = "dog" in body["messages"][1]["content"]
        if number == 0:
            return 500, "broken", {}
        if number == 1:
            time.sleep(0.6)  # longer than is waited for
        if "reasoning" in kind:
            return (
                (503, "down", {})
                if state["down"]
                else completion("```json\n" + json.dumps(GOOD[0]) + "\n```")
            )
        if "detailed" in kind:
            return completion("Here you are: a dog!")
        text = GOOD if about_dog else [{"question": "What is there?", "answer": "A dog."}]
        return completion(json.dumps(text), prompt=100, answer=20)

    with server(respond) as (url, received):

        def endpoint() -> Endpoint:
            return Endpoint(url, "m", cache=tmp_path / "answers", retries=3, timeout=0.3, wait=0.01)

        with pytest.raises(EndpointError, match="what it answered is kept"):
            generate(facts, tmp_path / "made", by_endpoint(endpoint()))
        assert not (tmp_path / "made").exists(), "nothing half-written"
        asked_before = len(received)
        state["down"] = False
        again = endpoint()
        result = generate(facts, tmp_path / "made", by_endpoint(again))
    assert again.used.cached == 2, "what had been answered is not asked again"
    assert len(received) == asked_before + 4
    reasons = {(entry.key, entry.kind): entry.reason for entry in result.rejected}
    assert reasons == {
        ("1", "detail"): "not the list that was asked for",
        ("2", "detail"): "not the list that was asked for",
        ("2", "conversation"): "invented: dog",
        ("2", "reasoning"): "invented: dog",
    }
    kept = [json.loads(line) for line in (tmp_path / "made" / "rejected.jsonl").read_text().splitlines()]
    assert kept[0]["text"] == "Here you are: a dog!"
    rows = json.loads((tmp_path / "made" / "conversations.json").read_text())
    assert [row["id"] for row in rows] == ["1-conversation", "1-reasoning"]
    assert rows[0]["conversations"] == [
        {"from": "human", "value": "<image>\nWhat is there?"},
        {"from": "gpt", "value": "A dog on a sofa."},
    ]
    assert (tmp_path / "made" / rows[0]["image"]).read_bytes() == (tmp_path / "coco/val/1.png").read_bytes()


def test_the_grammar_says_what_is_true_of_scenes() -> None:
    for facts in of_world(20, 5):
        assert facts.scene is not None
        for kind in ("conversation", "detail", "reasoning"):
            text, turns = by_grammar(1)(facts, kind)
            assert turns is not None
            assert by_grammar(1)(facts, kind)[0] == text, "the same again"
            assert checked(turns, facts, ["cat", "dog", "red cat"], kind) is None
            for question, answer in turns:
                if match := re.fullmatch(r"What colour is the (\w+)\?", question):
                    assert answer in {thing.colour for thing in facts.scene.things if thing.kind == match[1]}
                if question == "How many things are there?":
                    numbers = ["no", "one", "two", "three", "four", "five"]
                    assert answer == numbers[len(facts.scene.things)]


def test_the_grammar_needs_only_boxes(tmp_path: Path) -> None:
    dog, train = open_facts(coco(tmp_path), count=0, seed=0)[0]
    write = by_grammar()
    assert write(dog, "conversation")[1] == [
        ("How many dogs are there?", "one"),
        ("How many cups are there?", "one"),
        ("Is the dog left of the cup?", "yes"),
    ]
    (question, answer), *_ = write(dog, "reasoning")[1] or []
    assert question == "Is the dog left of the cup? Explain your answer."
    assert answer == "The dog is further to the left than the cup. The answer is yes."
    assert (write(dog, "detail")[1] or [])[0][1] == "A dog beside a cup. There are a dog and a cup."
    assert write(train, "reasoning")[1] is None


def test_command_makes_what_training_takes(tmp_path: Path) -> None:
    from visionsmith.data.sources import read_samples

    made = tmp_path / "made"
    result = CliRunner().invoke(app, ["data", "instruct", "scenes", str(made), "--count", "4", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert (told["conversations"], told["rejected"], told["endpoint"]) == (12, {}, None)
    samples = list(read_samples(made / "conversations.json"))
    assert len(samples) == 12
    assert samples[0].meta["conversations"][0]["value"].startswith("<image>\n")
    assert samples[0].image.startswith(b"\x89PNG")
    report = json.loads((made / "report.json").read_text())
    assert report["types"] == {"conversation": 4, "detail": 4, "reasoning": 4}


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    facts = list(of_world(1, 0))
    generate(facts, tmp_path / "made", by_grammar())
    with pytest.raises(OutputError, match="holds conversations already"):
        generate(facts, tmp_path / "made", by_grammar())
    generate(facts, tmp_path / "made", by_grammar(), kinds=["detail"], overwrite=True)
    assert len(json.loads((tmp_path / "made" / "conversations.json").read_text())) == 1
    with pytest.raises(ConfigError, match="no instructions of type 'poem'"):
        generate(facts, tmp_path / "other", by_grammar(), kinds=["poem"])
    (tmp_path / "bare").mkdir()
    cv2.imwrite(str(tmp_path / "bare" / "a.png"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(DataError, match="captions or boxes"):
        open_facts(tmp_path / "bare", count=1, seed=0)


def test_threads_make_the_same_and_ask_at_once(tmp_path: Path) -> None:
    facts = [replace(DOG, key=str(number)) for number in range(6)]
    waiting, most, lock = 0, 0, threading.Lock()

    def respond(number: int, body: dict, headers: dict) -> tuple[int, str, dict[str, str]]:
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        time.sleep(0.05)
        with lock:
            waiting -= 1
        return completion(json.dumps(GOOD))

    with server(respond) as (url, received):
        writer = by_endpoint(Endpoint(url, "m"))
        made = generate(facts, tmp_path / "made", writer, spread=in_threads(4), kinds=["conversation"])
    rows = json.loads((tmp_path / "made" / "conversations.json").read_text())
    assert [row["id"] for row in rows] == [f"{number}-conversation" for number in range(6)]
    assert (made.count, len(received)) == (6, 6)
    assert 2 <= most <= 4


def test_threads_stop_when_the_endpoint_gives_up(tmp_path: Path) -> None:
    facts = [replace(DOG, key=str(number)) for number in range(50)]
    with server(lambda *_: (401, "{}", {})) as (url, received):
        writer = by_endpoint(Endpoint(url, "m"))
        with pytest.raises(EndpointError, match="answered 401"):
            generate(facts, tmp_path / "made", writer, spread=in_threads(4))
    assert len(received) < 20
    assert not (tmp_path / "made").exists()


def test_no_worker_is_a_mistake() -> None:
    for spread in (in_threads, on_ray):
        with pytest.raises(ConfigError, match="workers = 0 is out of range"):
            spread(0)


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install .visionsmith\[ray\]"):
        on_ray(2)


@pytest.mark.slow
def test_ray_makes_the_same_and_counts(tmp_path: Path) -> None:
    """In a process of its own: Ray leaves threads and warnings behind."""
    asked = {"plain": [], "ray": ["--ray", "--workers", "2"]}
    counts = {}
    for name, options in asked.items():
        with server(lambda *_: completion(json.dumps(GOOD))) as (url, received):
            command = [
                sys.executable,
                "-m",
                "visionsmith",
                "data",
                "instruct",
                str(coco(tmp_path / name / "coco")),
            ]
            command += [str(tmp_path / name / "made"), "--endpoint", url, "--model", "m", "--json", *options]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
            counts[name] = json.loads(done.stdout) | {"received": len(received)}
            counts[name].pop("path")
    assert counts["plain"] == counts["ray"]
    assert counts["ray"]["endpoint"]["requests"] == 6
    lists = [(tmp_path / name / "made" / "conversations.json").read_text() for name in asked]
    assert lists[0] == lists[1]
    with server(lambda *_: (401, "{}", {})) as (url, _):
        command = [sys.executable, "-m", "visionsmith", "data", "instruct", "scenes", str(tmp_path / "none")]
        command += ["--count", "3", "--endpoint", url, "--model", "m", "--ray", "--workers", "2"]
        failed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert failed.returncode == 2
    assert "answered 401" in failed.stderr
    assert "Traceback" not in failed.stderr
