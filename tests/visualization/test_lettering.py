import pytest

from lightning_xai.visualization.lettering import broken, font, shortened, width_of

_NAME = "West Highland white terrier"


def test_the_typeface_is_the_one_matplotlib_ships():
    assert font(12).getname() == ("DejaVu Sans", "Book")
    assert font(12, bold=True).getname() == ("DejaVu Sans", "Bold")
    assert font(12) is font(12)


@pytest.mark.parametrize("width", [20, 50, 90, 150])
def test_shortened_is_the_longest_that_fits(width):
    line, typeface = shortened(_NAME, font(12), width), font(12)
    kept = line.removesuffix("…")
    assert line.endswith("…")
    assert _NAME.startswith(kept)
    assert width_of(line, typeface) <= width
    one_more = _NAME[: len(kept) + 1]
    assert width_of(one_more.rstrip() + "…", typeface) > width or one_more.endswith(" ")


def test_what_fits_is_kept_and_white_space_is_joined():
    assert shortened(_NAME, font(12), width_of(_NAME, font(12))) == _NAME
    assert shortened("a\t b ", font(12), 100) == "a b"


def test_names_break_once_after_a_separator():
    assert broken("grad_cam", font(12), 200) == ["grad_cam"]
    assert broken("expected_grad_cam", font(12), 100) == ["expected_grad_", "cam"]
    assert broken("two words", font(12), 40) == ["two", "words"]
    first, second = broken("guided_backpropagation_with_smoothing", font(12), 100)
    assert first == "guided_"
    assert second.endswith("…")
    assert broken("unbreakable" * 3, font(12), 100) == [shortened("unbreakable" * 3, font(12), 100)]
