import pytest

from payments.ledger import Ledger


def test_a_charge_is_booked_once():
    ledger = Ledger()
    assert [ledger.charge("order-1", 500), ledger.charge("order-1", 500)] == [500, 500]
    assert ledger.balance() == 500


def test_two_orders_are_two_charges():
    ledger = Ledger()
    ledger.charge("order-1", 500)
    ledger.charge("order-2", 700)
    assert ledger.balance() == 1200


def test_nothing_is_no_charge():
    with pytest.raises(ValueError):
        Ledger().charge("order-1", 0)
