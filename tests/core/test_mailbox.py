"""Where a device resumes, and how much may be on its way to it."""

import pytest

from relay.core.mailbox import WINDOW_MAX, Cursor, Window, resume


@pytest.mark.parametrize(
    ("cursor", "start"),
    [
        (Cursor(3, 0), 0),
        (Cursor(3, 7), 7),
        (Cursor(3, 9), 9),
        (Cursor(3, 10), 0),  # it claims more than there is: the store went back
        (Cursor(2, 7), 0),  # another epoch: numbers mean something else
        (Cursor(4, 7), 0),
        (Cursor(3, -1), 0),
    ],
)
def test_resume(cursor: Cursor, start: int) -> None:
    """A cursor counts only within its epoch and up to the head; anything else begins anew, never with a gap."""
    assert resume(cursor, epoch=3, head=9) == start


def test_the_window_closes_and_opens() -> None:
    """After WINDOW_MAX unconfirmed entries there is no room; each confirmation makes as much."""
    window = Window(sent=0, seen=0).push(WINDOW_MAX)

    assert window.room == 0
    assert window.confirm(5).room == 5


def test_a_device_cannot_confirm_what_was_not_pushed() -> None:
    """A lying confirmation opens the window no further than empty."""
    window = Window(sent=3, seen=0).confirm(1_000)

    assert window.room == WINDOW_MAX
    assert window.seen == 3


def test_confirmations_never_go_back() -> None:
    """An old confirmation that arrives late changes nothing."""
    assert Window(sent=9, seen=8).confirm(2) == Window(sent=9, seen=8)
