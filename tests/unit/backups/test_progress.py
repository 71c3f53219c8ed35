"""What a long copy says of itself."""

import pytest

from platform_ops.backups.progress import Progress, amount


def test_it_speaks_every_five_seconds_with_rate_and_time_left() -> None:
    said: list[str] = []
    now = iter([0.0, 1.0, 5.0, 6.0, 10.0])
    progress = Progress(said.append, 4 * 1024**2, clock=lambda: next(now))
    for _ in range(4):
        progress.add(512 * 1024)
    assert said == [
        "1.0 MiB so far, 204.8 KiB/s, about 15 s left",
        "2.0 MiB so far, 204.8 KiB/s, about 10 s left",
    ]
    assert progress.done == 2 * 1024**2


def test_nobody_knows_how_much_is_left_of_a_first_copy() -> None:
    said: list[str] = []
    now = iter([0.0, 5.0])
    Progress(said.append, clock=lambda: next(now)).add(10)
    assert said == ["10 B so far, 2 B/s"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**3, "5.0 GiB"), (2**60, "1048576.0 TiB")],
)
def test_amounts_as_people_read_them(size: int, text: str) -> None:
    assert amount(size) == text
