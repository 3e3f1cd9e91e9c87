"""Every parser that eats bytes from elsewhere, with real inputs to begin from: one registry for all kinds of fuzzing.

Elsewhere is the network, another desk, the relay, a directory, a stolen or damaged file, and whoever writes a file by
hand. A new parser is entered here, and ``tests/fuzz`` attacks it from then on.
"""

import atexit
import copy
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import builders_keys
import builders_wire as b
from builders_fuzz import Parse, Parser

from keys import cli_desk, describe, directory, keyfile, metadata, prekey, statement, suite
from keys.continuity import walk
from keys.directory import begin, update
from keys.entry import read_entry
from keys.errors import Code, Refused
from keys.identity import Identity, Role
from keys.keyfile import Held, KeyRing
from keys.metadata import KeySet, Kind
from keys.network import read_network
from relay import config, errors
from relay.alert.webhook import judged
from relay.core import tlog
from relay.desk import archive as archives
from relay.desk import control, filenames, home
from relay.desk.archive import Archive
from relay.desk.cli_reads import zones_of
from relay.desk.compose import read_document
from relay.desk.documents import events, forms, page, skeleton
from relay.desk.documents.web import html
from relay.desk.letters import Alias, Letter, Letters, Way
from relay.desk.shelves import SHELVES
from relay.server import control as bell
from relay.server.blobs import _announced, _wanted
from relay.server.session import named
from relay.store.base import BlobRow
from relay.wire import attachment, content, envelope, frames, receipt
from relay.wire import blob as blobs
from relay.wire.envelope import Header
from relay.wire.frames import Frame, Type

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS_TOGETHER = 9
"""Kinds of documents that share a campaign: one program reads them all, by tables."""
NOW = b.NOW


@cache
def folder() -> Path:
    """Return a folder of this process's own, for parsers that read a file."""
    place = tempfile.TemporaryDirectory(prefix="poc24-fuzz-")
    atexit.register(place.cleanup)
    Path(place.name).chmod(0o700)
    return Path(place.name)


def _through_file(name: str, read: Callable[[Path], object]) -> Parse:
    def parse(data: bytes) -> object:
        path = folder() / name
        path.write_bytes(data)
        return read(path)

    return parse


# What travels


def _payload(wire: bytes) -> bytes:
    return statement.peek(wire, limit=statement.ORIGIN_BYTES_MAX).payload


def _signed(kind: str) -> Parse:
    """The payload is the input, and the signature over it is right: a hostile member signs it."""
    signer = b.signer_of(kind)
    return lambda data: receipt.read(b.forge(data, kind=kind, by=signer), {kind}, signer.public)


def _statements() -> Iterator[Parser]:
    wires = {kind: b.receipt_of(kind).wire for kind in receipt.KINDS}
    publics = {kind: b.signer_of(kind).public for kind in receipt.KINDS}

    def any_wire(data: bytes) -> object:
        found = statement.peek(data, limit=statement.ORIGIN_BYTES_MAX)
        return receipt.finish(found, data, receipt.KINDS, publics.get(found.kind, bytes(32)))

    yield Parser("statement", any_wire, tuple(wires.values()), tokens=(b'"keyid"', b".v2+json"))
    yield Parser("strict JSON", statement.decode, tuple(map(_payload, wires.values())))
    for kind, wire in wires.items():
        yield Parser(f"statement {kind}", _signed(kind), (_payload(wire),))
    joint = statement.make_joint(
        "rotation", {"at": NOW, "desk": "AU"}, [b.device("au-01"), b.device("au-02")]
    )
    both = (b.device("au-01").public, b.device("au-02").public)
    yield Parser(
        "joint statement",
        lambda data: statement.verify_joint(data, {"rotation"}, both, 2),
        (joint.wire,),
    )


def _envelopes() -> Iterator[Parser]:
    letter, seeds, known = b.letter(), b.seeds_of("au-01"), b.three_desks()
    backup = b.letter(b.header(backup="FR"), names=("au-01", "vn-01", "fr-01"))

    def opened(sealed: bytes, submission: bytes) -> object:
        return content.open_message(
            sealed, submission, desk="AU", service=b.SERVICE, seeds=seeds, directory=known, now=NOW
        )

    stanzas = [b.stanza("au-01", b.seed("cek"), letter.header)]

    def plain(data: bytes) -> object:
        """A hostile sender seals anything, for this desk, with all signatures right."""
        sealed = b.seal_anything(letter.header, data or b"\0", stanzas=stanzas)
        return opened(sealed, b.hand_in(sealed, letter.header))

    def unpadded(data: bytes) -> object:
        """Only what stands in the plaintext is changed: its padding is right, so its lengths are read."""
        return plain(data.ljust(envelope.padme(len(data)), b"\0"))

    full = b.plaintext(letter.statement)
    yield Parser("header", Header.decode, (letter.header.encode(), backup.header.encode()))
    yield Parser("envelope", envelope.parse, (letter.envelope, backup.envelope))
    yield Parser(
        "opening an envelope", lambda data: opened(data, letter.submission), (letter.envelope,)
    )
    yield Parser(
        "opening a submission", lambda data: opened(letter.envelope, data), (letter.submission,)
    )
    yield Parser("opening a plaintext", unpadded, (full.rstrip(b"\0"), full))


def _frames() -> Iterator[Parser]:
    ids = {"epoch": 1, "seq": 2, "msg": "0" * 64}
    notify = {**ids, "to": "AU", "from": "VN", "priority": "urgent", "mode": "actual"}
    welcome = {
        "relay": b.SERVICE,
        "instance": "relay.test/1",
        "epoch": 1,
        "head": 9,
        "at": NOW,
        "token": "a" * 64,
        "until": NOW + 900,
        "directory": 7,
    }
    bodies: dict[Type, dict[str, Any]] = {
        Type.CHALLENGE: {"nonce": "b" * 64, "relay": b.SERVICE, "at": NOW, "v": 1},
        Type.WELCOME: welcome,
        Type.RESUME: {"epoch": 1, "seq": 2},
        Type.SEEN: {"epoch": 1, "seq": 2},
        Type.NOTIFY: notify,
        Type.STATEMENT: ids,
        Type.DIRECTORY: {"version": 3},
        Type.DRAINING: {"after": 4},
    }
    packed = {kind: frames.pack(kind, values) for kind, values in bodies.items()}
    whole = [frames.encode(Frame(kind, 7, body)) for kind, body in packed.items()]
    error = errors.to_json(Refused(Code.E_BUSY, "The relay is stopping.", hint="Later."), NOW)
    letter = b.letter()
    whole += [
        frames.encode(Frame(Type.SUBMIT, 1, frames.join(letter.submission, letter.envelope))),
        frames.encode(Frame(Type.ERROR, 1, error)),
    ]

    def frame(data: bytes) -> object:
        """What either side does with a frame before it knows more."""
        found = frames.decode(data)
        if found.type is Type.ERROR:
            return errors.read(found.body)
        if found.type is Type.STATEMENT:
            return frames.unpack(found.type, frames.split(found.body, 2)[0])
        if found.type in frames.BODIES:
            return frames.unpack(found.type, found.body)
        return frames.split(found.body)

    parts = (frames.join(b"", b"one", packed[Type.NOTIFY]), frames.join(*[b"x"] * 200), b"")
    yield Parser("frame", frame, tuple(whole))
    yield Parser("parts", frames.split, parts)
    yield Parser("two parts", lambda data: frames.split(data, 2), (frames.join(b"one", b"two"),))
    for kind, body in packed.items():
        yield Parser(f"frame {kind.name}", partial(frames.unpack, kind), (body,))
    epoch = {"epoch": 1, "seq": 2}
    for kind, values in (
        (Type.RESUME, {**epoch, "head": 9}),
        (Type.TOKEN, {"token": "a" * 64, "until": NOW}),
        (Type.PUBLISH, {"version": 7}),
    ):
        seeds = (frames.answer(kind, values),)
        yield Parser(f"answer to {kind.name}", partial(frames.answered, kind), seeds)
    yield Parser("name in a frame", named, (b"AU", b"timestamp.json"))
    yield Parser("error", errors.read, (error,))


# The directory


def _directories() -> Iterator[Parser]:
    world = builders_keys.World(("VN", "AU"), officers=1)
    before = KeySet.of(1, world.desk_signers["AU"])
    world.rotate("AU")
    after, root = KeySet.of(1, world.desk_signers["AU"]), KeySet.of(3, world.root_signers)
    files = world.files

    def file(part: str) -> bytes:
        return next(data for name, data in sorted(files.items()) if part in name)

    for name, kind in (
        ("root.json", Kind.ROOT),
        ("timestamp.json", Kind.TIMESTAMP),
        (".snapshot.json", Kind.SNAPSHOT),
        (".targets.json", Kind.TARGETS),
        (".desk-AU.json", Kind.TARGETS),
    ):
        # Below the cache: what is looked for is in the reading.
        yield Parser(
            f"TUF {name.strip('.')}",
            partial(metadata.read.read, kind),
            (file(name),),
            tokens=(b'"_type"', b'"succinct_roles"', b'"path_hash_prefixes"'),
        )
    yield Parser("network.json", read_network, (file("network.json"),))
    yield Parser("desk entry", lambda data: read_entry("VN", data), (file(".VN.json"),))
    yield Parser(
        "rotations", lambda data: walk("AU", before, after, data, root), (file("/rotations/"),)
    )
    trusted = begin(world.root)
    packed = directory.pack(files)
    names = sorted(files)

    def one_changed(data: bytes) -> object:
        """The first byte says which file of a whole directory is replaced by the rest."""
        offered = {**files, names[data[0] % len(names)]: data[1:]} if data else files
        return update(trusted, offered, world.now), directory.missing(trusted, offered)

    seeds = tuple(bytes([number]) + files[name] for number, name in enumerate(names))
    yield Parser("directory", one_changed, seeds)
    yield Parser("packed directory", directory.unpack, (packed, directory.pack({})))
    device = world.device("AU")
    member = world.member("AU")
    wire = world.prekeys_of("AU", device, 1)[0]

    def signed_prekey(data: bytes) -> object:
        forged = b.forge(data, kind="prekey", by=device)
        return prekey.read_prekey(forged, member)

    yield Parser("prekey", lambda data: prekey.read_prekey(data, member), (wire,))
    yield Parser("prekey, signed", signed_prekey, (_payload(wire),))
    line = Identity(Role.OFFICER, device.public).line().encode()
    yield Parser("identity", lambda data: Identity.parse(data.decode("utf-8", "replace")), (line,))


# Files that people and programs keep


def _rings() -> Iterator[Parser]:
    key = b.seed("ring")
    held = (Held(Role.DEVICE, b.seed("a"), "", "AU", NOW, {"x": "y"}), Held(Role.LOG, b.seed("b")))
    ring = KeyRing(held)
    sealed = keyfile.seal_service(ring, key)
    inside = keyfile._encode(ring)
    head = sealed[: len(keyfile.LABEL) + 4]
    header = sealed[len(head) : len(head) + int.from_bytes(head[-4:], "big")]
    person = {
        "kdf": "argon2id",
        "memory": keyfile.MEMORY_MIN,
        "passes": keyfile.PASSES_MIN,
        "salt": statement.b64u(bytes(16)),
        "v": 1,
    }

    def resealed(data: bytes) -> object:
        """Whoever has the key file writes anything inside."""
        return keyfile._decode(data)

    def reheaded(data: bytes) -> object:
        """Any header; what it asks of Argon2id is looked at, and not worked through."""
        whole = keyfile.LABEL + len(data).to_bytes(4, "big") + data + bytes(60)
        _associated, found, _sealed = keyfile._cut(whole)
        if found.get("kdf") == "argon2id":
            return keyfile._parameters({"memory": 0, "passes": 0, **found})
        return keyfile.open_ring(whole, key=key)

    yield Parser("key ring", lambda data: keyfile.open_ring(data, key=key), (sealed,))
    yield Parser("key ring, inside", resealed, (inside,))
    yield Parser("key ring's header", reheaded, (b.dumps(person), header))


def _settings() -> Iterator[Parser]:
    relay = (ROOT / "deploy/relay.example.toml").read_bytes()
    spoken = b"\n".join(
        line.removeprefix(b"# ") if b"=" in line or line.startswith(b"# [") else line
        for line in relay.splitlines()
    )
    endpoint = b"""[relay]
service = "poc24-demo"
instance = "relay1.example.org"
[[endpoint]]
desk = "AU"
handle = "duty"
channels = [
  { kind = "webhook", url = "https://pager.example.org/au", seconds = 5 },
  { kind = "command", argv = ["/bin/true", "x"] },
  { kind = "email", to = "a@b.example", sender = "c@d.example", host = "::1", security = "none" },
]
"""
    tokens: tuple[bytes, ...] = (
        b"[[endpoint]]\n",
        b"{",
        b"}",
        b'"""',
        b"'''",
        b"1979-05-27T07:32:00Z",
        b"0x",
        b"inf",
    )
    tokens = (*tokens, b"nan", b"[a.b]\n", b"a.b.c = 1\n", b"[" * 2000, b"9" * 5000, b"\x00")
    desk = (
        b'desk = "VN"\nofficer = "vn-01"\nservice = "poc24-demo"\nurl = "wss://relay.example"\n'
        b'root = "' + b"a" * 64 + b'"\nrecovery = "AAAA"\n[reply]\nname = "Ann"\nlanguage = "en"\n'
    )
    plan = (ROOT / "deploy/examples/demo_network.toml").read_bytes()

    def at_home(path: Path) -> object:
        found = home.load(path.parent)
        return found.socket, found.recovery_key

    yield Parser(
        "relay configuration",
        _through_file("relay.toml", lambda path: config.load(path, path.parent)),
        (relay, endpoint, spoken),
        tokens=tokens,
    )
    yield Parser("desk settings", _through_file("desk.toml", at_home), (desk,), tokens=tokens)
    yield Parser(
        "network description",
        _through_file("plan.toml", lambda path: describe.read_plan(path, NOW)),
        (plan,),
        tokens=tokens,
    )
    world = builders_keys.World(("VN",), officers=1)
    entry = json.loads(next(data for name, data in world.files.items() if ".VN.json" in name))
    request = b.dumps({"desk": "VN", "member": entry["members"][0], "v": 1})
    yield Parser("enrolment request", _through_file("request", cli_desk.read_request), (request,))


# Documents


def _documents() -> Iterator[Parser]:
    example = json.loads((ROOT / "deploy/examples/preservation_request.json").read_text("utf-8"))
    asked = copy.deepcopy(forms.dated(example, now=NOW))
    made = {kind: b.dumps(skeleton.example(kind, now=NOW)) for kind in forms.KINDS}
    tokens = (b"2026-11-23T03:00:00Z", b"2026-02-30", b'"UNCC-42"', b'"BUD-29"', b'"items"')

    def looked_at(data: bytes) -> object:
        """What a desk does with a document that another one sent: read, check, show."""
        found = statement.decode(data)
        kind = forms.kind_in(found) or "preservation_request"
        if len(data) % 2:  # beside the request that it answers
            return forms.check(kind, found, now=NOW, priority="urgent", request=asked)
        priority = "emergency" if kind == "emergency_request" else "routine"
        forms.require(kind, found, now=NOW, priority=priority)
        return forms.summary(kind, found)

    def on_a_page(data: bytes) -> object:
        """What an officer is shown of it, in a language, as text and as HTML; and what it does to a thread."""
        found = statement.decode(data)
        kind = str(found.get("kind", ""))
        form = page.form_of(forms.body_type(kind[:40]))
        made = page.page(form, found, "vi", zones_of(found), ["EXERCISE"])
        events.read(kind, found)
        events.expected(found)
        return list(page.plain(made)), html(made)

    yield Parser("document on a page", on_a_page, tuple(made.values()), tokens=tokens)
    yield Parser("document file", read_document, (b.dumps(asked), b"\xef\xbb\xbf{}"))
    yield Parser("document preservation_request", looked_at, (b.dumps(asked),), tokens=tokens)
    for first in range(0, len(made), DOCUMENTS_TOGETHER):
        kinds = list(made)[first : first + DOCUMENTS_TOGETHER]
        seeds = tuple(made[kind] for kind in kinds)
        yield Parser(f"documents {kinds[0]} and after", looked_at, seeds, tokens=tokens)


# Attachments


def _attachments() -> Iterator[Parser]:
    cek, data = b.seed("cek"), b"a file " * 100
    secret = attachment.secret_of(cek, 0)
    sealing = attachment.Sealing(secret, len(data), BytesIO(data).read)
    whole = b"".join(sealing)
    facts = sealing.facts

    def opened(blob: bytes) -> object:
        return b"".join(attachment.opened(secret, facts, BytesIO(blob).read))

    def resealed(plain: bytes) -> object:
        """Whoever sends it seals anything; the sizes and hashes are those that an officer signed."""
        padded = plain.ljust(16_384, b"\0")
        chunks = suite.chunks_of(padded, suite.CHUNK_BYTES)
        return opened(whole[: blobs.FRAME_BYTES] + b"".join(suite.stream_seal(secret[:32], chunks)))

    def length(data: bytes) -> None:
        blobs.check_length(int.from_bytes(data[:8], "big"))

    def announced(data: bytes) -> object:
        said, _, body = data.decode("utf-8", "surrogateescape").rpartition("\n")
        request = SimpleNamespace(content_length=len(body), headers={"Content-Range": said})
        return _announced(cast("Any", request))

    row = BlobRow(facts.blob, len(whole), NOW, ("VN",), ())

    def asked(data: bytes) -> object:
        """Bytes of a blob that a desk asks for: they are in it, or the relay says that there are none."""
        request = SimpleNamespace(headers={"Range": data.decode("utf-8", "surrogateescape")})
        found = _wanted(cast("Any", request), row)
        assert found is None or 0 <= found[0] <= found[1] < row.size
        return found

    yield Parser("attachment", opened, (whole,))
    yield Parser("attachment, sealed rightly", resealed, (data,))
    yield Parser("length of a blob", length, (len(whole).to_bytes(8, "big"),))
    yield Parser("piece of a blob", announced, (b"bytes 0-3/16445\nabcd", b"bytes 5-5/9\nx"))
    yield Parser("range of a blob", asked, (b"bytes=0-", b"bytes=5-9", b"bytes=-7"))
    names = ("photo.jpg", "C:\\\\x\\\\con.txt", "../../etc/passwd", "\u202egpj.exe")

    def harmless(data: bytes) -> object:
        name = filenames.plain(data.decode("utf-8", "surrogateescape"))
        assert not filenames.odd(name), name
        return filenames.media_type(name)

    yield Parser("name of a file", harmless, tuple(name.encode() for name in names))


# What lies at rest, and what comes in at the counter


def _kept() -> Iterator[Parser]:
    key = b.seed("archive")
    path = folder() / "seed.db"
    path.unlink(missing_ok=True)
    letter = b.letter()
    found = receipt.read(letter.statement, {"statement"}, b.officer("vn-01").public)
    with Archive(path, key) as archive, archive.commit():
        kept = Letters(archive)
        kept.put(
            Letter(*(found.sid, Way.RECEIVED, NOW, False, 1, letter.header, found, b.BODY, "vn-01"))
        )
        kept.name(Alias("0" * 64, found.sid, Way.RECEIVED, NOW, NOW + 86_400))
        kept.remember(found.sid, NOW)
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA journal_mode = DELETE")
        file.execute("VACUUM")
    file.close()
    image = path.read_bytes()

    def opened(data: bytes) -> object:
        """Read every row of an archive whose file somebody changed."""
        if not data:
            return None  # an empty file is a new archive
        held = sqlite3.connect(":memory:", isolation_level=None)
        try:
            try:
                held.deserialize(data)
            except sqlite3.Error as unreadable:
                raise archives._no_archive(path) from unreadable
            archive = Archive.__new__(Archive)
            archive.path, archive._key, archive._file = path, key, held
            archive._writing = archive._broken = False
            archives._check_version(held, path)
            archive._check_key()
            rows = [archive.find(table) for table in SHELVES]
            return rows, [(one.about, one.body) for one in Letters(archive).all()]
        finally:
            held.close()

    tokens = (b"received", b"SQLite format 3\0", b"CREATE TABLE", b"SELECT", b"message", b"vn-01")
    yield Parser("archive file", opened, (image,), tokens=tokens)

    def stored(data: bytes) -> object:
        """One value in the clear of a row that is otherwise whole: the last byte says which."""
        where = ("way", "received", "expires", "revoked", "needs", "id")
        column = where[data[-1] % len(where)] if data else "way"
        held = sqlite3.connect(":memory:", isolation_level=None)
        try:
            held.deserialize(image)
            value: object = data[:-1]
            try:
                value = json.loads(data[:-1])
            except (ValueError, RecursionError):
                value = data[:-1].decode("utf-8", "replace")
            if not isinstance(value, int | float | str) or (
                isinstance(value, int) and abs(value) >= 2**63
            ):
                value = str(value)[:100]
            if isinstance(value, float):
                value = repr(value)
            if isinstance(value, str):
                value = value.encode("utf-8", "replace").decode()
            held.execute(f"UPDATE message SET {column} = ?", (value,))
            if column in {"way", "received", "expires"}:
                held.execute(f"UPDATE alias SET {column} = ?", (value,))
            archive = Archive.__new__(Archive)
            archive.path, archive._key, archive._file = path, key, held
            archive._writing = archive._broken = False
            kept, ((sid,),) = Letters(archive), held.execute("SELECT id FROM message").fetchall()
            return kept.get(sid), kept.all(), kept.alias("0" * 64), kept.seen(sid)
        finally:
            held.close()

    yield Parser(
        "archive row", stored, (b'"own"\0', b"1800000000\1", b"1\4", b'"' + b"a" * 64 + b'"\5')
    )
    yield Parser(
        "evidence log's frontier", tlog.decode, (tlog.encode(tlog.append(tlog.EMPTY, [b"a"] * 7)),)
    )
    questions = [
        {"verb": verb, "arguments": {name: kind() for name, kind in shape.items()}}
        for verb, shape in control.VERBS.items()
    ]
    yield Parser(
        "question to the desk",
        lambda data: control.check_question(statement.decode(data)),
        tuple(map(b.dumps, questions)),
    )

    backup = b.dumps({"path": "/var/backups/relay.db"})
    yield Parser("question to the relay", bell.path_in, (backup,))

    def after(data: bytes) -> object:
        return judged(503, data.decode("latin-1"))

    yield Parser("Retry-After", after, (b"120", b"Wed, 21 Oct 2026 07:28:00 GMT"))


@cache
def parsers() -> dict[str, Parser]:
    """Return every parser by its name."""
    travelling = (_statements, _envelopes, _attachments, _frames, _directories)
    makers = (*travelling, _rings, _settings, _documents, _kept)
    found = [one for make in makers for one in make()]
    names = [one.name for one in found]
    assert len(set(names)) == len(names)
    return {one.name: one for one in found}
