"""Prices in cents: never a float."""


def with_discount(cents: int, percent: int) -> int:
    """Return the price after a discount, rounded half up to whole cents."""
    if not 0 <= percent <= 100:
        raise ValueError(f"a discount is 0 to 100 percent, not {percent}")
    return (cents * (100 - percent) + 50) // 100


def total(cents: list[int]) -> int:
    """Return what a basket costs."""
    return sum(cents)
