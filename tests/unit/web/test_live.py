"""The script of a live page, in a browser whose clock stands still until it is moved."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.unit.web.served import ADDRESS, NOW, Site, run_page

pytestmark = pytest.mark.browser
A_WHILE = 10 * 60_000


@pytest.fixture
def site(context: BrowserContext, sample_runs) -> Site:
    return Site(context, run_page(sample_runs["running"]))


@pytest.fixture
def page(context: BrowserContext, site: Site) -> Page:
    page = context.new_page()
    page.add_init_script(
        "const real = fetch; globalThis.asked = 0; globalThis.fetch = (...how) => (asked++, real(...how))"
    )
    page.clock.install(time=NOW)
    page.goto(ADDRESS)
    expect(page.get_by_role("button", name="Pause updates")).to_be_visible()
    return page


def turn(page: Page, milliseconds: int = 4_000) -> None:
    """Let time pass until the page has asked again."""
    with page.expect_response(ADDRESS):
        page.clock.run_for(milliseconds)


def never_asks(page: Page, milliseconds: int = A_WHILE) -> None:
    before = page.evaluate("asked")
    page.clock.run_for(milliseconds)
    assert page.evaluate("asked") == before


def show(page: Page, *, hidden: bool) -> None:
    """Put the page behind another one, or before it."""
    page.evaluate(f"Object.defineProperty(document, 'hidden', {{ value: {str(hidden).lower()}, configurable: true }})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_it_follows_the_run_to_its_end(page, site, sample_runs):
    site.body = run_page(sample_runs["released"])
    turn(page)
    expect(page.locator("h1")).to_have_text("storefront · prod · released")
    expect(page).to_have_title("storefront · prod · released")
    expect(page.locator("#run .verdict")).to_contain_text("the same digest")
    expect(page.get_by_role("button")).to_have_count(0)
    never_asks(page)


def test_a_new_verdict_is_said_and_nothing_else(page, site, sample_runs):
    said = page.locator("#said")
    site.body = run_page(sample_runs["running"], now=NOW.replace(second=59))
    turn(page)
    expect(page.locator("#told")).to_contain_text("09:17:59")
    expect(said).to_be_empty()
    site.body = run_page(sample_runs["waiting"])
    turn(page)
    expect(said).to_have_text("storefront · prod · waiting for approval")
    assert said.get_attribute("role") == "status"  # a polite live region


def test_what_is_the_same_stays(page, site, make_run):
    page.evaluate("""() => {
        document.querySelector(".steps li").mine = document.querySelector("#digests").mine = true;
        getSelection().selectAllChildren(document.querySelector(".summary"));
    }""")
    page.get_by_role("link", name="Build #214").focus()
    broken = make_run.report("Argo CD did not answer.", "failed", "Unreachable")
    retried = make_run(state="running", at="sync_application", at_state="up_for_retry", at_report=broken)
    site.body = run_page(retried)
    turn(page)
    expect(page.locator("#troubles")).to_be_visible()
    assert page.evaluate("document.querySelector('.steps li').mine && document.querySelector('#digests').mine")
    assert page.evaluate("getSelection().toString()").startswith("Commit 4f1d2c9a7be3 is the head of master")
    expect(page.get_by_role("link", name="Build #214")).to_be_focused()
    site.body = run_page(make_run(state="running", at="sync_application"))
    turn(page)
    expect(page.locator("#troubles")).to_have_count(0)
    assert page.evaluate("document.querySelector('#digests').mine")


def test_a_link_that_goes_leaves_the_focus_at_the_content(page, site, sample_runs):
    site.body = run_page(sample_runs["waiting"])
    turn(page)
    page.get_by_role("link", name="Answer in Airflow").focus()
    site.body = run_page(sample_runs["rejected"])
    turn(page, 31_000)
    expect(page.locator("main")).to_be_focused()


def test_a_link_never_turns_into_another(page, site):
    page.evaluate("document.querySelector('.log').mine = true")
    site.body = site.body.replace("/tasks/resolve_commit", "/tasks/another")
    turn(page)
    expect(page.locator(".log[href$='/tasks/another']")).to_have_count(1)
    assert page.evaluate("document.querySelector('.log').mine") is None


def test_pause_and_resume(page):
    page.get_by_role("button", name="Pause updates").press("Enter")
    never_asks(page)
    with page.expect_response(ADDRESS):
        page.get_by_role("button", name="Resume updates").press("Enter")
    turn(page)


def test_a_hidden_page_asks_for_nothing_and_at_once_when_shown(page):
    show(page, hidden=True)
    never_asks(page)
    with page.expect_response(ADDRESS):
        show(page, hidden=False)
    turn(page)


def test_it_asks_as_often_as_the_page_says(page, site):
    site.body = site.body.replace('data-again="3"', 'data-again="30"')
    turn(page)
    expect(page.locator("#run")).to_have_attribute("data-again", "30")
    never_asks(page, 20_000)
    turn(page, 11_000)


@pytest.mark.parametrize(
    ("status", "words"),
    [(503, "Airflow answers 503; trying again."), (0, "Airflow does not answer; trying again."),
     (401, "Load the page to log in again.")],
)  # fmt: skip
def test_without_an_answer_the_page_says_so_and_tries_on(page, site, sample_runs, status, words):
    site.status, site.body, good = status, "<main id=run>Something else</main>", site.body
    page.clock.run_for(4_000)
    expect(page.locator("#note")).to_have_text(words)
    expect(page.locator("h1")).to_have_text("storefront · prod · running")
    site.status, site.body = 200, good
    turn(page, 16_000)
    expect(page.locator("#note")).to_be_empty()


def test_the_page_of_a_login_is_not_taken_for_the_run(page, site):
    site.body = "<main id=run>Log in</main>"
    turn(page)
    expect(page.locator("#note")).to_have_text("Load the page to log in again.")
    expect(page.locator("h1")).to_have_text("storefront · prod · running")


def test_without_script_the_page_is_still_and_can_be_loaded_again(browser, sample_runs):
    context = browser.new_context(java_script_enabled=False)
    Site(context, run_page(sample_runs["running"]))
    page = context.new_page()
    page.goto(ADDRESS)
    expect(page.get_by_role("button")).to_have_count(0)
    page.get_by_role("link", name="Look again").click()
    page.wait_for_url(f"{ADDRESS}?")
    context.close()
