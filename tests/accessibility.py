"""What axe-core finds wrong with a page."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Frame, Page

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def violations(page: Page | Frame) -> str:
    """Return a report of all violations; empty when there are none."""
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": list(RULES)}})
    # An empty page violates nothing.
    assert {"color-contrast", "document-title", "heading-order", "region"} <= {
        rule["id"] for rule in found.response["passes"]
    }
    return found.generate_report() if found.violations_count else ""
