"""The words of a story: spans of time, foreign text, links."""

from __future__ import annotations

import pytest

from platform_ops.common.words import span
from platform_ops.web.story_words import is_web, visible, words


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil",
        "/x",
        "ftp://x",
        "http://",
        "ht\ntp://x",
        "http://[",
        "http://a b",
        "",
    ],
)
def test_what_is_no_link(url):
    assert not is_web(url)


def test_what_is_a_link():
    assert is_web("https://gitlab.example.com/a?b=c#d")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0.0 s"), (0.04, "0.0 s"), (4.2, "4.2 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (190, "3 min 10 s"),
     (3600, "1 h"), (7500, "2 h 5 min"), (86400 * 3 + 4 * 3600, "3 d 4 h")],
)  # fmt: skip
def test_spans(seconds, said):
    assert span(seconds) == said


def test_words_and_visible():
    assert words(True) == "yes"
    assert words({"a": 1}) == ""
    assert words("a\nb\tc") == "a b c"
    assert visible("a\u202eb") == "a\\u202eb"
    assert len(words("x" * 5000)) == 1001
