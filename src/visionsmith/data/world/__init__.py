"""A world to talk about: scenes of a few things, with boxes, captions, and questions that have exact answers.

It is made from a seed while it is used; nothing is stored. `NEW_PAIRS` are kept for testing.
"""

from visionsmith.data.world.evidence import crop, mark
from visionsmith.data.world.questions import FAMILIES, PAIR_FAMILIES, SCENE_FAMILIES, Question, ask, ask_about
from visionsmith.data.world.scene import PLACES, SIDE, SIZES, Scene, Thing, draw, make_scene, new_thing
from visionsmith.data.world.things import COLOURS, KINDS, NEW_PAIRS, PAIRS, SEEN, drawing, plain
from visionsmith.data.world.words import caption, describe, relation, symbols

__all__ = [
    "COLOURS", "FAMILIES", "KINDS", "NEW_PAIRS", "PAIRS", "PAIR_FAMILIES", "PLACES", "SCENE_FAMILIES", "SEEN", "SIDE",
    "SIZES", "Question", "Scene", "Thing", "ask", "ask_about", "caption", "crop", "describe", "draw", "drawing",
    "make_scene", "mark", "new_thing", "plain", "relation", "symbols",
]  # fmt: skip
