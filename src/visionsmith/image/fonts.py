"""Which font writes a text, chosen by the characters that it has; a character is never drawn as a box.

Looked at in this order, the first that has every character of the text:

1. a font file that the caller names, and then no other;
2. an installed font package (`pip install 'visionsmith[fonts]'`, or another of the pylopdf-fonts-* family),
   when the text has letters beyond Latin, Greek and Cyrillic;
3. DejaVu Sans, which matplotlib carries: Latin, Greek, Cyrillic, Arabic, Hebrew and many signs;
4. the font inside OpenCV 5: all 11,172 Hangul syllables, Han and Kana, on every machine, nothing to install;
5. fonts of the system.

Files are drawn by FreeType (Pillow), which sets right-to-left and joined scripts as they are read where it
has the library Raqm; OpenCV's font is drawn by OpenCV, which sets one character after the other and is therefore
not asked for those scripts.
"""

from __future__ import annotations

import os
import sys
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont, features

from visionsmith.errors import ConfigError

__all__ = ["Font", "font_for", "normalise"]

_ENDINGS = frozenset({".ttf", ".otf", ".ttc"})
_PACKAGE_OF = {
    "HANGUL": "ko",
    "HIRAGANA": "jp",
    "KATAKANA": "jp",
    "CJK": "zh-cn",
    "DEVANAGARI": "hi",
    "THAI": "th",
    "ARABIC": "ar",
    "HEBREW": "he",
}
"""The first word of a character's Unicode name, and the package pylopdf-fonts-... that has its script."""
_PLAIN_END = 0x0530
"""Latin, Greek and Cyrillic lie below."""
_HEAVY = ("bold", "black", "heavy", "italic", "oblique", "light", "thin", "condensed", "mono", "serif")
# OpenCV's font draws from its own state.
_DRAWING = threading.Lock()


@dataclass(frozen=True)
class Font:
    """A font that was chosen, and how to draw with it."""

    name: str
    """Family and style, for people."""
    path: Path | None
    """Its file; None for the one inside OpenCV."""

    def metrics(self, size: int) -> tuple[int, int]:
        """How far a line reaches above and below its baseline, pixels, at a type size in pixels."""
        if self.path is not None:
            ascent, descent = _face(self.path, size).getmetrics()
            return ascent, descent
        # OpenCV does not tell: the height of its Å and the depth of its g, as shares of the size.
        return round(0.94 * size), round(0.25 * size)

    def width(self, line: str, size: int) -> int:
        """Length of a line, pixels."""
        if self.path is not None:
            return round(_face(self.path, size).getlength(line))
        with _DRAWING:
            end, _ = cv2.putText(np.zeros((1, 1), np.uint8), line, (0, 0), (255,), _builtin(), size)
        return int(end[0])

    def draw(self, mask: np.ndarray, line: str, x: int, baseline: int, size: int) -> None:
        """Draw a line into a mask, HW uint8, in place; `x` and `baseline` are where it begins, pixels."""
        if self.path is not None:
            picture = Image.fromarray(mask)
            ImageDraw.Draw(picture).text((x, baseline), line, 255, _face(self.path, size), anchor="ls")
            mask[:] = np.asarray(picture)
        else:
            with _DRAWING:
                cv2.putText(mask, line, (x, baseline), (255,), _builtin(), size)


def font_for(text: str, font: str | Path | None = None) -> Font:
    """The font that writes a text.

    Args:
        text: one or more lines.
        font: a font file (.ttf, .otf, .ttc) that must have every character.

    Raises:
        ConfigError: the file is no font; or no font has some character, which the error names.
    """
    needed = _needed(text)
    shaped = _needs_shaping(normalise(text))
    chosen = _first(needed, shaped=shaped) if font is None else _from_file(Path(font), needed)
    if shaped and chosen.path is not None and not features.check("raqm"):
        raise ConfigError(
            "the text holds marks or right-to-left letters, which Pillow sets rightly only with the library Raqm",
            do="install Pillow from its wheel, and the library fribidi",
        )
    return chosen


def normalise(text: str) -> str:
    """The text as it is drawn: letters and their marks joined where Unicode has one character, tabs as spaces.

    macOS stores file names in pieces, Hangul letter by letter; joined, fonts have them. Joiners and selectors,
    which show nothing, stay only where they shape a script.
    """
    text = unicodedata.normalize("NFC", text).replace("\t", "    ")
    return text if _needs_shaping(text) else "".join(char for char in text if not _unseen(char))


def _needed(text: str) -> frozenset[str]:
    """Characters that need a glyph."""
    return frozenset(char for char in normalise(text) if not char.isspace() and not _unseen(char))


def _needs_shaping(text: str) -> bool:
    """Whether letters must be reordered, joined or stacked: right-to-left scripts, and marks that stay marks."""
    return any(
        unicodedata.bidirectional(char) in ("R", "AL") or unicodedata.category(char) in ("Mn", "Mc")
        for char in text
        if not _unseen(char)
    )


def _unseen(char: str) -> bool:
    """Joiners, direction marks and variation selectors."""
    return unicodedata.category(char) == "Cf" or 0xFE00 <= ord(char) <= 0xFE0F


def _from_file(path: Path, needed: frozenset[str]) -> Font:
    try:
        face = _outlines(path)
    except FileNotFoundError as error:
        raise ConfigError("there is no such font file", where=path, do="give a .ttf, .otf or .ttc") from error
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            "is no font of outlines that FreeType reads", where=path, do="give a .ttf, .otf or .ttc"
        ) from error
    missing = _lacking(face, needed)
    if missing:
        raise ConfigError(f"the font has no {_named(missing)}", where=path, do="name another font, or none")
    return _font(path)


def _first(needed: frozenset[str], *, shaped: bool) -> Font:
    """The first font of the order above."""
    lacks: dict[str, frozenset[str]] = {}
    for path in _candidates(needed):
        try:
            font = _font(path)
            missing = _not_built_in(needed) if path is None else _lacking(_outlines(path), needed)
        except (OSError, RuntimeError):  # a broken font of the system is no affair of this text
            continue
        if not missing and (path is not None or not shaped):
            return font
        lacks[font.name] = missing
    nowhere = frozenset.intersection(*lacks.values())
    if nowhere:
        raise ConfigError(f"no font here has {_named(nowhere)}", do=_advice(nowhere))
    name = min((name for name in lacks if lacks[name]), key=lambda name: len(lacks[name]))
    raise ConfigError(
        f"no single font here has all characters of the text; {name} lacks {_named(lacks[name])}",
        do="draw its scripts one by one, or name a font file that has them all",
    )


def _candidates(needed: Iterable[str]) -> Iterator[Path | None]:
    """Font files in the order in which they are tried; None stands for OpenCV's own."""
    if any(char.isalpha() and ord(char) >= _PLAIN_END for char in needed):
        yield from _packaged()
    yield Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    yield None
    yield from _installed()


def _packaged() -> list[Path]:
    """The sans fonts of installed packages of the family; nothing of theirs is run."""
    found = []
    for script in dict.fromkeys(_PACKAGE_OF.values()):
        spec = find_spec(f"pylopdf_fonts_{script.replace('-', '_')}")
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            found += sorted(path for path in Path(folder).iterdir() if path.name.startswith("NotoSans"))
    return [path for path in found if path.suffix.lower() in _ENDINGS]


def _folders() -> list[Path]:
    """Where systems keep their fonts."""
    home = Path.home()
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"]
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    return [
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        home / ".local/share/fonts",
        home / ".fonts",
    ]


@cache
def _installed() -> list[Path]:
    """Fonts of the system, upright sans of ordinary weight first; none of colour, which has no outlines."""
    files = [
        path
        for folder in _folders()
        if folder.is_dir()
        for path in folder.rglob("*")
        if path.suffix.lower() in _ENDINGS and "color" not in path.name.lower()
    ]
    return sorted(files, key=lambda path: (sum(word in path.name.lower() for word in _HEAVY), path.name))


@lru_cache(maxsize=16)
def _outlines(path: Path) -> FT2Font:
    """A font file; one of bitmaps counts as broken, because they come in a few sizes only."""
    face = FT2Font(str(path))
    if not face.scalable:
        raise RuntimeError("a font of bitmaps")
    return face


@lru_cache(maxsize=32)
def _face(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def _font(path: Path | None) -> Font:
    if path is None:
        return Font("OpenCV's built-in Unicode font", None)
    face = _outlines(path)
    return Font(f"{face.family_name} {face.style_name}", path)


def _lacking(face: FT2Font, needed: Iterable[str]) -> frozenset[str]:
    return frozenset(char for char in needed if not face.get_char_index(ord(char)))


@cache
def _builtin() -> cv2.FontFace:
    return cv2.FontFace("uni")


def _not_built_in(needed: Iterable[str]) -> frozenset[str]:
    """Characters that OpenCV's font lacks: it draws a question mark for them, and says nothing."""
    if not _builtin().getName():  # a build of OpenCV without its Unicode font
        return frozenset(needed)
    return frozenset(char for char in needed if char != "?" and _stamp(char) == _stamp("?"))


@lru_cache(maxsize=4096)
def _stamp(char: str) -> bytes:
    canvas = np.zeros((48, 64), np.uint8)
    with _DRAWING:
        cv2.putText(canvas, char, (8, 36), (255,), _builtin(), 32)
    return canvas.tobytes()


def _named(characters: Iterable[str]) -> str:
    """The first characters in words: 'न' (DEVANAGARI LETTER NA), and how many more."""
    ordered = sorted(characters)
    shown = ", ".join(f"{char!r} ({unicodedata.name(char, f'U+{ord(char):04X}')})" for char in ordered[:3])
    return shown + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")


def _advice(missing: Iterable[str]) -> str:
    scripts = [unicodedata.name(char, "?").split()[0] for char in sorted(missing)]
    package = next((_PACKAGE_OF[script] for script in scripts if script in _PACKAGE_OF), None)
    other = f", or pip install pylopdf-fonts-{package}" if package else ""
    return f"name a font file that has it with font{other}"
