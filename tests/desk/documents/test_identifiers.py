"""Identifiers, type by type: what is right passes, what is wrong is named, what is doubtful is said."""

from typing import Any

import pytest
from hypothesis import given, settings, strategies

from relay.desk.documents import checksums, codes
from relay.desk.documents.identifier import identifier

SEEN = {"observed_at": "2026-11-01T00:00:00Z", "observed_tz": "UTC", "port": 443, "service": "Mail"}

GOOD = {
    "EMAIL": ["name@example.org", "first.last+tag@sub.example.co", "đầu.mối@xn--vit-9p5a.example"],
    "PHONE": ["+84240000000", "+61255500124"],
    "IMSI": ["452010000000000", "45201000000000"],
    "IMEI": ["490154203237518", "49015420323751", "3538270600040701"],
    "USERNAME": ["north-ledger", "名前"],
    "PROFILE-URL": ["https://social.example/@name?x=1"],
    "ACCOUNT-ID": ["10029384756"],
    "IPV4": ["192.0.2.44", "198.51.100.77"],
    "IPV6": ["2001:db8::44", "2001:DB8:0:0:0:0:0:1"],
    "DOMAIN": ["example.org", "xn--bcher-kva.example", "a.b.c.example"],
    "HOST": ["server17"],
    "URL": ["https://example.org:8443/a?b=c#d", "ftp://example.org/file"],
    "DEVICE-ID": ["SN-0042"],
    "MAC": ["00:00:5e:00:53:01"],
    "BANK-ACCOUNT": ["Example Bank 0012 3456"],
    "IBAN": ["GB33BUKB20201555555555", "DE89370400440532013000", "NO9386011117947"],
    "CARD-MASKED": ["400000******0002"],
    "CRYPTO-ADDRESS": [
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
        "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a",
        "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh",
        "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A",
    ],
    "CRYPTO-TX": [
        "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
        "0x" + 64 * "a",
    ],
    "FILE-HASH": [32 * "a", 40 * "b", 64 * "c", 128 * "d"],
    "MESSAGE-ID": ["<id@mail.example.org>", "id@mail.example.org"],
    "PROVIDER-TICKET": ["T-1"],
    "CLOUD-TENANT": ["tenant nl-archive-0093"],
    "CLOUD-BUCKET": ["nl-archive"],
}
BAD = {
    "EMAIL": [
        "north-ledger",
        "a@b",
        "a..b@example.org",
        ".a@example.org",
        "a@-example.org",
        "a@example.1",
        "@example.org",
    ],
    "PHONE": ["024 0000 0100", "+0123456789", "+84 24 0000", "0084240000000"],
    "IMSI": ["4520100000000", "45201000000000000"],
    "IMEI": ["12", "49015420323751x"],
    "PROFILE-URL": ["social.example/name", "https:///name"],
    "IPV4": ["198.51.100.777", "2001:db8::77", "192.0.2", "192.0.2.044", "192.0.2.4/24"],
    "IPV6": ["198.51.100.77", "2001:db8::g", "::ffff:192.0.2.1", "2001:db8::/32"],
    "DOMAIN": ["example", "-a.example", "a-.example", f"{64 * 'a'}.example", "xn--\x80.example"],
    "URL": ["example.org/page", "https://", "https://example.org:99999/"],
    "MAC": ["00-00-5e-00-53-01", "00:00:5e:00:53"],
    "IBAN": ["GB33BUKB20201555555556", "GB33BUKB2020155555555", "de89370400440532013000"],
    "CARD-MASKED": ["4000000000000002", "4000******2"],
    "CRYPTO-ADDRESS": [
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3T4",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
        "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6q",
        "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTj",
    ],
    "CRYPTO-TX": [63 * "a", "not a hash"],
    "FILE-HASH": ["deadbeef", 64 * "C"],
    "MESSAGE-ID": ["id", "a b@c"],
}


def _found(code: str, value: str, **more: Any) -> list[tuple[str, bool]]:
    item = {"identifier_type": code, "identifier_value": value} | SEEN | more
    return [(one.path, one.warning) for one in identifier("items[0]", item)]


def test_every_type_has_good_examples_here() -> None:
    """A type that is added to the code file is added to this table, and its own example is right."""
    assert set(GOOD) == set(codes.lists()["identifier"])
    for code, entry in codes.lists()["identifier"].items():
        if code not in {"USERNAME", "ACCOUNT-ID", "DEVICE-ID", "BANK-ACCOUNT"}:
            assert _found(code, entry.more["example"]) == [], code


@pytest.mark.parametrize(("code", "value"), [(code, one) for code in GOOD for one in GOOD[code]])
def test_what_is_right_passes(code: str, value: str) -> None:
    """Each good value of each type has neither problem nor warning."""
    assert _found(code, value) == []


@pytest.mark.parametrize(("code", "value"), [(code, one) for code in BAD for one in BAD[code]])
def test_what_is_wrong_is_named(code: str, value: str) -> None:
    """Each bad value is refused at its own path."""
    assert _found(code, value) == [("items[0].identifier_value", False)]


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("IPV4", "10.0.0.1"),
        ("IPV4", "100.64.0.1"),
        ("IPV4", "224.0.0.1"),
        ("IPV6", "fe80::1"),
        ("IPV6", "::1"),
        ("IMEI", "490154203237510"),
        ("MAC", "02:00:00:00:00:01"),
        ("MAC", "01:00:5e:00:00:01"),
        ("CRYPTO-ADDRESS", "5Eo1NotAnyKnownFormButLong"),
        ("BANK-ACCOUNT", "4000 0000 0000 0002"),
        ("ACCOUNT-ID", "5555555555554444"),
    ],
)
def test_what_is_doubtful_warns(code: str, value: str) -> None:
    """It may be sent, and the officer is told to look again."""
    assert _found(code, value) == [("items[0].identifier_value", True)]


@pytest.mark.parametrize("value", ["*@example.org", "north-*"])
def test_many_at_once_are_too_broad(value: str) -> None:
    """A star stands for many people: such a request would come back as too broad."""
    code = "EMAIL" if "@" in value else "USERNAME"
    assert _found(code, value) == [("items[0].identifier_value", False)]


@pytest.mark.parametrize("zone", ["+14:30", "-15:00", "+99:00"])
def test_a_time_zone_exists_somewhere(zone: str) -> None:
    """An offset that no place has is a typing error."""
    found = _found("IPV4", "192.0.2.44", observed_tz=zone)
    assert (("items[0].observed_tz", False) in found) is not (zone == "+14:30")


@pytest.mark.parametrize(
    "value", ["+07:00", "-11:00", "+14:00", "UTC", "Asia/Ho_Chi_Minh", "+05:45"]
)
def test_real_time_zones_pass(value: str) -> None:
    """Offsets and names of zones are taken as they are."""
    assert _found("IPV4", "192.0.2.44", observed_tz=value) == []


SUMMED = [
    ("IBAN", "GB33BUKB20201555555555"),
    ("CRYPTO-ADDRESS", GOOD["CRYPTO-ADDRESS"][0]),
    ("CRYPTO-ADDRESS", GOOD["CRYPTO-ADDRESS"][2]),
    ("CRYPTO-ADDRESS", GOOD["CRYPTO-ADDRESS"][4]),
    ("CRYPTO-ADDRESS", GOOD["CRYPTO-ADDRESS"][7]),
    ("CRYPTO-ADDRESS", GOOD["CRYPTO-ADDRESS"][8]),
    ("CRYPTO-ADDRESS", GOOD["CRYPTO-ADDRESS"][9]),
]


@settings(max_examples=60, deadline=None)
@given(data=strategies.data())
def test_one_wrong_letter_is_found(data: strategies.DataObject) -> None:
    """Whatever single letter of a value with a checksum is mistyped, it is not taken."""
    code, value = data.draw(strategies.sampled_from(SUMMED))
    start = max(4, value.find(":") + 2)
    place = data.draw(strategies.integers(start, len(value) - 1))
    letters = sorted(set(value[start:]) - {value[place], value[place].swapcase()})
    wrong = value[:place] + data.draw(strategies.sampled_from(letters)) + value[place + 1 :]
    assert ("items[0].identifier_value", False) in _found(code, wrong), wrong


def test_keccak_is_the_one_of_2011() -> None:
    """Known answers, one of them longer than a block."""
    assert checksums.keccak256(b"").hex() == (
        "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    )
    assert checksums.keccak256(b"abc").hex() == (
        "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    )
    assert checksums.keccak256(b"a" * 200).hex().startswith("96ea54061def936c")


def test_luhn_finds_a_wrong_digit() -> None:
    """Every single wrong digit changes the sum."""
    good = "490154203237518"
    for place in range(len(good)):
        for digit in "0123456789":
            other = good[:place] + digit + good[place + 1 :]
            assert checksums.luhn(other) == (other == good)
