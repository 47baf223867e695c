import pytest

from lightning_xai.visualization.page_layout import font, shortened, text_width, wrapped

_NAME = "West Highland white terrier"


def test_the_typeface_is_the_one_matplotlib_ships():
    assert font(12).getname() == ("DejaVu Sans", "Book")
    assert font(12, bold=True).getname() == ("DejaVu Sans", "Bold")
    assert font(12) is font(12)


@pytest.mark.parametrize("width", [20, 50, 90, 150])
def test_shortened_is_the_longest_that_fits(width):
    line, typeface = shortened(_NAME, font(12), width), font(12)
    beginning = line.removesuffix("…")
    assert line.endswith("…")
    assert _NAME.startswith(beginning)
    assert text_width(line, typeface) <= width
    one_more = _NAME[: len(beginning) + 1]
    assert text_width(one_more.rstrip() + "…", typeface) > width or one_more.endswith(" ")


def test_what_fits_is_kept_and_white_space_is_joined():
    assert shortened(_NAME, font(12), text_width(_NAME, font(12))) == _NAME
    assert shortened("a\t b ", font(12), 100) == "a b"


def test_names_break_once_after_a_separator():
    assert wrapped("grad_cam", font(12), 200) == ["grad_cam"]
    assert wrapped("expected_grad_cam", font(12), 100) == ["expected_grad_", "cam"]
    assert wrapped("two words", font(12), 40) == ["two", "words"]
    first, second = wrapped("guided_backpropagation_with_smoothing", font(12), 100)
    assert first == "guided_"
    assert second.endswith("…")
    assert wrapped("unbreakable" * 3, font(12), 100) == [shortened("unbreakable" * 3, font(12), 100)]
