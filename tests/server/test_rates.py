"""How often: exact at n and n+1, one desk apart from another, refilled by time, bounded in memory."""

import pytest
from builders_door import NOW

from keys.errors import Code
from relay.core import limits
from relay.server import rates
from relay.server.rates import Call, Rates, TooFast


def test_n_pass_and_the_next_waits() -> None:
    """After n calls the next is E_RATE with the seconds until it passes, and then it passes."""
    counted = Rates({Call.SUBMIT: 6})
    for _each in range(6):
        counted.take(Call.SUBMIT, "VN", NOW)
    with pytest.raises(TooFast) as refusal:
        counted.take(Call.SUBMIT, "VN", NOW)
    assert (refusal.value.code, refusal.value.retry, refusal.value.after_s) == (
        Code.E_RATE,
        True,
        10,
    )
    with pytest.raises(TooFast):
        counted.take(Call.SUBMIT, "VN", NOW + 9)
    counted.take(Call.SUBMIT, "VN", NOW + 10)


def test_desks_and_calls_have_buckets_of_their_own() -> None:
    """One desk's haste, or one kind of call, takes nothing from another."""
    counted = Rates({Call.SUBMIT: 1, Call.RECEIPT: 1})
    counted.take(Call.SUBMIT, "VN", NOW)
    counted.take(Call.RECEIPT, "VN", NOW)
    counted.take(Call.SUBMIT, "AU", NOW)
    with pytest.raises(TooFast):
        counted.take(Call.SUBMIT, "VN", NOW)


def test_a_call_larger_than_the_bucket_waits_for_a_full_one() -> None:
    """It takes everything and passes, instead of being refused for ever."""
    counted = Rates({Call.RECEIPT: 4})
    counted.take(Call.RECEIPT, "VN", NOW, 64)
    with pytest.raises(TooFast):
        counted.take(Call.RECEIPT, "VN", NOW, 1)
    counted.take(Call.RECEIPT, "VN", NOW + 60, 64)


def test_a_clock_that_goes_back_takes_nothing_and_gives_nothing() -> None:
    """A step back of the clock neither refills nor empties a bucket."""
    counted = Rates({Call.READ: 2})
    counted.take(Call.READ, "VN", NOW)
    counted.take(Call.READ, "VN", NOW - 3600)
    with pytest.raises(TooFast):
        counted.take(Call.READ, "VN", NOW - 3600)


def test_strangers_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many buckets as allowed are kept; the one not seen for longest gives way."""
    monkeypatch.setattr(rates, "BUCKETS_MAX", 2)
    counted = Rates({Call.READ: 1})
    for who in ("a", "b", "c"):
        counted.take(Call.READ, who, NOW)
    counted.take(Call.READ, "a", NOW)  # forgotten, so it begins anew
    with pytest.raises(TooFast):
        counted.take(Call.READ, "c", NOW)


def test_what_is_logged_has_a_pace_and_a_burst_of_its_own() -> None:
    """A device opens sixty sessions at once and ten a minute after that; collecting follows the desk's reads."""
    rates = Rates()
    for _each in range(limits.CONNECTS_AT_ONCE):
        rates.take(Call.CONNECT, "device", NOW)
    with pytest.raises(TooFast) as refused:
        rates.take(Call.CONNECT, "device", NOW)
    assert refused.value.after_s == 6
    rates.take(Call.CONNECT, "device", NOW + 6)
    rates.take(Call.CONNECT, "another device", NOW)
    for allowed, given in ((600, None), (60, {Call.READ: 600})):
        rates = Rates(given)
        rates.take(Call.PICKUP, "device", NOW, allowed)
        with pytest.raises(TooFast):
            rates.take(Call.PICKUP, "device", NOW)
