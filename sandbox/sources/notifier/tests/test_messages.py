from notifier.messages import LONGEST, shorten


def test_a_short_text_stays_as_it_is():
    assert shorten("Your order is on its way.") == "Your order is on its way."


def test_a_long_text_ends_at_a_word():
    short = shorten("word " * 100)
    assert len(short) <= LONGEST
    assert short.endswith("word…")
