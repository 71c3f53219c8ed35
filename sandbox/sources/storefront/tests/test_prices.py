import pytest

from storefront.prices import total, with_discount


def test_a_discount_is_rounded_half_up():
    assert with_discount(999, 50) == 500


def test_no_discount_changes_nothing():
    assert with_discount(1234, 0) == 1234


@pytest.mark.parametrize("percent", [-1, 101])
def test_an_impossible_discount_is_refused(percent):
    with pytest.raises(ValueError):
        with_discount(100, percent)


def test_an_empty_basket_costs_nothing():
    assert total([]) == 0
