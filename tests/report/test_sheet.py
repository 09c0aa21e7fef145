import numpy as np
import pytest

from visionsmith.report.lettering import UNKNOWN, drawable, lettering
from visionsmith.report.sheet import contact_sheet

# Far from each other, from the frames, from grey and from the ink of the captions.
COLOURS = [
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 0),
    (0, 0, 255),
    (255, 128, 0),
    (128, 0, 255),
    (0, 255, 0),
]


def plain(colour, height=40, width=40):
    return np.full((height, width, 3), colour, np.uint8)


def box(sheet, colour):
    """Top, left, height and width of the pixels of exactly this colour."""
    rows, columns = np.nonzero((sheet == np.array(colour, np.uint8)).all(axis=2))
    assert rows.size, f"{colour} is not on the sheet"
    return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1


def test_pictures_stand_in_a_grid_row_by_row():
    sheet = contact_sheet([plain(colour) for colour in COLOURS], [""] * 7, columns=3, cell=100)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    boxes = [box(sheet, colour) for colour in COLOURS]
    assert {found[2:] for found in boxes} == {(100, 100)}
    tops, lefts = [found[0] for found in boxes], [found[1] for found in boxes]
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4] == tops[5] < tops[6]
    assert tops[3] - tops[0] == tops[6] - tops[3] > 100
    assert lefts[0] == lefts[3] == lefts[6] < lefts[1] == lefts[4] < lefts[2] == lefts[5]
    assert lefts[1] - lefts[0] == lefts[2] - lefts[1] > 100
    # The same margin on the left and on the right.
    assert lefts[0] == sheet.shape[1] - (lefts[2] + 100)
    for colour, top, left in zip(COLOURS, tops, lefts, strict=True):
        assert tuple(sheet[top + 50, left + 50]) == colour


@pytest.mark.parametrize(("height", "width"), [(30, 60), (60, 30), (200, 400), (401, 133), (1, 300), (7, 7)])
def test_pictures_are_scaled_and_never_stretched_or_cut(height, width):
    sheet = contact_sheet([plain((255, 0, 255), height, width)], [""], cell=120)
    top, left, tall, wide = box(sheet, (255, 0, 255))
    scale = 120 / max(height, width)
    assert abs(tall - height * scale) <= 1
    assert abs(wide - width * scale) <= 1
    other = contact_sheet([plain((255, 0, 255), 120, 120)], [""], cell=120)
    cell_top, cell_left, *_ = box(other, (255, 0, 255))
    assert abs((top - cell_top) - (120 - tall) / 2) <= 0.5
    assert abs((left - cell_left) - (120 - wide) / 2) <= 0.5


def test_the_content_of_a_picture_is_kept():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture[0, 0] = picture[-1, -1] = (255, 0, 255)
    sheet = contact_sheet([picture], [""], cell=64)
    found = [
        (row, column)
        for row, column in zip(*np.nonzero((sheet == (255, 0, 255)).all(axis=2)), strict=True)
        if np.array_equal(sheet[row : row + 64, column : column + 64], picture)
    ]
    assert len(found) == 1


def test_fewer_pictures_than_columns_leave_no_empty_columns():
    one = contact_sheet([plain(COLOURS[0])], ["a"], columns=6, cell=100)
    two = contact_sheet([plain(COLOURS[0])] * 2, ["a", "b"], columns=6, cell=100)
    assert 100 < one.shape[1] < 150
    assert one.shape[1] + 100 < two.shape[1] < one.shape[1] + 130


def test_marks_frame_the_picture_and_hide_nothing():
    pictures = [plain((255, 0, 255))] * 3
    marked = contact_sheet(pictures, [""] * 3, cell=100, marks=[True, False, None])
    unmarked = contact_sheet(pictures, [""] * 3, cell=100)
    assert ((marked == (255, 0, 255)).all(axis=2) == (unmarked == (255, 0, 255)).all(axis=2)).all()
    top, left, *_ = box(marked, (255, 0, 255))
    pitch = (box(unmarked, (255, 0, 255))[3] - 100) // 2
    frames = [marked[top + 50, left + index * pitch - 2].astype(int) for index in range(3)]
    assert frames[0][1] > frames[0][0] + 60, "green"
    assert frames[1][0] > frames[1][1] + 60, "red"
    assert np.ptp(frames[2]) < 20, "neither"


def test_captions_are_wrapped_to_three_lines_and_stay_below_their_picture():
    def ink(caption, **options):
        sheet = contact_sheet([plain(COLOURS[0]), plain(COLOURS[1])], [caption, ""], cell=100, **options)
        top, left, *_ = box(sheet, COLOURS[0])
        area = sheet[top + 102 :].astype(int).max(axis=2) < 120
        return sheet, area, left

    for caption in ("word " * 40, "unbroken" * 40, "한국어 " * 40, "two\nlines and\ttab"):
        sheet, area, left = ink(caption)
        assert area.any()
        first = area[: sheet.shape[0]].any(axis=0)
        assert np.flatnonzero(first).max() < left + 100 + 1
    short, long, endless = (ink("word " * count)[0].shape[0] for count in (1, 8, 800))
    assert short < long == endless


def test_a_caption_changes_the_sheet_only_below_its_own_picture():
    pictures = [plain(colour) for colour in COLOURS[:4]]
    first = contact_sheet(pictures, ["a", "b", "c", "d"], columns=2, cell=100)
    second = contact_sheet(pictures, ["a", "b", "X", "d"], columns=2, cell=100)
    rows, columns = np.nonzero((first != second).any(axis=2))
    top, left, *_ = box(first, COLOURS[2])
    assert rows.min() >= top + 100
    assert left <= columns.min() <= columns.max() < left + 100


def test_a_caption_in_hangul_is_set_in_a_font_that_has_it():
    face, text = lettering("여자 a", 20)
    assert text == "여자 a"
    assert face.font.name != "DejaVu Sans"
    first, second = (contact_sheet([plain(COLOURS[0])], [word], cell=200) for word in ("한국어", "일본어"))
    latin = contact_sheet([plain(COLOURS[0])], ["abc"], cell=200)
    assert first.shape == second.shape == latin.shape, "no line at the foot: nothing is missing"
    assert (first != second).any(), "letters, not boxes"


def test_characters_that_no_font_has_are_owned_up_to():
    assert drawable("Ünïcödé Ελλάδα Привет ✓") == "Ünïcödé Ελλάδα Привет ✓"
    assert drawable("여자 a") == f"{UNKNOWN}{UNKNOWN} a"
    private = "\ue123"
    assert lettering(f"{private} a", 20)[1] == f"{UNKNOWN} a"
    latin = contact_sheet([plain(COLOURS[0])], ["abc"], cell=200)
    strange = contact_sheet([plain(COLOURS[0])], [private], cell=200)
    assert strange.shape[0] > latin.shape[0], "a line at the foot says what the boxes are"


def test_a_title_stands_above_the_grid():
    pictures = [plain(COLOURS[0])] * 3
    bare = contact_sheet(pictures, [""] * 3, cell=100)
    titled = contact_sheet(pictures, [""] * 3, cell=100, title="A title " * 30)
    shift = box(titled, COLOURS[0])[0] - box(bare, COLOURS[0])[0]
    assert shift > 10
    assert titled.shape[1] == bare.shape[1]
    np.testing.assert_array_equal(titled[-bare.shape[0] + 20 :], bare[20:])
    assert titled[: shift + 5].min() < 100


@pytest.mark.parametrize(
    ("pictures", "captions", "options", "message"),
    [
        ([], [], {}, "no pictures"),
        ([plain((0, 0, 0))], [], {}, "0 captions for 1 pictures"),
        ([plain((0, 0, 0))], [""], {"marks": [True, False]}, "2 marks for 1"),
        ([np.zeros((4, 4), np.uint8)], [""], {}, "HWC"),
        ([np.zeros((4, 4, 3), np.float32)], [""], {}, "float32"),
    ],
)
def test_programming_errors_are_refused(pictures, captions, options, message):
    with pytest.raises(AssertionError, match=message):
        contact_sheet(pictures, captions, **options)
