"""A ledger in which a charge is booked once."""


class Ledger:
    """Charges by the key their caller chose."""

    def __init__(self) -> None:
        self._charges: dict[str, int] = {}

    def charge(self, key: str, cents: int) -> int:
        """Book a charge, or return the one that was booked under this key."""
        if cents <= 0:
            raise ValueError(f"a charge is at least one cent, not {cents}")
        return self._charges.setdefault(key, cents)

    def balance(self) -> int:
        """Return the sum of all charges."""
        return sum(self._charges.values())
