"""The run page in a real browser: behind Airflow's login, while the run goes, and inside Airflow's own frame."""

from collections.abc import Iterator
from urllib.parse import quote, unquote

import pytest
from playwright.sync_api import Browser, Page, expect

from sandbox.airflow_runs import DAG_ID
from tests.accessibility import violations
from tests.functional.world import World

SERVICES = {"page": {}}

pytestmark = pytest.mark.browser
AN_UPDATE = 60_000
"""Milliseconds; a page that waits for a person asks every 30 s."""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """A browser in which nobody is logged in yet."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def test_the_page_from_login_to_verdict(world: World, page: Page) -> None:
    run = world.asked("page", "Shown in a browser")
    address = world.url("AIRFLOW", f"/platform-ops/runs/{DAG_ID}/{quote(run, safe='')}")
    page.goto(address)
    page.fill("input[name=username]", world.environment["AIRFLOW_VIEWER_USER"])
    page.fill("input[name=password]", world.environment["AIRFLOW_VIEWER_PASSWORD"])
    page.keyboard.press("Enter")
    page.wait_for_url(address)
    expect(page.locator("h1")).to_contain_text("waiting for approval")
    expect(page.locator("body")).to_contain_text("paula or quentin may answer")
    assert world.runs("APPROVER").answer(run, "Approve").status_code == 200
    # Nobody loads the page again: it follows the run by itself, and stops at its end.
    expect(page.locator("h1")).to_contain_text("page · prod · released", timeout=AN_UPDATE)
    expect(page.get_by_role("button", name="Pause updates")).to_have_count(0)
    # The question and its judgement are told as one step, which links their common page once.
    expect(page.get_by_role("link", name="Release page")).to_have_count(1)
    assert page.locator("table.digests").inner_text().count("same") == 3
    order = ["Commit", "Tests", "Image", "Scan", "Approval", "GitOps commit", "Sync", "Pods", "Evidence", "Report"]
    text = page.locator("body").inner_text()
    places = [text.index(f"\n{title}") for title in order]
    assert places == sorted(places)

    page.goto(world.url("AIRFLOW", f"/dags/{DAG_ID}/runs/{run}/plugin/release"))
    frame = page.frame_locator("iframe")
    expect(frame.locator("h1")).to_contain_text("page · prod · released", timeout=30_000)
    expect(frame.locator("body")).to_contain_text(address)
    shown = page.locator("iframe").element_handle().content_frame()
    assert shown
    assert violations(shown) == ""


def test_a_person_starts_a_release_with_the_form(world: World, page: Page) -> None:
    page.context.clear_cookies()
    page.goto(world.url("AIRFLOW", f"/dags/{DAG_ID}"))
    page.fill("input[name=username]", world.environment["AIRFLOW_OPERATOR_USER"])
    page.fill("input[name=password]", world.environment["AIRFLOW_OPERATOR_PASSWORD"])
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog").filter(has_text="Trigger Dag")
    for number, value in enumerate(("page", "dev")):
        form.get_by_role("combobox").nth(number).fill(value)
        page.keyboard.press("Enter")
    # Commit and reason stay empty: the form must not ask for them.
    form.get_by_role("button", name="Trigger").click()
    page.wait_for_url(f"**/dags/{DAG_ID}/runs/**")
    run = unquote(page.url.rpartition("/")[2])
    world.admin.wait(run)
    assert world.verdict(run) == "released"
    assert world.evidence(run)["started_by"] == "oscar"
