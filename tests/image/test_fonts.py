"""Which font writes what, with fontTools' character maps and OpenCV's pictures as the oracles."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont

from visionsmith.errors import ConfigError
from visionsmith.image import fonts
from visionsmith.image.draw import text
from visionsmith.image.fonts import font_for

FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
DEJAVU, STIX = FOLDER / "DejaVuSans.ttf", FOLDER / "STIXGeneral.ttf"
SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4)]
WHITE = np.full((60, 300, 3), 255, np.uint8)


@pytest.fixture(autouse=True)
def _no_system_fonts(monkeypatch: pytest.MonkeyPatch):
    """What is installed on a machine decides nothing here."""
    monkeypatch.setattr(fonts, "_folders", list)
    fonts._installed.cache_clear()
    yield
    fonts._installed.cache_clear()


def only_in(path: Path, count: int) -> str:
    """Letters and signs that a font has and neither DejaVu Sans nor OpenCV's font has."""
    known = TTFont(DEJAVU).getBestCmap()
    found = [
        chr(code)
        for code in TTFont(path).getBestCmap()
        if code not in known and unicodedata.category(chr(code)) in ("Ll", "Lu", "So", "Sm")
    ]
    return "".join(sorted(fonts._not_built_in(found))[:count])


@pytest.mark.parametrize("content", ["Hello", "Ångström €", "Ελλάς", "жизнь", "✓ → ♥", "😀", "שלום", "مرحبا"])
def test_dejavu_writes_what_it_has(content: str) -> None:
    chosen = font_for(content)
    assert chosen.path == DEJAVU
    assert chosen.name == "DejaVu Sans Book"


def test_the_font_in_opencv_has_every_hangul_syllable() -> None:
    assert font_for("".join(SYLLABLES)).path is None
    assert "OpenCV" in font_for("안녕").name
    # Real letters, not one box for all: each has a picture of its own.
    assert len({fonts._stamp(char) for char in SYLLABLES[::7]}) == len(SYLLABLES[::7])


@pytest.mark.parametrize("content", ["안녕, world!", "日本語", "ひらがな カタカナ", "中文 ✓"])
def test_east_asian_text_needs_no_package(content: str) -> None:
    assert font_for(content).path is None


def test_coverage_of_files_is_that_of_their_character_maps() -> None:
    characters = [chr(code) for code in range(0x20, 0x3100)]
    for path in (DEJAVU, STIX):
        known = TTFont(path).getBestCmap()
        lacking = fonts._lacking(fonts._outlines(path), characters)
        assert lacking == {char for char in characters if ord(char) not in known}
        assert 1000 < len(lacking) < len(characters)


def test_coverage_of_the_built_in_font_is_what_it_does_not_replace() -> None:
    probe = [*SYLLABLES[::97], *"नमสไทย😀ꙮᚠ", "?", "A"]
    replaced = fonts._not_built_in(probe)
    assert replaced == set("नमสไทย😀ꙮᚠ")
    for char in probe:
        canvas, mark = np.zeros((2, 60, 60), np.uint8)
        for plane, content in ((canvas, char), (mark, "?")):
            cv2.putText(plane, content, (5, 45), (255,), cv2.FontFace("uni"), 40)
        assert np.array_equal(canvas, mark) == (char in replaced or char == "?")


def test_a_missing_character_is_named_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"'ไ' \(THAI CHARACTER SARA AI MAIMALAI\)") as caught:
        font_for("ไทย")
    assert str(caught.value).endswith("or pip install pylopdf-fonts-th.")
    with pytest.raises(ConfigError, match=r"RUNIC LETTER.* and 3 more; name a font file .* with font\.$"):
        font_for("ᚠᚢᚦᚨᚱᚲ")
    with pytest.raises(ConfigError, match=r"'\\x07' \(U\+0007\)"):
        text(WHITE, "a\x07b", (0, 0))
    with pytest.raises(
        ConfigError, match=r"no single font here has all .*; DejaVu Sans Book lacks '녕'"
    ) as caught:
        font_for("안녕 مرحبا")
    assert "draw its scripts one by one" in str(caught.value)


def test_a_named_font_is_the_only_one_asked(tmp_path: Path) -> None:
    assert font_for("abc", STIX).path == STIX
    assert font_for("abc", str(STIX)).name.startswith("STIXGeneral")
    with pytest.raises(ConfigError, match=r"DejaVuSans.ttf: the font has no '안'"):
        text(WHITE, "안", (0, 0), font=DEJAVU)
    with pytest.raises(ConfigError, match="no such font file"):
        font_for("abc", tmp_path / "none.ttf")
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"not a font at all")
    for path in (broken, tmp_path):
        with pytest.raises(ConfigError, match="is no font of outlines that FreeType reads"):
            font_for("abc", path)


def test_installed_packages_are_asked_first_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "pylopdf_fonts_hi" in str(font_for("नमस्ते").path)
    package = tmp_path / "pylopdf_fonts_he"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('this package was run')")
    shutil.copy(DEJAVU, package / "NotoSansHebrew-Regular.ttf")
    shutil.copy(STIX, package / "NotoSerifHebrew-Regular.ttf")
    monkeypatch.syspath_prepend(tmp_path)
    assert font_for("שלום").path == package / "NotoSansHebrew-Regular.ttf"
    assert font_for("Hello").path == DEJAVU
    assert not any(name.startswith("pylopdf") for name in sys.modules)


def test_system_fonts_come_last_and_plain_ones_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = only_in(STIX, 3)
    assert len(content) == 3
    with pytest.raises(ConfigError):
        font_for(content)
    (tmp_path / "deep").mkdir()
    (tmp_path / "Broken.ttf").write_bytes(b"\0\1\0\0 broken")
    (tmp_path / "readme.txt").write_text("no font")
    for name in ("A-Color.ttf", "A-BoldItalic.ttf", "B-Bold.TTF", "deep/C-Regular.ttf"):
        shutil.copy(STIX, tmp_path / name)
    monkeypatch.setattr(fonts, "_folders", lambda: [tmp_path, tmp_path / "absent"])
    fonts._installed.cache_clear()
    assert font_for(content).path == tmp_path / "deep" / "C-Regular.ttf"
    assert font_for("Hello").path == DEJAVU
    assert font_for("안녕").path is None


def test_letters_in_pieces_are_joined() -> None:
    for whole in ("각났닭 뷁", "Ångström é"):
        pieces = unicodedata.normalize("NFD", whole)
        assert pieces != whole
        assert font_for(pieces) == font_for(whole)
        assert np.array_equal(text(WHITE, pieces, (5, 5)), text(WHITE, whole, (5, 5)))


def test_signs_that_show_nothing_are_not_drawn() -> None:
    assert font_for("❤\ufe0f").path == DEJAVU
    for bare, marked in (("❤", "❤\ufe0f"), ("ab", "a\u200d\u200eb"), ("안녕", "안\u00ad\ufe0f녕")):
        assert np.array_equal(text(WHITE, marked, (5, 5)), text(WHITE, bare, (5, 5)))
    assert np.array_equal(text(WHITE, "a\tb", (5, 5)), text(WHITE, "a    b", (5, 5)))


def test_joined_scripts_are_refused_where_they_would_be_set_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts.features, "check", lambda name: name != "raqm")
    for content in ("مرحبا", "नमस्ते"):
        with pytest.raises(ConfigError, match="only with the library Raqm"):
            text(WHITE, content, (5, 5))
    assert (text(WHITE, "Hello", (5, 5)) != WHITE).any()
    assert (text(WHITE, "안녕", (5, 5)) != WHITE).any()


def test_a_build_of_opencv_without_its_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_builtin", lambda: cv2.FontFace("no such font"))
    with pytest.raises(ConfigError, match=r"HANGUL SYLLABLE .* or pip install pylopdf-fonts-ko"):
        font_for("안녕")


@pytest.mark.parametrize("content", ["안녕하세요 세계", "Hello Ελλάς", "नमस्ते"])
def test_threads_draw_the_same(content: str) -> None:
    def draw(number: int) -> np.ndarray:
        return text(WHITE, content, (5 + number % 3, 5), size=20 + number % 4)

    alone = [draw(number) for number in range(48)]
    with ThreadPoolExecutor(8) as pool:
        assert all(map(np.array_equal, alone, pool.map(draw, range(48))))
