"""What the directory says of a desk: members, profile, card (PROTOCOL 8.3).

A desk entry is strict JSON, signed through TUF by the desk's keys only::

    {"archive":b64u|"","card":{..},"desk":ID,"members":[..],"profile":{..},"serves":[device kid, standby kid],"v":1}

A member's ``enrol`` holds the wires of two statements, by the officer key and by the device key, over desk, handle and
both key ids: proof of possession, so that nobody enrols another's key. A member without an officer is the desk's
server and proves its device key alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from keys import statement, suite
from keys.errors import Code, Refused
from keys.remembered import remembered
from keys.shape import closed, integer, listed, matching, one_of, refuse, text

DESK = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,4})?\Z")
HANDLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}\Z")
KID = re.compile(r"[0-9a-f]{64}\Z")
NUMBER = re.compile(r"\+[1-9][0-9 ]{5,22}[0-9]\Z")
DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\Z")
HOUR = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]\Z")
ZONE = re.compile(r"[A-Za-z0-9_+-]{1,30}(/[A-Za-z0-9_+-]{1,30}){0,2}\Z")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z")

ACTIVE_DEVICES_MAX = 31
REMEMBERED_BYTES_MAX = 32 * 1024 * 1024
"""Entries kept as they were read; 1000 real ones have some 20 MB."""
ENTRY_BYTES_MAX = 512 * 1024
RETIRED_BYTES_MAX = 4 * 1024 * 1024
PRIORITIES = ("emergency", "urgent", "routine")
STAGE_KINDS = ("path", "backstop", "backup")
STAGES_MAX = 8
CAPABILITIES = ("direct", "facilitates", "court", "not_possible")


@dataclass(frozen=True, slots=True)
class Member:
    """One device of a desk, with its officer, or with "" and b"" for the desk's server. Times are seconds UTC."""

    desk: str
    officer: str
    officer_key: bytes = field(repr=False)
    device_key: bytes = field(repr=False)
    status: str
    since: int
    until: int
    officer_kid: str = field(init=False, compare=False)
    device_kid: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Compute both key ids once."""
        kid = suite.kid_of(self.officer_key) if self.officer_key else ""
        object.__setattr__(self, "officer_kid", kid)
        object.__setattr__(self, "device_kid", suite.kid_of(self.device_key))

    def active(self, now: int) -> bool:
        """Whether this member may act now: not revoked, begun, not ended."""
        return self.status == "active" and self.was_active(now)

    def was_active(self, at: int) -> bool:
        """Whether this member was in force at a time in the past, revoked since or not."""
        return self.since <= at and (self.until == 0 or at < self.until)


@dataclass(frozen=True, slots=True)
class DeskEntry:
    """A desk as the directory has it in force. *serves*: device kids of the ladder's device and its standby."""

    desk: str
    members: tuple[Member, ...]
    archive: bytes = field(repr=False)
    profile: Mapping[str, Any] = field(hash=False)
    card: Mapping[str, Any] = field(hash=False)
    serves: tuple[str, ...]
    sha256: str
    version: int = 0
    expires: int = 0
    retired: tuple[Member, ...] = ()
    desk_kids: tuple[str, ...] = ()
    threshold: int = 1
    by_kid: Mapping[str, Member] = field(default_factory=dict, repr=False, compare=False)

    def active(self, now: int) -> tuple[Member, ...]:
        """Return the members who may act now."""
        return tuple(one for one in self.members if one.active(now))

    def by_device(self, kid: str) -> Member | None:
        """Return the member with this device key, in force or not; None if it is not this desk's."""
        return self.by_kid.get(kid)

    def by_officer(self, kid: str) -> tuple[Member, ...]:
        """Return every member entry of one officer: one a device."""
        return tuple(
            one for one in (*self.members, *self.retired) if kid and one.officer_kid == kid
        )


def check_desk(desk: object) -> str:
    """Return a desk id such as VN or AU-B, or raise E_ENCODING (PROTOCOL 8.1)."""
    return matching(desk, DESK, "a desk id looks like VN or AU-B")


def key_of(value: object, what: str) -> bytes:
    """Read a 32-byte Ed25519 public key from b64u, honest or E_KEY."""
    public = statement.unb64u(text(value, what, 64))
    suite.check_public(public)
    return public


def member_json(member: Member, enrol: Sequence[statement.Statement | bytes]) -> dict[str, Any]:
    """Return a member as it stands in the entry, with the wires of its enrolment statements."""
    wires = [one if isinstance(one, bytes) else one.wire for one in enrol]
    return {
        "officer": member.officer,
        "officer_key": statement.b64u(member.officer_key),
        "device_key": statement.b64u(member.device_key),
        "status": member.status,
        "since": member.since,
        "until": member.until,
        "enrol": [wire.decode() for wire in wires],
    }


def enrolment(desk: str, handle: str, officer_kid: str, device_kid: str, at: int) -> dict[str, Any]:
    """Return the fields that both enrolment statements sign (PROTOCOL 8.3)."""
    return {
        "desk": desk,
        "officer": handle,
        "officer_kid": officer_kid,
        "device_kid": device_kid,
        "at": at,
    }


def read_member(desk: str, value: object) -> Member:
    """Read one member and verify its proofs of possession; E_ENCODING, E_KEY, E_SIGNER, E_SIGNATURE, E_TYPE."""
    names = {"officer", "officer_key", "device_key", "status", "since", "until", "enrol"}
    raw = closed(value, names, "a member")
    handle = raw["officer"]
    server = handle == ""
    if not server:
        matching(handle, HANDLE, "a handle is 1 to 32 of a-z, 0-9, dot, dash and underscore")
    officer_key = b"" if server else key_of(raw["officer_key"], "officer_key")
    if server and raw["officer_key"] != "":
        refuse("a desk's server has no officer key")
    status = one_of(raw["status"], ("active", "revoked"), "status")
    since, until = integer(raw["since"], "since"), integer(raw["until"], "until")
    if (until and until < since) or (status == "revoked" and not until):
        refuse("a member's `until` is missing or before its `since`")
    device_key = key_of(raw["device_key"], "device_key")
    member = Member(desk, handle, officer_key, device_key, status, since, until)
    if member.officer_key == member.device_key:
        refuse("one key stands for officer and device: every key has one role")
    wires = listed(raw["enrol"], "enrol", 2)
    signers = (device_key,) if server else (officer_key, device_key)
    if len(wires) != len(signers):
        refuse(f"{len(wires)} enrolment statements where {len(signers)} are needed")
    for wire, public in zip(wires, signers, strict=True):
        proof = statement.verify(text(wire, "enrol", 4096).encode(), {"enrol"}, public)
        at = integer(proof.fields.get("at"), "at")
        if proof.fields != enrolment(desk, handle, member.officer_kid, member.device_kid, at):
            refuse("an enrolment statement is for another desk, officer or device")
    return member


# Cached by bytes: when one member of a desk changes, the proofs of the others are not verified again.
@lru_cache(maxsize=16384)
def _member(desk: str, value: str) -> Member:
    return read_member(desk, statement.decode(value.encode()))


def _members(desk: str, value: object, most: int) -> tuple[Member, ...]:
    values = listed(value, "members", most)
    encoded = [statement.encode(closed(one, None, "a member")).decode() for one in values]
    return tuple(_member(desk, one) for one in encoded)


@remembered(REMEMBERED_BYTES_MAX)
def read_entry(desk: str, data: bytes, retired: bytes = b"") -> DeskEntry:
    """Read and check a desk entry, and the list of its retired members where there is one. Cached by bytes.

    Everything of PROTOCOL 8.3 that needs no other desk is checked here. Raises E_TOO_LARGE, E_ENCODING, E_KEY,
    E_SIGNER, E_SIGNATURE.
    """
    for part, limit in ((data, ENTRY_BYTES_MAX), (retired, RETIRED_BYTES_MAX)):
        if len(part) > limit:
            raise Refused(Code.E_TOO_LARGE, f"The entry of desk {desk} is over {limit} bytes.")
    names = {"archive", "card", "desk", "members", "profile", "serves", "v"}
    raw = closed(statement.decode(data), names, "a desk entry")
    _expect(raw, desk)
    members = _members(desk, raw["members"], 1000)
    past: tuple[Member, ...] = ()
    if retired:
        old = closed(
            statement.decode(retired), {"desk", "members", "v"}, "a list of retired members"
        )
        _expect(old, desk)
        past = _members(desk, old["members"], 10_000)
        if any(one.status != "revoked" for one in past):
            refuse("a retired member is not revoked")
    active = [one for one in members if one.status == "active"]
    if len(active) > ACTIVE_DEVICES_MAX:
        refuse(f"{len(active)} active devices; a desk may have {ACTIVE_DEVICES_MAX}")
    serves = tuple(matching(one, KID, "serves") for one in listed(raw["serves"], "serves", 2))
    if not set(serves) <= {one.device_kid for one in active}:
        refuse("`serves` names a device that is not an active one of this desk")
    archive = statement.unb64u(text(raw["archive"], "archive", 2048))
    if archive:
        suite.check_prekey(archive)
    by_kid = {one.device_kid: one for one in (*members, *past)}
    if len(by_kid) != len(members) + len(past):
        refuse("a device key stands twice in one desk entry")
    return DeskEntry(
        desk,
        members,
        archive,
        _profile(raw["profile"]),
        _card(raw["card"]),
        serves,
        suite.sha256(data).hex(),
        retired=past,
        by_kid=by_kid,
    )


def _expect(raw: Mapping[str, Any], desk: str) -> None:
    if raw["v"] != 1:
        raise Refused(Code.E_VERSION, "The version of this desk entry is not 1.")
    if raw["desk"] != desk:
        refuse(f"it says that it is of desk {raw['desk']!r}")


def _profile(value: object) -> Mapping[str, Any]:
    raw = closed(value, {*PRIORITIES, "exhausted"}, "a profile")
    for priority in PRIORITIES:
        one = closed(raw[priority], {"acknowledge_s", "progress_s", "stages"}, priority)
        deadline = integer(one["acknowledge_s"], "acknowledge_s", least=10)
        integer(one["progress_s"], "progress_s")
        last = -1
        stages = listed(one["stages"], "stages", STAGES_MAX)
        if not stages:
            refuse(f"the profile has no stage for {priority}")
        for stage in stages:
            step = closed(stage, {"after_s", "handles", "kind"}, "a stage")
            after = integer(step["after_s"], "after_s")
            if not last < after <= deadline:
                refuse("stages do not ascend, or one comes after the acknowledgement deadline")
            last = after
            one_of(step["kind"], STAGE_KINDS, "kind")
            for handle in listed(step["handles"], "handles", 16):
                matching(handle, HANDLE, "an endpoint handle")
    numbers = listed(raw["exhausted"], "exhausted", 8)
    if not numbers:
        refuse("the exhausted notice has no telephone number: a sender must have one to call")
    for number in numbers:
        line = closed(number, {"hours", "label", "languages", "number"}, "a telephone number")
        matching(line["number"], NUMBER, "a number looks like +84 24 1234 5678")
        text(line["label"], "label", 200)
        text(line["hours"], "hours", 200, empty=False)
        _languages(line["languages"])
    return raw


def _languages(value: object) -> None:
    languages = listed(value, "languages", 32)
    if not languages:
        refuse("no language is given")
    for language in languages:
        matching(language, LANGUAGE, "a language tag looks like en or vi")


CARD_FIELDS = frozenset(
    {
        "authority",
        "backup",
        "capabilities",
        "languages",
        "names",
        "office",
        "oral",
        "preservation_days",
        "renewals",
        "state",
        "treaties",
        "verified",
    }
)


def _card(value: object) -> Mapping[str, Any]:
    raw = closed(value, set(CARD_FIELDS), "a card")
    matching(raw["state"], re.compile(r"[A-Z]{2}\Z"), "state is two letters")
    names = listed(raw["names"], "names", 32)
    if not names:
        refuse("the card has no name")
    for name in names:
        line = closed(name, {"language", "name"}, "a name")
        matching(line["language"], LANGUAGE, "language")
        text(line["name"], "name", 300, empty=False)
    for treaty in listed(raw["treaties"], "treaties", 32):
        line = closed(treaty, {"reservations", "since", "treaty"}, "a treaty")
        text(line["treaty"], "treaty", 60, empty=False)
        matching(line["since"], DATE, "a date looks like 2026-01-31")
        for reservation in listed(line["reservations"], "reservations", 32):
            text(reservation, "reservations", 200, empty=False)
    for capability in listed(raw["capabilities"], "capabilities", 32):
        line = closed(capability, {"assistance", "capability"}, "a capability")
        text(line["assistance"], "assistance", 60, empty=False)
        one_of(line["capability"], CAPABILITIES, "capability")
    _languages(raw["languages"])
    integer(raw["preservation_days"], "preservation_days")
    integer(raw["renewals"], "renewals")
    if not isinstance(raw["oral"], bool):
        refuse("`oral` is true or false")
    _office(raw["office"])
    if raw["backup"] != "":
        check_desk(raw["backup"])
    text(raw["authority"], "authority", 300)
    matching(raw["verified"], DATE, "a date looks like 2026-01-31")
    return raw


def _office(value: object) -> None:
    """Check when the office is open; an empty object says nothing. Zone names are not looked up: zone files differ."""
    if value == {}:
        return
    raw = closed(value, {"closes", "days", "holidays", "opens", "zone"}, "office")
    matching(raw["zone"], ZONE, "a time zone looks like Asia/Ho_Chi_Minh")
    opens, closes = (
        matching(raw[name], HOUR, "an hour looks like 08:00") for name in ("opens", "closes")
    )
    if opens >= closes:
        refuse("the office closes before it opens")
    for day in listed(raw["days"], "days", 7):
        if integer(day, "days", least=1) > 7:
            refuse("a day of the week is a number from 1, Monday, to 7")
    for day in listed(raw["holidays"], "holidays", 400):
        matching(day, DATE, "a date looks like 2026-01-31")


def check_floor(entry: DeskEntry, floor: Mapping[str, Mapping[str, int]]) -> None:
    """Raise E_DIRECTORY if a desk's profile is slower than the network allows (PROTOCOL 8.2, 8.3)."""
    for priority in PRIORITIES:
        mine, most = entry.profile[priority], floor[priority]
        found = {
            "acknowledge_s": mine["acknowledge_s"],
            "progress_s": mine["progress_s"],
            "first_stage_s": mine["stages"][0]["after_s"],
        }
        for name, value in found.items():
            if value > most[name]:
                raise Refused(
                    Code.E_DIRECTORY,
                    f"Desk {entry.desk}'s profile for {priority} has {name} {value}; the network allows {most[name]}.",
                )
