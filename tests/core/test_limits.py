"""The token bucket: a burst, a steady rate, and a wait that is exactly long enough."""

from hypothesis import given
from hypothesis import strategies as st

from relay.core.limits import Bucket, take


def test_a_burst_and_then_the_rate() -> None:
    """At n it is taken, at n + 1 one waits as long as one token needs."""
    bucket = Bucket.full(60, 0)
    for _ in range(60):
        bucket, wait = take(bucket, 60, 0)
        assert wait == 0

    bucket, wait = take(bucket, 60, 0)

    assert wait == 1000
    assert take(bucket, 60, wait - 1)[1] > 0
    assert take(bucket, 60, wait)[1] == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """A step back neither refills nor drains."""
    bucket, _wait = take(Bucket.full(60, 10_000), 60, 10_000)

    assert take(bucket, 60, 5_000)[0].tokens == 58_000


@given(st.integers(1, 10_000), st.integers(1, 50), st.integers(0, 10**7))
def test_the_wait_is_enough(per_minute: int, count: int, now: int) -> None:
    """Whoever waits as told gets what was asked, if it fits the bucket at all."""
    count = min(count, per_minute)
    empty = Bucket(0, now)
    _bucket, wait = take(empty, per_minute, now, count=count)

    assert take(empty, per_minute, now + wait, count=count)[1] == 0
