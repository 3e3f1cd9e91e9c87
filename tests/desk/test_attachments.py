"""Attachments between desks: up before their message, down after it, whole or not at all (PROTOCOL 9.5)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders_attached import AttachedSeat, AttachedStage, attached, data_of

from keys.errors import Code, Failed, Refused
from relay.desk import downloads, paper_attachments, spool, uploads
from relay.desk.carrier import Standing
from relay.desk.roster import TurnedDown
from relay.store.memory import MemoryStore

FILES = {"photo.jpg": data_of(200_000, "photo"), "note.txt": b""}


@pytest.fixture
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move attachments in pieces of 20 kB, so that there are several."""
    for module in (uploads, downloads):
        monkeypatch.setattr(module, "PIECE_BYTES", 20_000)


def test_a_request_with_two_files(tmp_path: Path) -> None:
    """Two files go up, the message follows, the recipient's desk fetches and opens both; the sender keeps none (9.5)."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send_with("AU", FILES)
        await vn.desk.wait(sent["statement"], "delivered", 60)
        await stage.settle()
        (came,) = await au.shown()
        shown = [
            {name: one[name] for name in ("number", "name", "size", "state", "percent")}
            for one in came["attachments"]
        ]
        assert shown == [
            {"number": 1, "name": "photo.jpg", "size": 200_000, "state": "here", "percent": 100},
            {"number": 2, "name": "note.txt", "size": 0, "state": "here", "percent": 100},
        ]
        for number, data in enumerate(FILES.values(), 1):
            assert await au.saved(came["msg"], number) == data
        assert vn.files() == []
        assert au.files() == ["in/.00", "in/.01"]
        assert await vn.states(sent["statement"]) == ["sent", "sent"]
        with pytest.raises(Refused, match="keeps no copy"):
            await vn.desk.unlock(sent["statement"], 1)
        with pytest.raises(Refused, match="2 attachments; there is none with the number 3"):
            await au.desk.unlock(came["msg"], 3)
        assert [one["state"] for one in au.told("attachment")] == ["here", "here"]
        (event,) = au.told("message")
        assert event["attachments"] == 2
        timeline = await au.desk.timeline(came["msg"])
        assert "with 2 attachments" in timeline["lines"][0]["text"]
        assert "photo" not in str(event)

    attached(story, tmp_path)


def test_nothing_sealed_can_be_read_on_the_disk(tmp_path: Path) -> None:
    """No byte of a file, and no name, is in clear in either desk's folder or archive, nor at the relay."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        secret = b"the very text that nobody else may read" * 100
        au.carrier.before = _refuse("GET")
        sent = await vn.send_with("AU", {"informant.txt": secret})
        await vn.desk.wait(sent["statement"], "delivered", 60)
        au.carrier.before = None
        await au.restart()
        await au.until_states(sent["statement"], "here")
        for path in tmp_path.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert secret[:39] not in data, path
                assert b"informant" not in data, path
        assert await au.saved(sent["statement"]) == secret

    attached(story, tmp_path)


def _refuse(*methods: str) -> Callable[[str, str], Any]:
    async def before(method: str, _blob: str) -> None:
        if method in methods:
            raise ConnectionResetError("The line broke.")

    return before


def test_delivered_does_not_wait(tmp_path: Path) -> None:
    """A relay that holds the blobs back holds back neither the message nor `delivered` (3.12); `show` says what lacks."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")

        async def nothing(method: str, _blob: str) -> None:
            if method == "GET":
                raise TurnedDown(Code.E_UNKNOWN, "No.")

        au.carrier.before = nothing
        sent = await vn.send_with("AU", FILES)
        await vn.desk.wait(sent["statement"], "delivered", 60)
        await au.until(lambda: len(au.told("attachment")) == 2)
        (came,) = await au.shown()
        assert {one["state"] for one in came["attachments"]} == {"coming"}
        assert (
            "Attachment 1 (photo.jpg) is not here yet. The relay does not have it."
            in came["warning"]
        )
        with pytest.raises(Refused) as refused:
            await au.desk.unlock(came["msg"], 1)
        assert refused.value.code is Code.E_BLOB_MISSING
        au.carrier.before = None
        await au.until_states(came["msg"], "here", "here")
        assert (await au.shown())[0]["warning"] == ""

    attached(story, tmp_path)


# What is handed over


def _another_byte(named: list[dict[str, Any]], stage: Path) -> None:
    path = stage / named[0]["blob"]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _swapped(named: list[dict[str, Any]], stage: Path) -> None:
    named[0]["blob"], named[1]["blob"] = named[1]["blob"], named[0]["blob"]


def _gone(named: list[dict[str, Any]], stage: Path) -> None:
    (stage / named[1]["blob"]).unlink()


def _signed(**changes: Any) -> Callable[[list[dict[str, Any]], Path], None]:
    def lie(named: list[dict[str, Any]], stage: Path) -> None:
        named[0].update(changes)

    return lie


LIES = {
    "a byte of a blob": (_another_byte, {}, Code.E_DECRYPT),
    "two swapped": (_swapped, {}, Code.E_COMMIT),
    "another size": (_signed(size=199_999), {}, Code.E_PADDING),
    "another hash": (_signed(sha256="0" * 64), {}, Code.E_BINDING),
    "one twice": (lambda named, _stage: named.append(dict(named[0])), {}, Code.E_ENCODING),
    "another content key": (None, {"cek": "A" * 43}, Code.E_COMMIT),
    "no content key": (None, {"cek": ""}, Code.E_BINDING),
    "a key of another length": (None, {"cek": "AAAA"}, Code.E_KEY),
    "a file that is gone": (_gone, {}, 66),
    "no folder": (None, {"staged": ""}, 66),
    "another folder": (None, {"staged": "../../x"}, 66),
}


@pytest.mark.parametrize("name", LIES)
def test_what_is_handed_over_is_opened_first(tmp_path: Path, name: str) -> None:
    """What the recipient would refuse is refused before it is kept; nothing of it stays, and the next one goes (9.5.5)."""
    lie, handed, code = LIES[name]

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        with pytest.raises((Refused, Failed)) as wrong:
            await vn.send_with("AU", FILES, lie=lie, handed=handed)
        found = wrong.value
        assert code in {getattr(found, "code", 0), getattr(found, "exit_code", 0)}
        assert (await vn.desk.status())["outbox"] == 0
        assert vn.files() == []
        await vn.send_with("AU", FILES)
        await stage.settle()
        assert len(await au.shown()) == 1

    attached(story, tmp_path)


def test_a_key_without_attachments(tmp_path: Path) -> None:
    """A content key belongs to attachments: alone it is refused (E_BINDING)."""

    async def story(stage: AttachedStage) -> None:
        vn = await stage.seat("VN")
        made = vn.write("AU")
        with pytest.raises(Refused) as refused:
            await vn.desk.send(made["header"], made["statement"], made["body"], cek="A" * 43)
        assert refused.value.code is Code.E_BINDING

    attached(story, tmp_path)


def test_handed_over_twice(tmp_path: Path) -> None:
    """The same message handed over again changes nothing, though its files have left their stage."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        vn.carrier.before = _refuse("PUT")
        handed: list[tuple[Any, ...]] = []
        send = vn.desk.send

        async def twice(*given: str, **more: Any) -> dict[str, Any]:
            handed.append((given, more))
            return await send(*given, **more)

        vn.desk.send = twice  # type: ignore[method-assign]
        first = await vn.send_with("AU", FILES)
        ((given, more),) = handed
        assert (await send(*given, **more))["statement"] == first["statement"]
        vn.carrier.before = None
        await vn.desk.wait(first["statement"], "delivered", 120)
        assert len(await au.shown()) == 1

    attached(story, tmp_path)


# Up


@pytest.mark.usefixtures("_small_pieces")
def test_an_upload_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    """The line breaks between pieces, and the desk is started anew: what the relay has is not sent again."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")

        async def broken(method: str, _blob: str) -> None:
            if method == "PUT" and vn.carrier.count("PUT") % 3 == 0:
                vn.cut()
                raise ConnectionResetError("The line broke.")

        vn.carrier.after = broken
        sent = await vn.send_with("AU", {"photo.jpg": FILES["photo.jpg"]})
        await vn.until(lambda: vn.carrier.count("PUT") >= 5)
        percent = (await vn.listed(sent["statement"]))[0]["percent"]
        assert 0 < percent < 99
        await vn.restart()
        await vn.until(lambda: vn.carrier.count("PUT") >= 7)
        vn.carrier.after = None
        await vn.desk.wait(sent["statement"], "delivered", 120)
        await au.until_states(sent["statement"], "here")
        assert vn.carrier.count("PUT") == 11  # 213,067 bytes, each once
        assert await au.saved(sent["statement"]) == FILES["photo.jpg"]

    attached(story, tmp_path)


@pytest.mark.usefixtures("_small_pieces")
def test_the_emergency_goes_first(tmp_path: Path) -> None:
    """An emergency's files pass those of a routine message that are half way, up and down; and a bare message all."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        events: list[str] = []
        names: dict[str, str] = {}

        async def slow(method: str, blob: str) -> None:
            await stage.clock.sleep(10)
            if method in {"PUT", "GET"}:
                events.append(f"{method} {names[blob]}")

        vn.carrier.before = au.carrier.before = slow

        def remember(name: str) -> Callable[[list[dict[str, Any]], Path], None]:
            return lambda named, _stage: names.update({named[0]["blob"]: name})

        long, short = data_of(200_000), data_of(40_000)
        first = await vn.send_with(
            "AU", {"long": long}, priority="routine", lie=remember("routine")
        )
        await stage.clock.sleep(35)
        second = await vn.send_with(
            "AU", {"short": short}, priority="emergency", lie=remember("emergency")
        )
        bare = await vn.send("AU")
        await vn.desk.wait(bare["msg"], "delivered", 5)
        await vn.desk.wait(second["statement"], "delivered", 120)
        await vn.desk.wait(first["statement"], "delivered", 600)
        await au.until_states(first["statement"], "here")
        puts = [one.split()[1] for one in events if one.startswith("PUT")]
        assert puts[:3] == ["routine"] * 3
        assert puts[3:6] == ["emergency"] * 3
        assert set(puts[6:]) == {"routine"}
        gets = [one.split()[1] for one in events if one.startswith("GET")]
        assert gets[:3] == ["emergency"] * 3

    attached(story, tmp_path)


def test_the_relay_has_lost_it_when_the_message_comes(tmp_path: Path) -> None:
    """E_BLOB_MISSING: the desk uploads again and submits again, and nobody hears of it (9.5.4)."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        lost: list[str] = []

        async def lose(method: str, blob: str) -> None:
            if method == "PUT" and not lost:
                lost.append(blob)
                (tmp_path / "relay-blobs" / blob).unlink()

        vn.carrier.after = lose
        sent = await vn.send_with("AU", FILES)
        await vn.desk.wait(sent["statement"], "delivered", 120)
        await au.until_states(sent["statement"], "here", "here")
        assert vn.carrier.count("PUT") == 3
        assert vn.told("refused") == []

    attached(story, tmp_path)


def test_a_relay_that_always_misses_something(tmp_path: Path) -> None:
    """A relay that says that it has a blob, and that it is missing, is asked less and less; the message stays."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")

        async def claim(token: str, blob: str) -> Standing:
            vn.carrier.calls.append(("HEAD", ""))
            return Standing(whole=True, offset=0)

        honest, vn.carrier.look = vn.carrier.look, claim  # type: ignore[method-assign]
        sent = await vn.send_with("AU", FILES)
        await stage.clock.sleep(3600)
        assert 4 < vn.carrier.count("HEAD") < 40
        assert (await vn.desk.show(sent["statement"]))["state"] == "queued"
        vn.carrier.look = honest  # type: ignore[method-assign]
        await stage.freshen()
        await vn.desk.wait(sent["statement"], "delivered", 3600)
        assert len(await au.shown()) == 1

    attached(story, tmp_path)


def test_a_reseal_uploads_nothing_again(tmp_path: Path) -> None:
    """A device is enrolled while the files go up: header, content key and blobs stay, each went up once (9.3.3)."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        late: list[AttachedSeat] = []

        async def enrol(method: str, _blob: str) -> None:
            if method == "PUT" and not late:
                stage.world.enrol("AU", "au-09", stage.clock.now())
                await stage.publish()
                late.append(await stage.seat("AU", "au-09"))
                await stage.clock.sleep(
                    700
                )  # its prekeys are settled, and the relay wants it served

        vn.carrier.before = enrol
        sent = await vn.send_with("AU", FILES)
        await vn.desk.wait(sent["statement"], "delivered", 1000)
        await stage.settle()
        for seat in (au, late[0]):
            await seat.until_states(sent["statement"], "here", "here")
            assert await seat.saved(sent["statement"]) == FILES["photo.jpg"]
        assert sent["msg"] != (await vn.desk.show(sent["statement"]))["msg"]
        assert vn.carrier.count("PUT") == 2

    attached(story, tmp_path)


def test_another_store_gets_everything_again(tmp_path: Path) -> None:
    """The relay comes back with an empty store and no files: blobs and message are brought to it once more (11.2)."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await au.stop()
        sent = await vn.send_with("AU", FILES)
        await vn.desk.wait(sent["statement"], "accepted", 60)
        assert vn.files() == ["out/.00", "out/.01"]
        stage.line.down = True
        await stage.close()
        for path in (tmp_path / "relay-blobs").iterdir():
            if path.is_file():
                path.unlink()
        await stage.clock.sleep(60)
        stage.line.down = False
        await stage.open(MemoryStore())
        au.start()
        await vn.desk.wait(sent["statement"], "delivered", 300)
        await au.until_states(sent["statement"], "here", "here")
        await stage.settle()
        assert vn.files() == []

    attached(story, tmp_path)


def test_the_quota_is_told_once_and_waited_for(tmp_path: Path) -> None:
    """A relay that has no room for this desk's files (E_RATE): told once, shown, tried on, and sent when there is."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        stage.blobs._quota = 1000
        sent = await vn.send_with("AU", FILES)
        await stage.clock.sleep(600)
        told = [one for one in vn.told("refused") if one["code"] == "E_RATE"]
        assert len(told) == 2  # one for each of the two files
        assert "quota" in str((await vn.desk.show(sent["statement"]))["warnings"])
        stage.blobs._quota = 1 << 30
        await vn.desk.wait(sent["statement"], "delivered", 3600)
        assert len(await au.shown()) == 1

    attached(story, tmp_path)


def test_a_relay_that_never_takes_it(tmp_path: Path) -> None:
    """E_TOO_LARGE is final: the message is refused, the officer is told, and nothing of it stays on the disk."""

    async def story(stage: AttachedStage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")

        async def never(method: str, _blob: str) -> None:
            if method == "PUT":
                raise TurnedDown(Code.E_TOO_LARGE, "This relay takes no files of that size.")

        vn.carrier.before = never
        sent = await vn.send_with("AU", FILES)
        with pytest.raises(Refused) as refused:
            await vn.desk.wait(sent["statement"], "accepted", 60)
        assert refused.value.code is Code.E_TOO_LARGE
        await stage.settle()
        assert vn.told("refused")[0]["final"] is True
        assert vn.files() == []

    attached(story, tmp_path)


@pytest.mark.parametrize("how", ["gone", "changed", "shorter"])
def test_a_sealed_file_that_the_disk_lost(tmp_path: Path, how: str) -> None:
    """What waits on this disk and is damaged can never be sent: said at once, with what to do (E_BLOB_MISSING)."""

    async def story(stage: AttachedStage) -> None:
        vn = await stage.seat("VN")
        vn.carrier.before = _refuse("HEAD")
        sent = await vn.send_with("AU", FILES)
        path = vn.spool.out(f"{sent['statement']}.00")
        data = bytearray(path.read_bytes())
        data[100_000] ^= 1
        path.write_bytes(data if how == "changed" else data[:-1])
        if how == "gone":
            path.unlink()
        vn.carrier.before = None
        with pytest.raises(Refused, match="missing or damaged") as refused:
            await vn.desk.wait(sent["statement"], "accepted", 60)
        assert refused.value.code is Code.E_BLOB_MISSING
        assert (await vn.desk.show(sent["statement"]))["state"] == "refused"
        await stage.settle()
        assert vn.files() == []

    attached(story, tmp_path)


def test_withdrawn_before_it_left(tmp_path: Path) -> None:
    """A message withdrawn while its files go up takes them along: nothing is sent, and nothing stays."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        vn.carrier.before = _refuse("PUT")
        sent = await vn.send_with("AU", FILES)
        await vn.sign("withdrawn", sent["statement"])
        vn.carrier.before = None
        await stage.settle()
        assert vn.files() == []
        assert await au.shown() == []
        assert (await vn.desk.show(sent["statement"]))["state"] == "withdrawn"

    attached(story, tmp_path)


def test_expired_before_its_files_were_up(tmp_path: Path) -> None:
    """A message whose time is over while its files wait is refused as expired, and its files go."""

    async def story(stage: AttachedStage) -> None:
        vn = await stage.seat("VN")
        vn.carrier.before = _refuse("PUT", "HEAD")
        header = vn.header("AU")
        sent = await vn.send_with("AU", FILES, expires=header.created + 7200, ack_by=0)
        await stage.clock.sleep(3 * 3600)
        assert (await vn.desk.show(sent["statement"]))["state"] == "refused"
        assert vn.told("refused")[-1]["code"] == "E_EXPIRED"
        assert vn.files() == []

    attached(story, tmp_path)


def test_a_token_that_lapsed_is_renewed(tmp_path: Path) -> None:
    """After 15 minutes, and after a relay that forgot its tokens, the next piece goes with another token (12.8)."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await stage.clock.sleep(1000)
        first = await vn.send_with("AU", FILES)
        await vn.desk.wait(first["statement"], "delivered", 10)
        stage.door.tokens._held.clear()
        stage.door.tokens._of.clear()
        second = await vn.send_with("AU", FILES)
        await vn.desk.wait(second["statement"], "delivered", 10)
        await au.until_states(second["statement"], "here", "here")

    attached(story, tmp_path)


# Down


@pytest.mark.usefixtures("_small_pieces")
def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    """The line breaks between pieces, and the desk is started anew: what is here is not fetched again."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")

        async def broken(method: str, _blob: str) -> None:
            if method == "GET" and au.carrier.count("GET") % 3 == 0:
                au.cut()
                raise ConnectionResetError("The line broke.")

        au.carrier.after = broken
        sent = await vn.send_with("AU", {"photo.jpg": FILES["photo.jpg"]})
        await au.until(lambda: au.carrier.count("GET") >= 4)
        assert 0 < (await au.listed(sent["statement"]))[0]["percent"] < 99
        await au.restart()
        await au.until_states(sent["statement"], "here")
        assert au.carrier.count("GET") == 11
        assert await au.saved(sent["statement"]) == FILES["photo.jpg"]
        assert au.files() == ["in/.00"]

    attached(story, tmp_path)


def _wrong_bit(_blob: str, data: bytes, start: int) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _zeros(_blob: str, data: bytes, start: int) -> bytes:
    return bytes(len(data))


def _short(_blob: str, data: bytes, start: int) -> bytes:
    return data[: len(data) // 2]


def _nothing(_blob: str, data: bytes, start: int) -> bytes:
    return b""


def _endless(_blob: str, data: bytes, start: int) -> bytes:
    return data[::-1] + data


@pytest.mark.usefixtures("_small_pieces")
@pytest.mark.parametrize("gives", [_wrong_bit, _zeros, _short, _nothing, _endless])
def test_a_relay_that_gives_something_else(
    tmp_path: Path, gives: Callable[[str, bytes, int], bytes]
) -> None:
    """Wrong bytes, short, nothing, endless: never here, the disk never holds more than the blob, and it mends by itself."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        au.carrier.gives = gives
        sent = await vn.send_with("AU", FILES)
        await vn.desk.wait(sent["statement"], "delivered", 60)
        sizes = set()
        for _minute in range(20):
            await stage.clock.sleep(60)
            sizes |= {path.stat().st_size for path in (au.spool.folder / "in").iterdir()}
            assert "here" not in await au.states(sent["statement"])
        assert max(sizes, default=0) <= 213_066
        assert au.carrier.count("GET") < 1500
        with pytest.raises(Refused):
            await au.desk.unlock(sent["statement"], 1)
        au.carrier.gives = None
        await stage.clock.sleep(4000)
        assert await au.states(sent["statement"]) == ["here", "here"]
        assert await au.saved(sent["statement"]) == FILES["photo.jpg"]

    attached(story, tmp_path)


def test_a_relay_that_gives_another_blob(tmp_path: Path) -> None:
    """Another attachment, whole and of the same size, is not taken for the one that was signed (E_BINDING)."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        kept: dict[str, bytes] = {}

        def other(blob: str, data: bytes, _start: int) -> bytes:
            kept.setdefault(blob, data)
            return next((one for name, one in kept.items() if name != blob), data[::-1])

        au.carrier.gives = other
        sent = await vn.send_with("AU", {"a": data_of(100), "b": data_of(100)})
        await vn.desk.wait(sent["statement"], "delivered", 60)
        await stage.clock.sleep(300)
        assert await au.states(sent["statement"]) == ["coming", "coming"]
        told = au.told("attachment")
        assert [one["number"] for one in told] == [1, 2]
        assert all("other bytes" in one["text"] for one in told)

    attached(story, tmp_path)


def test_a_sender_who_sealed_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob that is the one that was signed, and does not open, is the sender's fault: damaged, for good, and told."""

    async def believed(self: Any, staged: str, origin: Any, cek: bytes) -> Any:
        folder = self._spool.staged(staged)
        return [
            (folder / one["blob"], f"{origin.sid}.{number:02d}")
            for number, one in enumerate(origin["attachments"])
        ]

    monkeypatch.setattr(uploads.Uploads, "check", believed)

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send_with("AU", FILES, lie=_signed(sha256="0" * 64))
        await vn.desk.wait(sent["statement"], "delivered", 60)
        await au.until_states(sent["statement"], "damaged", "here")
        (told,) = [one for one in au.told("attachment") if one["state"] == "damaged"]
        assert "another file" in told["text"]
        (came,) = await au.shown()
        assert "Attachment 1 (photo.jpg) is damaged: ask VN to send it again." in came["warning"]
        with pytest.raises(Refused, match="not what its sender signed") as refused:
            await au.desk.unlock(came["msg"], 1)
        assert refused.value.code is Code.E_BINDING
        assert au.files() == ["in/.01"]
        calls = au.carrier.count("GET")
        await au.restart()
        await stage.clock.sleep(3 * 3600)
        assert au.carrier.count("GET") == calls

    attached(story, tmp_path)


def test_what_never_came(tmp_path: Path) -> None:
    """A relay that never gives it is asked until a day after the expiry; then it never came, and that is told."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")

        async def nothing(method: str, _blob: str) -> None:
            if method == "GET":
                raise TurnedDown(Code.E_UNKNOWN, "No.")

        au.carrier.before = nothing
        expires = stage.clock.now() + 7200
        sent = await vn.send_with("AU", FILES, ack_by=0, expires=expires)
        await vn.desk.wait(sent["statement"], "delivered", 60)
        await stage.clock.sleep(6 * 3600)
        assert await au.states(sent["statement"]) == ["coming", "coming"]
        await vn.stop()
        await stage.pass_days(1)
        assert await au.states(sent["statement"]) == ["lost", "lost"]
        assert au.carrier.count("GET") < 2 * 40
        states = [one["state"] for one in au.told("attachment")]
        assert states == ["coming", "coming", "lost", "lost"]
        with pytest.raises(Refused, match="never came") as refused:
            await au.desk.unlock(sent["statement"], 1)
        assert refused.value.code is Code.E_UNKNOWN

    attached(story, tmp_path)


def test_the_desks_own_copy_and_its_colleagues(tmp_path: Path) -> None:
    """The sender's other device, and every device of the recipient, hold the files; the backup not before its stage."""

    async def story(stage: AttachedStage) -> None:
        vn, vn2 = await stage.seat("VN"), await stage.seat("VN", "vn-02")
        au, au2 = await stage.seat("AU"), await stage.seat("AU", "au-02")
        deputy = await stage.seat("AU-B")
        sent = await vn.send_with("AU", FILES, backup="AU-B")
        for seat in (vn2, au, au2):
            await seat.until(lambda one=seat: len(one.files()) == 2)  # type: ignore[misc]
            assert await seat.saved(sent["statement"]) == FILES["photo.jpg"]
        assert deputy.files() == []
        await deputy.until(lambda: len(deputy.files()) == 2, 3600)
        assert await deputy.saved(sent["statement"]) == FILES["photo.jpg"]

    attached(story, tmp_path)


def test_a_restored_desk_fetches_them_again(tmp_path: Path) -> None:
    """An archive without its folder of files begins anew what its rows say is here; what was damaged stays so."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send_with("AU", FILES)
        await au.until(lambda: au.files() == ["in/.00", "in/.01"])
        await au.stop()
        au.spool.held(f"{sent['statement']}.00").unlink()
        au.start()
        await au.until(lambda: au.carrier.count("GET") == 3)
        await au.until_states(sent["statement"], "here", "here")
        assert await au.saved(sent["statement"]) == FILES["photo.jpg"]

    attached(story, tmp_path)


def test_no_room_on_this_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no room waits, and says so; the message is here all the same."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        monkeypatch.setattr(spool, "RESERVE_BYTES", 1 << 60)
        sent = await vn.send_with("AU", FILES)
        await vn.desk.wait(sent["statement"], "delivered", 60)
        await au.until(lambda: len(au.told("attachment")) == 2)
        assert "no room" in au.told("attachment")[0]["text"]
        assert au.files() == []
        monkeypatch.setattr(spool, "RESERVE_BYTES", 0)
        await au.until_states(sent["statement"], "here", "here")

    attached(story, tmp_path)


def test_without_a_carrier_messages_go_and_files_wait(tmp_path: Path) -> None:
    """A desk that has no way for files says that they wait; other messages pass."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        au.parts = {}
        await au.restart()
        sent = await vn.send_with("AU", FILES)
        await vn.desk.wait(sent["statement"], "delivered", 60)
        await stage.settle()
        assert await au.states(sent["statement"]) == ["coming", "coming"]

    attached(story, tmp_path)


def test_a_fault_of_our_own_stops_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of this program's own with one attachment leaves that one alone; everything else goes on (aside.py)."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        move = downloads.Downloads._move

        async def broken(self: Any, one: Any, *more: Any) -> Any:
            if one.number == 0:
                raise ZeroDivisionError
            return await move(self, one, *more)

        monkeypatch.setattr(downloads.Downloads, "_move", broken)
        sent = await vn.send_with("AU", FILES)
        await vn.desk.wait(sent["statement"], "delivered", 60)
        await au.until_states(sent["statement"], "coming", "here")
        (told,) = au.told("aside")
        assert told["msg"] == sent["statement"]
        assert "ZeroDivisionError" in told["reason"]
        other = await vn.send("AU")
        await vn.desk.wait(other["msg"], "delivered", 60)
        monkeypatch.setattr(downloads.Downloads, "_move", move)
        await stage.clock.sleep(3700)
        await au.until_states(sent["statement"], "here", "here")
        assert (await au.desk.status())["aside"] == []

    attached(story, tmp_path)


def test_a_row_that_rotted_stops_itself_alone(tmp_path: Path) -> None:
    """A row whose sealed bytes rotted is set aside; the other file goes out, and the desk stays up."""

    async def story(stage: AttachedStage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")
        vn.carrier.before = _refuse("HEAD", "PUT")
        sent = await vn.send_with("AU", FILES)
        with vn.archive.commit():
            vn.archive._run("UPDATE attachment SET secret = x'00' WHERE number = 0")
        vn.carrier.before = None
        await vn.until(lambda: vn.told("aside"))
        await vn.until_states(sent["statement"], "waiting", "there")
        assert (await vn.desk.inbox(all=True))["messages"]
        bare = await vn.send("AU")
        await vn.desk.wait(bare["msg"], "delivered", 60)

    attached(story, tmp_path)


def test_a_busy_relay_and_a_broken_line_are_no_news(tmp_path: Path) -> None:
    """What means only "later" is told to nobody; a line that breaks each time is shown, and still no fault of a sender."""

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")

        async def busy(method: str, _blob: str) -> None:
            if method == "GET":
                raise TurnedDown(Code.E_BUSY, "Later.")

        au.carrier.before = busy
        sent = await vn.send_with("AU", FILES)
        await vn.desk.wait(sent["statement"], "delivered", 60)
        await stage.clock.sleep(60)
        assert [one["reason"] for one in await au.listed(sent["statement"])] == ["", ""]
        au.carrier.before = _refuse("GET")
        await stage.clock.sleep(600)
        assert au.told("attachment") == []
        (came,) = await au.shown()
        assert "The line breaks each time" in came["warning"]
        assert paper_attachments.faults(came) == []
        au.carrier.before = None
        await stage.clock.sleep(1200)
        await au.until_states(sent["statement"], "here", "here")

    attached(story, tmp_path)
