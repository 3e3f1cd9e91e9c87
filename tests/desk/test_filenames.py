"""Names of attachments: whatever a sender's disk holds leaves plain, and what came in odd is not written to a disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.desk import filenames
from relay.wire import fields

ODD = {
    "": "no name",
    ".": "no name",
    "..": "no name",
    "...": "no name",
    "a/b": "letters",
    "..\\b": "letters",
    "c:x": "letters",
    "a\nb": "letters",
    "a\x1b[2Jb": "letters",
    "evil\u202egpj.exe": "letters",
    "zero\u200bwidth": "letters",
    "line\u2028end": "letters",
    " a": "dot or a space",
    "a.": "dot or a space",
    ".bashrc": "dot or a space",
    "CON": "device",
    "nul.txt": "device",
    "Com7.log": "device",
    "ü" * 101: "more than 200 bytes",
}
PLAIN = {
    "photo.jpg": "photo.jpg",
    "../../etc/passwd": "passwd",
    "C:\\Users\\x\\log.txt": "log.txt",
    "evil\u202egpj.exe": "evil_gpj.exe",
    "  two   spaces .txt ": "two spaces.txt",
    ".profile": "profile",
    "CON.txt": "_CON.txt",
    "": "file",
    "///": "file",
    "a\ud800b": "a_b",
    "e\u0301.txt": "é.txt",
    "Báo cáo số 1.pdf": "Báo cáo số 1.pdf",
    "رسالة.pdf": "رسالة.pdf",
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_is_named_as_such(name: str) -> None:
    """What steers a terminal, a folder or a system is found in a name that came in (9.5.7)."""
    assert ODD[name] in filenames.odd(name)


@pytest.mark.parametrize("given_name", PLAIN)
def test_a_name_leaves_plain(given_name: str) -> None:
    """What leaves has no path, no control, no direction mark; ordinary names in any script stay as they are."""
    assert filenames.plain(given_name) == PLAIN[given_name]


@given(st.text(max_size=400))
def test_whatever_leaves_can_be_saved(text: str) -> None:
    """Any name that this desk sends passes the checks of the statement and of a desk that saves it, and stays itself."""
    name = filenames.plain(text)

    assert filenames.odd(name) == ""
    assert fields.file_name(name)
    assert filenames.plain(name) == name
    assert fields.media_type(filenames.media_type(name))


def test_a_long_name_keeps_its_ending() -> None:
    """A name that is cut to its limit still says what kind of file it is."""
    name = filenames.plain("ü" * 300 + ".jpeg")

    assert len(name.encode()) <= filenames.NAME_BYTES_MAX
    assert name.endswith("ü.jpeg")
    assert filenames.media_type(name) == "image/jpeg"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image/jpeg"),
        ("a.pdf", "application/pdf"),
        ("a.txt", "text/plain"),
        ("a.zip", "application/zip"),
        ("a.tar.gz", filenames.UNKNOWN_TYPE),
        ("a.nobody-knows", filenames.UNKNOWN_TYPE),
        ("a", filenames.UNKNOWN_TYPE),
    ],
)
def test_the_ending_says_what_it_is(name: str, kind: str) -> None:
    """The type follows from the ending alone, the same on every machine; packed files say nothing of what is inside."""
    assert filenames.media_type(name) == kind
