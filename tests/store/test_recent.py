"""What was committed just now is at hand without a gap, or not at all (relay.store.recent)."""

from relay.store.base import Delivery
from relay.store.recent import (
    ENTRIES_MAX,
    ENTRIES_PER_DESK_MAX,
    STATEMENTS_BYTES_MAX,
    Recent,
)


def entry(seq: int) -> Delivery:
    """Return an entry of a mailbox."""
    return Delivery(seq, "statement", f"{seq:064x}", "ab" * 32)


def of(*seqs: int) -> Recent:
    """Return what remembers these entries of AU, told in this order."""
    recent = Recent()
    for seq in seqs:
        recent.add(7, "AU", entry(seq))
    return recent


def test_what_follows_is_given_in_order_and_up_to_the_limit() -> None:
    """A device that stands at 5 gets 6 and 7; one that stands at 6 gets 7."""
    recent = of(5, 6, 7, 8)
    assert recent.after(7, "AU", 5, 2) == (entry(6), entry(7))
    assert recent.after(7, "AU", 6, 1) == (entry(7),)
    assert recent.after(7, "AU", 4, 16) == (entry(5), entry(6), entry(7), entry(8))
    assert recent.after(7, "AU", 6, 0) == ()


def test_whoever_stands_elsewhere_asks_the_store() -> None:
    """Before the first, behind the last, and another desk: nothing is said, so that nothing is left out."""
    recent = of(5, 6)
    assert recent.after(7, "AU", 3, 16) == ()
    assert recent.after(7, "AU", 6, 16) == ()
    assert recent.after(7, "VN", 5, 16) == ()


def test_a_gap_is_never_bridged() -> None:
    """Entry 7 was another instance's: what came before is forgotten, and the store fills the gap."""
    recent = of(5, 6, 8)
    assert recent.after(7, "AU", 5, 16) == ()
    assert recent.after(7, "AU", 6, 16) == ()
    assert recent.after(7, "AU", 7, 16) == (entry(8),)


def test_entries_told_out_of_order_do_not_stand_in_the_wrong_place() -> None:
    """6 before 5 leaves 6 alone; a repeat changes nothing."""
    recent = of(6, 5, 6)
    assert recent.after(7, "AU", 4, 16) == ()
    assert recent.after(7, "AU", 5, 16) == (entry(6),)


def test_another_epoch_knows_nothing_of_this_one() -> None:
    """Sequence numbers mean something within an epoch only (PROTOCOL 12)."""
    recent = of(5, 6)
    recent.keep("s", b"wire")
    assert recent.after(8, "AU", 5, 16) == ()
    assert recent.statement("s") is None
    assert recent.after(7, "AU", 5, 16) == ()


def test_memory_is_bounded() -> None:
    """The oldest entries give way, then whole desks, the quietest first; and the oldest statements."""
    recent = of(*range(1, 3 * ENTRIES_PER_DESK_MAX))
    assert recent.after(7, "AU", ENTRIES_PER_DESK_MAX, 16) == ()
    assert recent.after(7, "AU", 3 * ENTRIES_PER_DESK_MAX - 2, 16) != ()
    for desk in range(ENTRIES_MAX // ENTRIES_PER_DESK_MAX):
        for seq in range(1, ENTRIES_PER_DESK_MAX + 1):
            recent.add(7, f"D{desk}", entry(seq))
    assert recent.after(7, "AU", 3 * ENTRIES_PER_DESK_MAX - 2, 16) == ()
    assert recent.after(7, "D0", 5, 1) == (entry(6),)
    for number in range(6):
        recent.keep(str(number), bytes(STATEMENTS_BYTES_MAX // 4))
    assert recent.statement("0") is None
    assert recent.statement("5") is not None
