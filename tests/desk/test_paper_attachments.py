"""Attachments as an officer reads them at night: name, size, kind, where it is, and nothing that steers a terminal."""

from typing import Any

import pytest
from builders_wire import header

from relay.desk import attachments, cli_attach, paper, paper_attachments
from relay.desk.sheet import Sheet

SHEET = Sheet(now=1_800_000_000, width=96)


def _one(**changes: Any) -> dict[str, Any]:
    plain = {
        "number": 1,
        "name": "photo.jpg",
        "media_type": "image/jpeg",
        "size": 2_200_000,
        "sha256": "0" * 64,
        "blob": "0" * 64,
        "state": "here",
        "percent": 100,
        "code": "",
        "reason": "",
    }
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (26_000, "25.4 KiB"),
        (1024 * 1024, "1.0 MiB"),
        (256 * 1024 * 1024, "256.0 MiB"),
        (4 << 30, "4.0 GiB"),
        (5 << 40, "5120.0 GiB"),
    ],
)
def test_a_size_in_words(size: int, words: str) -> None:
    """Bytes below 1024, then KiB, MiB and GiB with one place."""
    assert paper_attachments.size_of(size) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "here"),
        ({"state": "coming", "percent": 42}, "being fetched, 42 %"),
        (
            {"state": "coming", "percent": 0, "reason": "The relay does not have it."},
            "being fetched, 0 %; The relay does not have it.",
        ),
        ({"state": "waiting", "percent": 7}, "on its way to the relay, 7 %"),
        ({"state": "there"}, "with the relay"),
        ({"state": "sent"}, "sent"),
        ({"state": "lost", "reason": "Gone."}, "NEVER CAME; Gone."),
        ({"state": "damaged", "reason": "Cut."}, "DAMAGED; Cut."),
        ({"state": "of a later version"}, "of a later version"),
    ],
)
def test_a_state_in_words(changes: dict[str, Any], words: str) -> None:
    """State is a word, with how far it is and why not."""
    assert paper_attachments.state(_one(**changes)) == words


def test_an_odd_name_steers_nothing() -> None:
    """What a sender's program signed as a name is shown without controls and direction marks, and not at any length."""
    line = paper_attachments.line(_one(name="a\u202egpj.exe\u2028" + "x" * 300 + ".exe"))

    assert "\u202e" not in line
    assert "\u2028" not in line
    assert len(line) < 120
    assert ".exe, 2.1 MiB" in line


def test_the_list_and_the_page_name_them() -> None:
    """A list has a line for each file; a page says where each is, and what to type once one is here."""
    found = {
        "msg": "4711082245" + "0" * 54,
        "attachments": [_one(), _one(number=2, name="b.txt", state="coming", percent=3)],
    }

    assert list(paper_attachments.listed(found)) == [
        "+ 1  photo.jpg, 2.1 MiB, image/jpeg: here",
        "+ 2  b.txt, 2.1 MiB, image/jpeg: being fetched",
    ]
    rows = paper_attachments.rows(found)
    assert rows[0] == ("Attachment 1", "photo.jpg, 2.1 MiB, image/jpeg; here")
    assert rows[-1] == ("To save them", "desk save 4711082245 --to DIR")
    assert paper_attachments.rows({"msg": "x", "attachments": [_one(state="coming")]})[1:] == []
    assert paper_attachments.rows({"msg": "x"}) == []


def test_what_is_wrong_is_a_warning_and_a_sentence_for_the_sender() -> None:
    """Lost, damaged and late files are warned of here and told there; not those that are merely coming, or find no room."""
    found = [
        _one(),
        _one(number=2, state="coming", percent=9),
        _one(number=3, state="coming", code="E_UNKNOWN", reason="The relay does not have it."),
        _one(number=4, state="lost", reason="Gone."),
        _one(number=5, state="damaged", reason="Cut."),
        _one(number=6, state="waiting", code="E_RATE", reason="No room there."),
        _one(number=7, state="coming", code="E_BUSY", reason="There is no room on this disk."),
    ]

    warned = attachments.warnings(header(), found)
    told = paper_attachments.faults({"attachments": found})

    assert [one.split(" (")[0] for one in warned] == [f"Attachment {n}" for n in (3, 4, 5, 6, 7)]
    assert "ask VN to send it again" in warned[1]
    assert [one.split(" (")[0] for one in told] == [f"Attachment {n}" for n in (3, 4, 5)]
    assert paper_attachments.faults({}) == []


def test_an_event_in_words() -> None:
    """`desk watch` says which file of which message is here, or why it is not."""
    event = {
        "event": "attachment",
        "msg": "4711082245" + "0" * 54,
        "number": 2,
        "name": "b.txt",
        "state": "damaged",
        "text": "It does not open.",
        "at": SHEET.now,
    }

    line = paper.happened(event, SHEET)

    assert line == "08:00:00 UTC  attachment 2 (b.txt) DAMAGED: It does not open.  (4711082245)"


def test_how_far_all_of_them_are() -> None:
    """Several files are one number on a terminal, by their sizes."""
    one, two = _one(size=100, percent=100), _one(number=2, size=300, percent=0, state="waiting")

    assert paper_attachments.under_way([one, two]) == "Moving 1 of 2 files:  25 %"
    assert paper_attachments.under_way([two]).startswith("Moving photo.jpg, 300 bytes")
    assert paper_attachments.under_way([]).endswith("0 %")


class _Counter:
    """A desk whose uploads move by a quarter each time somebody looks."""

    def __init__(self, *percents: int) -> None:
        self.left = list(percents)
        self.desk = self
        self.looked = 0

    def attachments(self, msg: str) -> dict[str, Any]:
        """Return one attachment, so far."""
        self.looked += 1
        now = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return {"attachments": [_one(percent=now, state="there" if now == 100 else "waiting")]}

    def ask(self, question: Any) -> Any:
        """Answer at once; let no time go by."""
        if hasattr(question, "close"):
            question.close()
        return question


class _Office:
    """A terminal that somebody watches."""

    wait = 1.0

    @staticmethod
    def watched() -> bool:
        """Yes."""
        return True


def test_a_command_waits_while_bytes_move(capsys: pytest.CaptureFixture[str]) -> None:
    """--wait counts from the last byte that moved: a slow upload is waited for, one that stands still is not."""
    moving = _Counter(0, 10, 20, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    cli_attach.carried(_Office(), moving, "x", cli_attach.UPLOADING)  # type: ignore[arg-type]
    shown = capsys.readouterr().err
    assert moving.looked == 12
    assert "\rMoving photo.jpg, 2.1 MiB, image/jpeg:  90 % " in shown
    assert shown.endswith("\n")

    still = _Counter(50)
    cli_attach.carried(_Office(), still, "x", cli_attach.UPLOADING)  # type: ignore[arg-type]
    assert 4 <= still.looked <= 8
