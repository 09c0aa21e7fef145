"""The page of `visionsmith demo`, system by system: pictures inside, no scripts, commands to type next."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from visionsmith.cli import main
from visionsmith.errors import ConfigError
from visionsmith.papers.paper import all_papers

FEWER = {
    "c3.ASKED": 10,
    "crossvit.SHOWN": 80,
    "f3net.PICTURES": 40,
    "flava.ASKED": 40,
    "icedit.SHOWN": 1,
    "icedit.STEPS": 2,
    "ip_adapter.PROMPTS": 2,
    "ip_adapter.STEPS": 2,
    "latent_diffusion.SHOWN": 2,
    "latent_diffusion.STEPS": 2,
    "latent_upscaler.SHOWN": 2,
    "latent_upscaler.STEPS": 2,
    "llava.ASKED": 4,
    "mobilevit.SHOWN": 80,
    "swimbird.ASKED": 2,
    "unclip.SHOWN": 2,
    "unclip.STEPS": 2,
}
"""How much is measured for the tables; here it is enough that there are some."""
DEMONSTRATED = [paper.name for paper in all_papers() if paper.has("demo")]


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pictures, self.scripts = [], 0

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag == "img":
            self.pictures.append(dict(attributes)["src"])
        self.scripts += tag == "script"


@pytest.mark.parametrize("name", DEMONSTRATED)
def test_demonstration(
    name: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting, value in FEWER.items():
        system, constant = setting.split(".")
        monkeypatch.setattr(f"visionsmith.papers.{system}.demo.{constant}", value)
    with pytest.raises(SystemExit) as stopped:
        main(["demo", name, "--output", str(tmp_path / "demo"), "--quiet"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    page = (tmp_path / "demo" / "index.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert links.pictures
    assert all(source.startswith("data:image/") for source in links.pictures)
    assert not links.scripts
    commands = re.findall(r"^  \S*visionsmith (?:run|train) (\w+)", said, re.MULTILINE)
    assert set(commands) == {name}
    assert len(commands) >= 2, "it is run and trained"
    assert "CC BY-SA 4.0" in page or "OpenMoji" not in page
    assert str(tmp_path) not in page.replace(str(tmp_path / "demo"), ""), (
        "no path of this machine but its own"
    )


def test_systems_without_one_are_named(tmp_path: Path) -> None:
    for name, sentence in (("inductive_bias", "has no demonstration"), ("clop", "there is no system 'clop'")):
        with pytest.raises(ConfigError, match=sentence):
            main(["demo", name, "--output", str(tmp_path / "demo"), "--debug"])
    assert not (tmp_path / "demo").exists()
