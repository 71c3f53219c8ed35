"""Messages of at most one text message's length."""

LONGEST = 160


def shorten(text: str) -> str:
    """Cut a text at a word so that it fits one message."""
    line = " ".join(text.split())
    if len(line) <= LONGEST:
        return line
    return line[: LONGEST - 1].rpartition(" ")[0] + "…"
