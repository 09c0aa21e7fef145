from __future__ import annotations

import pytest

from visionsmith.config import config, decode, encode, override, read_yaml, to_yaml
from visionsmith.errors import ConfigError


@config
class Inner:
    lr: float = 5e-4
    name: str = "adam"
    sizes: tuple[int, ...] = (1, 2)


@config
class Other:
    lr: float = 1.0


@config
class Recipe:
    optim: Inner = Inner()
    other: Other = Other()
    steps: int = 10
    ema: float | None = None
    parts: tuple[Inner, ...] = ()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"steps = {self.steps} is out of range", do="choose at least 1")


def test_yaml_round_trip_keeps_types(tmp_path) -> None:
    made = Recipe(optim=Inner(lr=1e-6, name="5e-4", sizes=(3,)), ema=0.5, parts=(Inner(lr=2.0),))
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(made))
    assert decode(Recipe, read_yaml(file)) == made
    assert isinstance(read_yaml(file)["optim"]["lr"], float), (
        "1e-06 is a string to YAML; the writer must not write it"
    )


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("optim.lr=1e-3", {"optim": {"lr": 1e-3}}),
        ("steps=7", {"steps": 7}),
        ("sizes=[4, 5]", {"optim": {"sizes": [4, 5]}}),
        ("ema=null", {"ema": None}),
        ("ema=0.9", {"ema": 0.9}),
        ("name=x=y", {"optim": {"name": "x=y"}}),
    ],
)
def test_override(setting: str, expected: dict) -> None:
    plain = encode(override(Recipe(), [setting]))
    for key, value in expected.items():
        found = plain[key]
        assert (found | value if isinstance(value, dict) else value) == found


def test_override_reaches_into_lists() -> None:
    base = Recipe(parts=(Inner(), Inner()))
    assert override(base, ["parts.1.lr=3"]).parts[1].lr == 3
    assert override(base, ["parts.1.lr=3"]).parts[0].lr == 5e-4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optm.lr=1", "there is no setting 'optm.lr'; did you mean 'optim.lr'"),
        ("stepz=1", "there is no setting 'stepz'; did you mean 'steps'"),
        ("lr=1", "'lr' may mean optim.lr or other.lr; write one of them in full"),
        ("steps", "'steps' is not a setting; write it as key=value"),
        ("steps=many", "steps = 'many': input should be a valid integer"),
        ("steps=0", "steps = 0 is out of range; choose at least 1"),
        ("optim.sizes=[a]", "optim.sizes.0 = 'a'"),
        ("steps=[1", "the value is not YAML"),
    ],
)
def test_mistakes(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(Recipe(), [setting])
    assert message in str(caught.value)


def test_unknown_keys_in_a_file_are_refused(tmp_path) -> None:
    with pytest.raises(
        ConfigError, match=r"recipe.yaml: there is no setting 'optim.lrr'; did you mean 'optim.lr'"
    ):
        override(Recipe(), {"optim": {"lrr": 1}}, where="recipe.yaml")
    file = tmp_path / "bad.yaml"
    file.write_text("a: [1\nb: 2\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_yaml(file)
    file.write_text("- 1\n")
    with pytest.raises(ConfigError, match="does not hold"):
        read_yaml(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "absent.yaml")
