"""Planted mistakes of a user: each gives one clear sentence and exit code 2, shows no traceback, and loses nothing."""

from __future__ import annotations

import hashlib
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.papers.clip.test_train import mini, picture
from visionsmith.cli import main
from visionsmith.config import to_yaml
from visionsmith.image.io import encode_png
from visionsmith.papers.clip.train import train
from visionsmith.papers.paper import all_papers


@dataclass
class World:
    """A user's files: sound ones, and whatever a mistake adds."""

    root: Path
    sound: dict[str, str] = field(default_factory=dict)

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with captions, a finished run, a record store: made once, copied for each mistake."""
    root = tmp_path_factory.mktemp("made")
    for number, (colour, shape) in enumerate([("red", "disc"), ("blue", "square"), ("green", "disc")] * 8):
        (root / "pets").mkdir(exist_ok=True)
        (root / "pets" / f"{number}.png").write_bytes(encode_png(picture(colour, shape)))
        (root / "pets" / f"{number}.txt").write_text(f"a {colour} {shape}")
    train(mini(steps=1, batch_size=8), data=root / "pets", output=root / "run", progress=False)
    shutil.copytree(root / "run" / "records", root / "store")
    (root / "mini.yaml").write_text(to_yaml(mini(steps=1, batch_size=8)))
    (root / "thesis").mkdir()
    (root / "thesis" / "thesis.txt").write_text("precious")
    return root


@pytest.fixture
def world(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    root = tmp_path / "user"
    shutil.copytree(made, root)
    monkeypatch.chdir(root)
    return World(root, fingerprint(root))


def bomb() -> bytes:
    """A PNG that says it is 60,000 x 60,000 pixels."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


class Evil:
    def __reduce__(self):
        return (open, ("pwned", "w"))


def pickled(world: World) -> None:
    torch.save({"w": torch.ones(2)}, world / "model.pt")


def malicious(world: World) -> None:
    torch.save({"w": Evil()}, world / "evil.pt")


def flip(name: str) -> Callable[[World], None]:
    def change(world: World) -> None:
        content = bytearray((world / name).read_bytes())
        content[len(content) * 2 // 3] ^= 1
        (world / name).write_bytes(content)

    return change


def cut(name: str) -> Callable[[World], None]:
    return lambda world: (world / name).write_bytes((world / name).read_bytes()[:100]) and None


def put(name: str, content: bytes | str) -> Callable[[World], None]:
    return lambda world: world.write(name, content) and None


def broken_tar(world: World) -> None:
    with tarfile.open(world / "shard.tar", "w") as archive:
        archive.add(world / "pets" / "0.png", "0.png")
        archive.add(world / "pets" / "0.txt", "0.txt")
    content = (world / "shard.tar").read_bytes()
    (world / "shard.tar").write_bytes(b"\xff" * 300 + content[300:])


def folder(name: str) -> Callable[[World], None]:
    return lambda world: (world / name).mkdir()


def nothing(world: World) -> None:
    """The mistake is in the command alone."""


TRAIN = "train clip --data pets --config mini.yaml --output new --quiet"
LABEL = "run clip pets/0.png --checkpoint run/model --labels"
PNG = encode_png(np.zeros((8, 8, 3), np.uint8))
UNBUILT = next(paper.name for paper in all_papers() if not paper.verbs)
"""A system of the plan that cannot do anything yet."""
MISTAKES: list[tuple[str, Callable[[World], None], str]] = [
    # the command
    ("train clop --output new", nothing, "there is no system 'clop'; did you mean 'clip'"),
    (f"train {UNBUILT} --output new", nothing, f"'{UNBUILT}' cannot train yet"),
    (f"run {UNBUILT}", nothing, f"'{UNBUILT}' cannot run yet"),
    ("train clip --preset tinny --output new", nothing, "no preset 'tinny'; did you mean 'tiny'"),
    ("train clip --data pets", nothing, "--output is missing"),
    # settings
    (f"{TRAIN} learning_rat=1", nothing, "there is no setting 'learning_rat'"),
    (f"{TRAIN} optim.lrr=1", nothing, "did you mean 'train.optim.lr'"),
    (f"{TRAIN} steps=many", nothing, "train.steps = 'many'"),
    (f"{TRAIN} steps=0", nothing, "steps = 0 is out of range; choose at least 1"),
    (f"{TRAIN} width=8", nothing, "'width' may mean"),
    (f"{TRAIN} steps", nothing, "'steps' is not a setting; write it as key=value"),
    (f"{TRAIN} batch_size=500", nothing, "batch_size = 500 is larger than the data set"),
    (f"{TRAIN} accumulate=3", nothing, "batch_size = 8 is not a multiple of"),
    (f"{TRAIN} precision=fp16", nothing, "precision = 'fp16' needs a GPU"),
    (f"{TRAIN} workers=-1", nothing, "workers = -1 is out of range"),
    (f"{TRAIN} vision.image_size=33", nothing, "is not a multiple of"),
    (f"{TRAIN} tokenizer=absent.gz", nothing, "absent.gz"),
    ("train clip --config absent.yaml --output new", nothing, "absent.yaml: cannot be read"),
    ("train clip --config bad.yaml --output new", put("bad.yaml", "a: [1\nb"), "bad.yaml: is not YAML"),
    (
        "train clip --config odd.yaml --output new",
        put("odd.yaml", "train: {step: 5}"),
        "odd.yaml: there is no setting 'train.step'; did you mean 'train.steps'",
    ),
    (
        "train clip --config other.yaml --output new",
        put("other.yaml", "paper: flava\nrecipe: {}"),
        "other.yaml: is of 'flava', not of 'clip'",
    ),
    # data
    ("train clip --data absent --output new", nothing, "absent: no such file or folder"),
    ("train clip --data empty --output new", folder("empty"), "empty:"),
    (
        "train clip --data bare --config mini.yaml --output new",
        put("bare/a.png", PNG),
        "0 pictures with captions",
    ),
    ("train clip --data pets.csv --output new", put("pets.csv", "a,b\n1,2\n"), "pets.csv:"),
    (
        "train clip --data gone.csv --output new",
        put("gone.csv", "filepath,title\nno.png,a dog\n"),
        "no picture 'no.png'",
    ),
    ("train clip --data nil.csv --output new", put("nil.csv", ""), "nil.csv:"),
    (
        "train clip --data bad.jsonl --output new",
        put("bad.jsonl", '{"image": "pets/0.png"\n'),
        "row 1 is not a JSON",
    ),
    ("train clip --data shard.tar --output new", broken_tar, "the shard is cut short or damaged"),
    (
        "train clip --data notes.docx --output new",
        put("notes.docx", "hello"),
        "is no kind of data that is known",
    ),
    ("evaluate clip --checkpoint run/model --data absent --quiet", nothing, "absent: no such file or folder"),
    # places
    (TRAIN.replace("new", "run"), nothing, "run: holds a run already; add --resume"),
    (TRAIN.replace("new", "thesis"), nothing, "thesis: is not empty and holds no run"),
    (TRAIN.replace("new", "mini.yaml/new"), nothing, "mini.yaml/new: cannot be written"),
    (f"{TRAIN.replace('new', 'run')} --resume lr=5", nothing, "this run was made with data"),
    (
        "evaluate clip --checkpoint run/model --data pets --output thesis --quiet",
        nothing,
        "thesis: is a folder",
    ),
    ("demo --output mini.yaml --quiet", nothing, "mini.yaml: cannot be made"),
    # weights
    ("evaluate clip --checkpoint absent", nothing, "absent"),
    ("evaluate clip --checkpoint thesis", nothing, "thesis"),
    (
        "evaluate clip --checkpoint run/model",
        flip("run/model/model.safetensors"),
        "is damaged: model.safetensors has changed",
    ),
    (
        "evaluate clip --checkpoint run/model",
        cut("run/model/model.safetensors"),
        "is damaged: model.safetensors has 100 bytes",
    ),
    ("evaluate clip --checkpoint model.pt", pickled, "model.pt: is a pickle, which could run code"),
    ("convert official clip absent.pt out", nothing, "absent.pt: no such file"),
    ("convert official clip evil.pt out", malicious, "evil.pt: it asks for"),
    ("convert official clip model.pt out", pickled, "not those of a CLIP"),
    (f"convert official {UNBUILT} model.pt out", pickled, f"'{UNBUILT}' takes no published weights yet"),
    (f"{LABEL} a --checkpoint openai/clip-vit-base-patch32", nothing, "openai/clip-vit-base-patch32"),
    # pictures and words
    ("run clip pets/0.png --checkpoint run/model", nothing, "exactly one of --labels and --search is needed"),
    (f"{LABEL} a --search b", nothing, "exactly one of --labels and --search is needed"),
    ("run clip --labels a --checkpoint run/model", nothing, "no pictures were given"),
    (LABEL.replace("pets/0.png", "absent.png") + " a", nothing, "absent.png: no such picture or folder"),
    (LABEL.replace("pets/0.png", "broken.png") + " a", put("broken.png", PNG[:60]), "broken.png:"),
    (LABEL.replace("pets/0.png", "words.png") + " a", put("words.png", "hello"), "words.png:"),
    (LABEL.replace("pets/0.png", "bomb.png") + " a", lambda w: put("bomb.png", bomb())(w), "bomb.png:"),
    (LABEL.replace("pets/0.png", "empty") + " a", folder("empty"), "empty: holds no pictures"),
    (f"{LABEL} ,", nothing, "no labels were given"),
    (f"{LABEL} a --template photo", nothing, "the template 'photo' has no place for the label"),
    (f"{LABEL} a --output sheet.jpg", nothing, "is not a .png"),
    (f"{LABEL} a --output mini.yaml/sheet.png", nothing, "mini.yaml/sheet.png"),
    # record stores
    ("data pack pets thesis --quiet", nothing, "thesis: exists and is not a record store"),
    ("data pack pets store --quiet", nothing, "store: is a record store already"),
    ("data pack absent new --quiet", nothing, "absent: no such file or folder"),
    ("data pack pets new --size 32 --quiet", nothing, "--size is for 'openmoji' only"),
    ("data verify thesis", nothing, "thesis: is not a record store"),
    ("data verify store", flip("store/data.mdb"), "store: damage in"),
    ("data inspect absent", nothing, "absent"),
    ("data unpack store thesis", nothing, "thesis"),
    ("data balance pets new --queries absent.txt", nothing, "absent.txt: cannot be read"),
    ("data balance pets new --min-count 900", nothing, "no word occurs 900 times"),
]


def test_there_are_enough_mistakes() -> None:
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize(
    ("command", "prepare", "sentence"), MISTAKES, ids=[command for command, *_ in MISTAKES]
)
def test_mistake(
    command: str,
    prepare: Callable[[World], None],
    sentence: str,
    world: World,
    capsys: pytest.CaptureFixture,
) -> None:
    prepare(world)
    before = fingerprint(world.root)
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    said = capsys.readouterr()
    assert stopped.value.code == 2, said.err
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said.err
    assert sentence in errors[0]
    assert errors[0].endswith(".")
    assert "Traceback" not in said.err
    after = fingerprint(world.root)
    lost = {name for name in before if after.get(name) != before[name]}
    assert not lost, f"changed or lost: {lost}"
    assert not (world / "pwned").exists()
    half = [name for name in after if name not in before and not name.startswith(("new/", ".new.partial/"))]
    assert not half, f"left behind: {half}"


def test_no_space_keeps_what_is_there(
    world: World, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visionsmith import checkpoint

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_synced", full)
    with pytest.raises(SystemExit) as stopped:
        main(TRAIN.split())
    assert stopped.value.code == 2
    assert "cannot be written (No space left on device); free some space" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(world.root)
    with pytest.raises(SystemExit) as stopped:
        main([*TRAIN.split(), "--resume"])  # the run goes on once there is space
    assert stopped.value.code == 0
    assert (world / "new" / "model" / "manifest.json").exists()


def test_debug_shows_the_traceback(world: World) -> None:
    from visionsmith.errors import ConfigError

    with pytest.raises(ConfigError):
        main(["train", "clop", "--output", "new", "--debug"])


def test_a_defect_is_not_called_a_mistake(
    world: World, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visionsmith.papers import paper

    monkeypatch.setattr(paper, "all_papers", lambda: 1 / 0)
    monkeypatch.setattr("visionsmith.cli.listing.all_papers", lambda: 1 / 0)
    with pytest.raises(SystemExit) as stopped:
        main(["list"])
    assert stopped.value.code == 1
    assert "defect: ZeroDivisionError" in capsys.readouterr().err


def test_an_interruption_says_so(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("visionsmith.cli.listing.all_papers", interrupt)
    with pytest.raises(SystemExit) as stopped:
        main(["list"])
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "stopped\n"
