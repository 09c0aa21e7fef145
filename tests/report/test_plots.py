import io
import math
import warnings

import numpy as np
import pytest
from PIL import Image

from visionsmith.report.page import PLOT_MARK
from visionsmith.report.plots import PALETTE, _smoothed, _spread_out, bars, curves, error_curve


def pixels(png):
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    image.load()
    return np.asarray(image.convert("RGB"))


def where(picture, colour, tolerance=6):
    """Rows and columns of the pixels of a colour `#rrggbb`."""
    wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
    return np.nonzero(np.abs(picture.astype(int) - wanted).max(axis=2) <= tolerance)


STEPS = list(range(1, 41))
FALL = [5 * math.exp(-step / 10) for step in STEPS]


@pytest.mark.parametrize(
    "png",
    [
        curves({"loss": (STEPS, FALL)}, x="step", y="loss"),
        curves(
            {"a": (STEPS, FALL), "b": (STEPS, STEPS)},
            x="s",
            y="v",
            title="T",
            log_x=True,
            log_y=True,
            smooth=0.8,
        ),
        bars({"a": 1.0, "b": 2.0}, y="v"),
        error_curve([1, 2, 4], [0.1, 0.2, 0.3], [0.01, 0.02, 0.01], x_label="x", y_label="y", log_x=True),
    ],
)
def test_size_resolution_and_mark(png):
    assert pixels(png).shape == (540, 936, 3)
    assert round(Image.open(io.BytesIO(png)).info["dpi"][0]) == 144
    assert PLOT_MARK in png[:300]
    assert pixels(png).std() > 5


def test_the_same_data_give_the_same_picture_and_other_data_another():
    def draw(values):
        return curves({"loss": (STEPS, values)}, x="step", y="loss")

    assert draw(FALL) == draw(list(FALL))
    assert draw(FALL) != draw([value + 0.5 * (step == 20) for step, value in zip(STEPS, FALL, strict=True)])


def test_a_rising_line_rises():
    picture = pixels(curves({"": (STEPS, STEPS)}, x="x", y="y"))
    rows, columns = where(picture, PALETTE[0])
    assert np.corrcoef(rows, columns)[0, 1] < -0.99


def test_every_line_has_its_colour():
    series = {f"line {index}": (STEPS, [index] * len(STEPS)) for index in range(len(PALETTE))}
    picture = pixels(curves(series, x="x", y="y"))
    heights = [np.median(where(picture, colour)[0]) for colour in PALETTE]
    assert heights == sorted(heights, reverse=True)  # rows count downwards
    assert min(np.diff(heights[::-1])) > 20


def test_names_stand_at_the_ends_of_lines():
    named = pixels(curves({"first": (STEPS, FALL)}, x="x", y="y"))
    plain = pixels(curves({"": (STEPS, FALL)}, x="x", y="y"))
    assert where(named, PALETTE[0])[1].max() < where(plain, PALETTE[0])[1].max() - 30


def test_bars_are_as_high_as_their_values():
    picture = pixels(bars({"a": 1.0, "b": 2.0, "c": 4.0}, y="v"))
    rows, columns = where(picture, PALETTE[0], tolerance=0)
    # The bars lie apart, so their columns fall into three runs.
    edges = np.flatnonzero(np.diff(np.unique(columns)) > 1)
    runs = np.split(np.unique(columns), edges + 1)
    assert len(runs) == 3
    heights = [np.unique(rows[np.isin(columns, run)]).size for run in runs]
    assert heights[1] / heights[0] == pytest.approx(2, rel=0.03)
    assert heights[2] / heights[0] == pytest.approx(4, rel=0.03)


def test_long_names_lay_the_bars_down():
    values = {f"a name that is rather long {index}": float(index + 1) for index in range(12)}
    picture = pixels(bars(values, y="v"))
    assert picture.shape[1] == 936
    rows, columns = where(picture, PALETTE[0], tolerance=0)
    runs = np.split(np.unique(rows), np.flatnonzero(np.diff(np.unique(rows)) > 1) + 1)
    lengths = [np.unique(columns[np.isin(rows, run)]).size for run in runs]
    assert len(runs) == 12
    assert lengths == sorted(lengths)  # in the order given, from the top
    assert lengths[11] / lengths[0] == pytest.approx(12, rel=0.1)


def test_baseline_and_errors_are_drawn():
    plain = bars({"a": 0.5, "b": 0.7}, y="v", percent=True)
    assert plain != bars({"a": 0.5, "b": 0.7}, y="v", percent=True, baseline=("chance", 0.1))
    assert plain != bars({"a": 0.5, "b": 0.7}, y="v", percent=True, errors={"a": 0.05})
    assert plain != bars({"a": 0.5, "b": 0.7}, y="v")
    line = curves({"a": (STEPS, FALL)}, x="x", y="y")
    assert line != curves({"a": (STEPS, FALL)}, x="x", y="y", baseline=("chance", 1.0))


@pytest.mark.parametrize("error", [0.1, 0.2])
def test_error_bars_reach_as_far_as_the_error_to_either_side(error):
    picture = pixels(bars({"a": 0.5}, y="v", errors={"a": error}))
    rows, columns = where(picture, PALETTE[0], tolerance=0)
    centre = int(np.median(columns))
    top, bottom = rows[columns < centre - 60].min(), rows[columns < centre - 60].max()
    per_unit = (bottom - top + 1) / 0.5
    dark = np.flatnonzero(picture[:, centre].max(axis=1) < 90)
    runs = np.split(dark, np.flatnonzero(np.diff(dark) > 1) + 1)
    longest = max(runs, key=len)
    assert longest.size / per_unit == pytest.approx(2 * error, rel=0.05)
    assert longest.mean() == pytest.approx(top, abs=3)


def test_the_band_is_as_wide_as_the_deviation():
    mean, std = [0.0] * 4, [1.0, 1.0, 0.5, 0.5]
    picture = pixels(error_curve([0, 1, 2, 3], mean, std, x_label="x", y_label="y")).astype(int)
    blue = (picture[:, :, 2] - picture[:, :, 0]) > 15  # the band and the line on it
    assert blue[:, 200].sum() / blue[:, 800].sum() == pytest.approx(2, rel=0.05)
    line = np.median(where(picture, PALETTE[0])[0])
    assert np.flatnonzero(blue[:, 200]).mean() == pytest.approx(line, abs=1.5)


def test_logarithmic_axes_stretch_what_is_small():
    x = [0, 1, 10, 100, 1000]
    linear = pixels(curves({"": (x, x)}, x="x", y="y"))
    both = pixels(curves({"": (x, x)}, x="x", y="y", log_x=True, log_y=True))
    # The marker of 10 is near the corner of the linear plot, and a third along on the logarithmic one.
    assert (where(linear, PALETTE[0])[1] < 200).mean() < 0.4
    rows, columns = where(both, PALETTE[0])
    assert np.corrcoef(rows, columns)[0, 1] < -0.99


@pytest.mark.parametrize("name", ["$\\frac{$", "한국어", "<b>&", "a" * 300, "tab\there", ""])
def test_any_text_can_be_drawn(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(curves({name: (STEPS, FALL)}, x=name, y=name, title=name)).shape == (540, 936, 3)
        pixels(bars({name: 1.0}, y=name, title=name, baseline=(name, 0.5)))
        pixels(error_curve([1], [1], [0], x_label=name, y_label=name, title=name, baseline=(name, 1)))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values",
    [[math.nan] * 40, [math.inf] * 40, [0.0] * 40, [*FALL[:20], *[math.nan] * 20], [1.0, *[math.nan] * 39]],
)
def test_values_that_cannot_be_drawn_leave_gaps(values, log):
    png = curves({"loss": (STEPS, values)}, x="step", y="v", log_x=log, log_y=log, smooth=0.9)
    assert pixels(png).shape == (540, 936, 3)


def test_few_points_empty_series_and_many_series():
    assert pixels(curves({"a": ([], []), "b": ([3], [1.0])}, x="x", y="y")).std() > 5
    pixels(curves({f"{index}": (STEPS, FALL) for index in range(20)}, x="x", y="y"))
    pixels(bars({"a": math.nan, "b": -1.0}, y="y"))
    pixels(bars({"a": 0.0}, y="y", percent=True))


def test_programming_errors_are_refused():
    with pytest.raises(AssertionError, match="no series"):
        curves({}, x="x", y="y")
    with pytest.raises(AssertionError, match="2 x and 3 y"):
        curves({"a": ([1, 2], [1, 2, 3])}, x="x", y="y")
    with pytest.raises(AssertionError, match="no bar"):
        bars({"a": 1.0}, y="y", errors={"b": 1.0})


def test_smoothing_is_the_weighted_line_fit_at_every_point():
    generator = np.random.default_rng(0)
    values = generator.normal(size=30)
    values[[4, 5, 17]] = np.nan
    known, places = np.isfinite(values), np.arange(30)
    smooth = _smoothed(values, 0.8)
    for index in range(30):
        if not known[index]:
            assert math.isnan(smooth[index])
            continue
        weights = 0.8 ** np.abs(places - index)
        # polyfit squares its weights.
        _, level = np.polyfit(places[known] - index, values[known], 1, w=np.sqrt(weights[known]))
        assert smooth[index] == pytest.approx(level, abs=1e-9)


def test_smoothing_keeps_a_line_and_one_point():
    line = 5.0 - 0.1 * np.arange(50)
    np.testing.assert_allclose(_smoothed(line, 0.95), line, atol=1e-9)
    np.testing.assert_allclose(_smoothed(np.array([3.0]), 0.9), [3.0])


def test_labels_are_moved_apart_and_no_further():
    assert _spread_out([0.0, 100.0], gap=10) == [0.0, 100.0]
    assert _spread_out([50.0, 50.0], gap=10) == [45.0, 55.0]
    places = list(np.random.default_rng(1).uniform(0, 100, 8))
    moved = _spread_out(places, gap=9)
    assert np.argsort(moved).tolist() == np.argsort(places).tolist()
    assert np.diff(sorted(moved)).min() >= 9 - 1e-9
