"""The report in a real browser: `pip install playwright` and Debian's Chromium; skipped where either is missing."""

from __future__ import annotations

import shutil

import pytest

from lightning_xai.reports import write_report
from tests.reports.html._saved import private, saved

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(params=["whole", "private"])
def page(request, browser, tmp_path):
    run = saved(tmp_path) if request.param == "whole" else private(saved(tmp_path))
    opened = browser.new_page()
    opened.asked, opened.errors = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("console", lambda message: opened.errors.append(message.text))
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.goto(write_report(run).as_uri())
    yield opened
    opened.close()


def test_nothing_is_asked_of_a_network_and_nothing_fails(page):
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert page.errors == []
    broken = page.evaluate("[...document.images].filter(one => one.complete && !one.naturalWidth).length")
    assert broken == 0


@pytest.mark.parametrize("width", [400, 1100])
def test_nothing_is_wider_than_the_page(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_keyboard_reaches_every_section(page):
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('section')?.id ?? document.activeElement.tagName"))
    scrolled = page.evaluate("[...document.querySelectorAll('[tabindex]')].map(one => one.closest('section').id)")
    assert set(scrolled) <= reached
    assert "A" in reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground(page, scheme):
    page.emulate_media(color_scheme=scheme)
    ink, pale, paper = page.evaluate(
        """() => {
            const style = getComputedStyle(document.documentElement);
            return ["--ink", "--pale", "--paper"].map(name => style.getPropertyValue(name).trim());
        }"""
    )
    for text in (ink, pale):
        assert contrast(text, paper) >= 4.5  # WCAG 2.2, AA


def contrast(first, second):
    """The contrast ratio of two colours, as WCAG defines it."""
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour):
    shares = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
