"""Every kind of page in a browser: what axe-core says, narrow and wide, on paper, by keyboard, under its own policy."""

from __future__ import annotations

from itertools import combinations

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.accessibility import violations
from tests.unit.web.served import ADDRESS, Site, all_pages

pytestmark = pytest.mark.browser
KINDS = (
    "running", "waiting", "waiting_second", "released", "superseded", "red_tests", "mismatch", "pods_failing", "rejected", "foreign",
    "waited a night", "tried again", "queued", "long words", "embedded", "releases", "message", "backups", "backups, out of date", "no backups",
)  # fmt: skip
WIDTHS = (320, 375, 640, 720, 900, 1060, 1280)
PAPER = 688
"""A4 without the margins of the style sheet, in pixels: 210 mm less 14 mm on each side, at 96 to the inch."""


@pytest.fixture(params=KINDS)
def html(request: pytest.FixtureRequest, sample_runs) -> str:
    return all_pages(sample_runs)[request.param]()


def test_all_kinds_are_looked_at(sample_runs):
    assert set(all_pages(sample_runs)) == set(KINDS)


@pytest.fixture
def page(context: BrowserContext, html: str) -> Page:
    """The page under its own policy."""
    Site(context, html)
    page = context.new_page()
    page.goto(ADDRESS)
    return page


def unfold(page: Page) -> None:
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")


def test_axe_finds_nothing_in_both_colour_schemes(page):
    unfold(page)
    # Axe comes by the debugger's way, which no policy stops.
    assert violations(page) == ""
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 320, "height": 800})
    assert violations(page) == ""


def test_the_policy_stops_nothing_that_the_page_needs(context, html):
    Site(context, html)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(ADDRESS)
    assert said == []
    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "1056px"
    live = page.get_by_role("button", name="Pause updates")
    assert live.count() == html.count('id="live"')
    assert all(button.is_visible() for button in live.all())


def test_everything_has_its_place_at_every_width(page):
    unfold(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        # Safari gives the keyboard no way into what scrolls sideways.
        wide = page.evaluate("""() => [document.documentElement, ...document.querySelectorAll(".scroll, .chart")]
            .filter(one => one.scrollWidth > one.clientWidth).map(one => one.outerHTML.slice(0, 100))""")
        assert wide == [], width
        times = page.evaluate("""() => [...document.querySelectorAll(".axis text")]
            .map(text => text.getBoundingClientRect()).filter(box => box.width).map(box => box.toJSON())""")
        for one, other in combinations(times, 2):
            beside = one["right"] <= other["left"] or other["right"] <= one["left"]
            above = one["bottom"] <= other["top"] + 1 or other["bottom"] <= one["top"] + 1
            assert beside or above, (width, one, other)
        assert all(0 <= one["left"] < one["right"] <= width for one in times)


def test_on_paper_nothing_is_cut_and_what_can_not_be_pressed_is_gone(page):
    page.set_viewport_size({"width": PAPER, "height": 1000})
    page.emulate_media(media="print")
    cut = page.evaluate("""() => [...document.querySelectorAll("body, body *:not(.unseen, svg *)")]
        .filter(one => one.checkVisibility()).filter(one => {
            const box = one.getBoundingClientRect(), clips = getComputedStyle(one).overflowX !== "visible";
            return box.left < -1 || box.right > innerWidth + 1 || clips && one.scrollWidth > one.clientWidth;
        }).map(one => one.outerHTML.slice(0, 100))""")
    assert cut == []
    assert page.locator("button, input, .button, .log, .skip, .frame, #live").filter(visible=True).count() == 0
    assert page.locator("h1").is_visible()


def test_on_paper_all_text_is_dark_on_white_whatever_the_screen_is_like(page):
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    # Printers leave backgrounds out, so each colour is held against the paper: WCAG 2.2, 1.4.3.
    pale = page.evaluate("""() => {
        const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        const luminance = colour => {
            const [red, green, blue] = colour.match(/[\\d.]+/g).map(part => linear(part / 255));
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        };
        return [...document.querySelectorAll("body *:not(script)")]
            .filter(one => one.checkVisibility())
            .filter(one => [...one.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()))
            .map(one => [one.outerHTML.slice(0, 100), getComputedStyle(one).color])
            .filter(([, colour]) => 1.05 / (luminance(colour) + 0.05) < 4.5);
    }""")
    assert pale == []


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page):
    targets = page.locator("a[href], button:visible, input, summary, [tabindex='0']").count()
    for _ in range(targets):
        page.keyboard.press("Tab")
        held = page.evaluate("""() => {
            const held = document.activeElement, box = held.getBoundingClientRect();
            const shown = box.top >= 0 && box.height > 0 && getComputedStyle(held).outlineStyle !== "none";
            return { what: held.outerHTML.slice(0, 200), shown, first: held.dataset.held !== (held.dataset.held = "yes") };
        }""")
        assert held["shown"], held["what"]
        assert held["first"], held["what"]
    page.goto(ADDRESS)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"  # by the skip link
