"""A desk's home folder: what is in it, and who may open it.

::

    desk.toml      which desk, officer and relay; nothing secret
    root.json      the trust anchor: the directory's first root document
    device.ring    the device's keys, sealed under device.key (32 bytes), so that `desk serve` starts alone
    officer.ring   the officer's key, sealed under a passphrase; it may lie elsewhere (--officer-ring)
    archive.db     everything that was sent, received and proven, sealed
    control.sock   how commands reach a running `desk serve`
    desk.lock      held by whatever runs the desk now: one process for one home

The folder is 0700. Unknown settings are errors: a mistyped one must not pass for a missing one.
"""

import fcntl
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from keys import keyfile, statement, suite
from keys.errors import Code, Failed, Refused
from keys.identity import Role, Signer, fingerprint
from relay import errors
from relay.desk.approval import WORDS
from relay.desk.documents import clocks

CONFIG_BYTES_MAX = 64 * 1024
ROOT_BYTES_MAX = 1024 * 1024
RECOVERY_LABEL = "recovery"
"""Label of a desk's recovery key in its ring."""

_DESK = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,4})?\Z")


@dataclass(frozen=True, slots=True)
class Reply:
    """What this desk writes into every answer; all of it can be given on the command line too."""

    name: str = ""
    """Who signs for the desk in documents; "" = the officer's handle, so that no name travels."""
    function: str = "Officer of the contact point"
    authority: str = ""
    """The central authority that takes requests for mutual legal assistance."""
    language: str = "en"
    requirements: str = ""
    """What such a request must have."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What this desk asks of its own officers."""

    approve: tuple[str, ...] = ()
    """What a second officer approves before it is sent, besides refusals: priorities of requests, kinds of document."""


@dataclass(frozen=True, slots=True)
class Home:
    """The settings of one desk on one device, as read from ``desk.toml``."""

    folder: Path
    desk: str
    officer: str
    service: str
    url: str
    """Where the relay is; several addresses stand with spaces between them."""
    root: str
    """SHA-256 of root.json, hex: the anchor cannot be swapped without changing desk.toml too."""
    ca: str = ""
    control: str = ""
    recovery: str = ""
    """The desk's public recovery key (1216 bytes, b64u), for which the archive's key is wrapped."""
    reply: Reply = field(default_factory=Reply)
    policy: Policy = field(default_factory=Policy)
    clocks: Mapping[str, object] = field(default_factory=dict)
    """This desk's own clocks for matters: stricter ones than those of ``documents/clocks.json``."""

    @property
    def socket(self) -> Path:
        """Where a running desk listens."""
        return self.folder / (self.control or "control.sock")

    @property
    def archive(self) -> Path:
        """The archive's file."""
        return self.folder / "archive.db"

    @property
    def recovery_key(self) -> bytes:
        """The recovery key's bytes, or b""."""
        return statement.unb64u(self.recovery) if self.recovery else b""

    def trust_anchor(self) -> bytes:
        """Return root.json; E_DIRECTORY where it is not the one that was accepted at `desk init`."""
        data = _read(self.folder / "root.json", ROOT_BYTES_MAX)
        if suite.sha256(data).hex() != self.root:
            raise Refused(
                Code.E_DIRECTORY,
                f"{self.folder / 'root.json'} is not the root document that this desk trusts.",
                hint="Somebody changed it, or desk.toml. Compare fingerprints by telephone: "
                f"this one is {fingerprint(suite.sha256(data).hex())}.",
            )
        return data


def load(folder: Path) -> Home:
    """Read the settings in *folder*; Failed (78) for a missing, unknown or wrong one."""
    path = folder / "desk.toml"
    if not path.exists():
        raise Failed(
            f"{folder} is not a desk's home: it has no desk.toml.",
            hint="Type: desk init --help, or name the right folder with --home or POC24_DESK_HOME.",
            exit_code=errors.CONFIGURATION,
        )
    _check_private(folder)
    try:
        found = tomllib.loads(_read(path, CONFIG_BYTES_MAX).decode())
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, lists in lists
        _wrong(path, f"it is not TOML ({error})")
    return _home(folder, path, found)


def _home(folder: Path, path: Path, found: dict[str, Any]) -> Home:
    known = {one.name for one in fields(Home)} - {"folder"}
    _closed(path, found, known)
    spoken = found.pop("reply", {})
    if not isinstance(spoken, dict):
        _wrong(path, "reply is not a table")
    _closed(path, spoken, {one.name for one in fields(Reply)}, "reply.")
    policy = _policy(path, found.pop("policy", {}))
    own = _clocks(path, found.pop("clocks", {}))
    missing = {"desk", "officer", "service", "url", "root"} - set(found)
    if missing:
        _wrong(path, f"{', '.join(sorted(missing))} is missing")
    if not _DESK.match(found["desk"]):
        _wrong(path, 'desk is not like "VN" or "AU-B"')
    return Home(folder=folder, reply=Reply(**spoken), policy=policy, clocks=own, **found)


def _policy(path: Path, found: Any) -> Policy:
    if not isinstance(found, dict):
        _wrong(path, "policy is not a table")
    for name in found:
        if name != "approve":
            _wrong(path, f"policy.{name} is not a setting; known are approve")
    words = found.get("approve", [])
    if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
        _wrong(path, "policy.approve is not a list of words in quotes")
    for word in words:
        if word not in WORDS:
            _wrong(
                path,
                f"policy.approve names {word!r}, which is neither a priority (emergency, urgent, routine) "
                "nor a kind of document (desk schema lists them)",
            )
    return Policy(tuple(words))


def _clocks(path: Path, found: Any) -> dict[str, object]:
    if not isinstance(found, dict):
        _wrong(path, "clocks is not a table")
    for name, value in found.items():
        if name in clocks.table():
            if type(value) is not int or value <= 0:
                _wrong(path, f"clocks.{name} is not a number of seconds")
            if all(name in clocks.weaker(found, one) for one in ("emergency", "urgent", "routine")):
                _wrong(
                    path,
                    f"clocks.{name} is weaker than what every desk keeps, and so has no effect",
                )
        elif name in clocks.reminders():
            good = isinstance(value, list) and all(
                type(one) is int and 0 < one <= 3650 for one in value
            )
            if not good:
                _wrong(path, f"clocks.{name} is not a list of days")
        else:
            known = ", ".join(sorted({*clocks.table(), *clocks.reminders()}))
            _wrong(path, f"clocks.{name} is not a setting; known are {known}")
    return found


def _closed(path: Path, found: dict[str, Any], known: set[str], where: str = "") -> None:
    for name, value in found.items():
        if name not in known:
            _wrong(path, f"{where}{name} is not a setting; known are {', '.join(sorted(known))}")
        if not isinstance(value, str) and name not in {"reply", "policy", "clocks"}:
            _wrong(path, f"{where}{name} is not a text in quotes")


def _wrong(path: Path, what: str) -> NoReturn:
    raise Failed(f"{path} cannot be used: {what}.", exit_code=errors.CONFIGURATION)


def create(home: Home, root: bytes) -> None:
    """Write desk.toml and root.json into the home; Failed (73) where one is there already."""
    home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.folder.chmod(0o700)
    if (home.folder / "desk.toml").exists():
        raise Failed(
            f"{home.folder} is a desk's home already.",
            hint="Name another folder with --home, or edit its desk.toml.",
            exit_code=73,
        )
    lines = [f"# Settings of desk {home.desk} on this device. Nothing here is secret."]
    lines += [
        f"{one.name} = {_quoted(getattr(home, one.name))}"
        for one in fields(Home)
        if one.name not in {"folder", "reply", "policy", "clocks"} and getattr(home, one.name)
    ]
    lines += ["", "[reply]", "# What every answer says; the command line can say otherwise."]
    lines += [f"{one.name} = {_quoted(getattr(home.reply, one.name))}" for one in fields(Reply)]
    lines += ["", "[policy]"]
    lines += [
        "# What a second officer approves besides refusals: priorities of requests, kinds of document."
    ]
    lines += [f"approve = [{', '.join(map(_quoted, home.policy.approve))}]"]
    keyfile.write_private(home.folder / "root.json", root)
    keyfile.write_private(home.folder / "desk.toml", ("\n".join(lines) + "\n").encode())


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Failed(
            f"{path} cannot be read: {error.strerror}.", exit_code=errors.CONFIGURATION
        ) from None
    if len(data) > limit:
        raise Failed(f"{path} has more than {limit} bytes.", exit_code=errors.CONFIGURATION)
    return data


def _check_private(folder: Path) -> None:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        raise Failed(
            f"The desk's home is open to other accounts of this machine (mode {mode:o}): {folder}",
            hint=f"Type: chmod 700 {folder}",
            exit_code=errors.NO_PERMISSION,
        )


# One desk for one home


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Be the one process that runs this home's desk; Failed (75) where another one is.

    The kernel frees the lock when its holder dies, however it dies.
    """
    handle = os.open(folder / "desk.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 20).decode("ascii", "replace").strip()
            raise Failed(
                f"Another process runs this desk already (process {owner or 'unknown'}): {folder}",
                hint="One home is for one process. End that one, or give another --home.",
                exit_code=errors.TRY_AGAIN,
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


# Keys


def credential(folder: Path, named: Path | None) -> bytes:
    """Return the 32 bytes that open the device's ring.

    From *named* (``--credential-file``), else from the service manager's credentials folder
    (``device.key`` in $CREDENTIALS_DIRECTORY), else from the home. Failed (77, 78).
    """
    given = os.environ.get("CREDENTIALS_DIRECTORY", "")
    managed = Path(given) / "device.key" if given else None
    path = named or (managed if managed and managed.exists() else folder / "device.key")
    if not path.exists():
        raise Failed(
            f"The device's key is not there: {path}",
            hint="`keys enrol` writes it; name another place with --credential-file FILE.",
            exit_code=errors.NO_PERMISSION,
        )
    return keyfile.read_credential(path)


def device(folder: Path, key: bytes) -> tuple[Signer, bytes]:
    """Return the device's signing key and the 32-byte key of its archive.

    E_KEYRING where *key* is another's, or where one of the two is not in the ring.
    """
    ring = keyfile.open_ring(_ring(folder / "device.ring", "It belongs into the home."), key=key)
    return ring.signer(Role.DEVICE), ring.one(Role.DEVICE, keyfile.ARCHIVE).seed


def officer(path: Path, passphrase: str, desk: str) -> Signer:
    """Return the officer's key from *path*; E_KEYRING for a wrong passphrase or another desk's."""
    data = _ring(path, "Name another place with --officer-ring FILE.")
    one = keyfile.open_ring(data, passphrase=passphrase).one(Role.OFFICER)
    _check_owner(path, one.desk, desk)
    return one.signer()


def recovery_seed(path: Path, passphrase: str, desk: str) -> bytes:
    """Return the 32 secret bytes of the desk's recovery key, which opens its backups; E_KEYRING."""
    data = _ring(path, "Name the one from the safe with --recovery-ring FILE.")
    one = keyfile.open_ring(data, passphrase=passphrase).one(Role.DESK, RECOVERY_LABEL)
    _check_owner(path, one.desk, desk)
    return one.seed


def _check_owner(path: Path, of: str, desk: str) -> None:
    if of not in {"", desk}:
        raise Refused(
            Code.E_KEYRING,
            f"The key in {path} belongs to {of}, not to {desk}.",
            hint="Name the right ring, or the right --home.",
        )


def _ring(path: Path, where: str) -> bytes:
    if not path.exists():
        raise Failed(
            f"There is no key ring at {path}.",
            hint=f"`keys enrol` makes it. {where}",
            exit_code=errors.NO_PERMISSION,
        )
    return keyfile.read_private(path)
