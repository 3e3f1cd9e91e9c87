"""The desk's standing line to its relay: come back, resume, take in, send out, for ever (PROTOCOL 12, 10.5, 8.5).

::

    dial -> challenge, connect -> directory -> prekeys -> RESUME(cursor) -> tasks until the line breaks:
        mailbox   pushes in order -> pickup -> inbox / intake (durable) -> cursor -> SEEN
        post      receipts until `recorded`, then messages until `accepted`, then what was parked
        keep      directory every ten minutes, prekeys four weeks ahead, old secrets destroyed
        lanes     attachments up and down, beside the rest (transfers.py)

The truth is in the archive: every task may be cut off anywhere and finds the rest of its work there. A relay that lies
(another's name, a signature that does not verify, bytes that were not asked for) makes an event and a note; it cannot
stop the desk, and it is not believed.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from keys import statement, suite
from keys.errors import Code, Refused
from keys.identity import Signer
from relay.desk import proof
from relay.desk.archive import Archive
from relay.desk.aside import LINE, POSTING, Aside, ours
from relay.desk.clock import ComparedClock
from relay.desk.dial import Dial, Socket, websocket_dial
from relay.desk.letters import Letters
from relay.desk.mailroom import RETRY_LATER, Mailroom
from relay.desk.notes import Notes
from relay.desk.outbox import Outbox
from relay.desk.records import Post, Records
from relay.desk.roster import REFRESH_EVERY_S, Roster, TurnedDown
from relay.desk.session import Session
from relay.desk.transfers import Transfers
from relay.wire import frames, receipt
from relay.wire.frames import Frame, Type

__all__ = ["Dial", "Link", "Socket", "websocket_dial"]

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
"""Full jitter: before the n-th attempt a delay drawn from 0 to min(30, 0.5 * 2**n) seconds."""
DRAINING_S_MAX = 60.0
STEADY_S = 60
"""A session that lasted this long ends a series of failures."""
MISTRUSTED_S = 5
"""A copy that parks asks for the directory again, unless that was within this many seconds."""

Event = dict[str, Any]


class Link:
    """One device's line. :meth:`run` is for ever; :meth:`wake` says that there is something to send."""

    def __init__(
        self,
        *,
        dial: Dial,
        clock: ComparedClock,
        archive: Archive,
        roster: Roster,
        records: Records,
        letters: Letters,
        mailroom: Mailroom,
        outbox: Outbox,
        notes: Notes,
        aside: Aside,
        transfers: Transfers,
        device: Signer,
        tell: Callable[[Event], None],
    ) -> None:
        """Stand on the desk's rooms; *tell* hears every event."""
        self._dial = dial
        self._clock = clock
        self._archive = archive
        self._roster = roster
        self._records = records
        self._letters = letters
        self._mailroom = mailroom
        self._outbox = outbox
        self._notes = notes
        self._aside = aside
        self._transfers = transfers
        self._device = device
        self._tell = tell
        self._work = asyncio.Event()
        self._renew = asyncio.Event()
        self._epoch = 0
        self._pause = 0.0
        self.session: Session | None = None
        """The open session; None while there is none."""
        self.instance = ""
        self.last_error = ""

    @property
    def connected(self) -> bool:
        """Whether the line is open and the mailbox is being read."""
        return self.session is not None

    def wake(self) -> None:
        """There is something to post or to send."""
        self._work.set()
        self._transfers.wake()

    # Coming back, again and again

    async def run(self) -> None:
        """Keep the line until cancelled. Failed (the archive is broken) ends it: nothing can be promised then."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self._one_session()
            except Refused as refused:
                if str(refused) != self.last_error:
                    now = self._clock.own()
                    self._tell(self._notes.add(now, "refused", "", refused.code, str(refused)))
                self.last_error = str(refused)
            except OSError as error:
                self.last_error = str(error) or type(error).__name__
            except Exception as error:  # noqa: BLE001 - what is not ours is raised anew
                self._aside.catch(LINE, "", "", error)
                self.last_error = f"an error of this desk's own ({type(error).__name__})"
            finally:
                if self.session is not None:
                    self.session, self.instance = None, ""
                    self._tell({"event": "disconnected", "text": self.last_error})
            failures = 0 if loop.time() - begun > STEADY_S else failures + 1
            await self._clock.sleep(self._pause or backoff(failures))
            self._pause = 0.0

    async def _one_session(self) -> None:
        socket = await self._dial()
        try:
            session = Session(
                socket,
                desk=self._roster.desk,
                service=self._roster.service,
                device=self._device,
                clock=self._clock,
            )
            welcome = await session.greet()
            await _first(session.read(), self._serve(session, welcome))
        finally:
            await socket.close(1000, "")

    async def _serve(self, session: Session, welcome: dict[str, Any]) -> None:
        await self._refresh(session)
        if not self._roster.known:
            raise Refused(Code.E_DIRECTORY_STALE, "The relay has no directory to give yet.")
        self._enter_epoch(welcome["epoch"])
        await self._prekeys(session)
        await self._resume(session)
        self._outbox.hurry()
        self._aside.well(LINE, "")
        self.session, self.instance = session, welcome["instance"]
        self.last_error = ""
        event: Event = {"event": "connected", "relay": welcome["instance"]}
        if self._clock.offset:
            event["clock_offset"] = self._clock.offset
        self._tell(event)
        await _first(
            self._read_mailbox(session),
            self._send_out(session),
            self._keep_house(session),
            *self._transfers.lanes(session.bearer, self._work.set),
        )

    # Where the mailbox stands

    def cursor(self) -> tuple[int, int]:
        """Return (epoch, seq) of the last mailbox entry that is kept durably; (0, 0) before the first."""
        row = self._archive.get("meta", "cursor")
        if row is None:
            return 0, 0
        found = statement.decode(row["value"])
        return int(found["epoch"]), int(found["seq"])

    def _set_cursor(self, epoch: int, seq: int) -> None:
        value = statement.encode({"epoch": epoch, "seq": seq})
        self._archive.put("meta", "cursor", {}, {"value": value})

    def _enter_epoch(self, epoch: int) -> None:
        """Another epoch is another store: submit what nobody confirmed, post and publish again, read from 0."""
        self._epoch = epoch
        before, _seq = self.cursor()
        if before == epoch:
            return
        with self._archive.commit():
            now = self._clock.now()
            self._outbox.submit_again()
            self._records.post_again(now)
            self._roster.publish_again(now)
            self._set_cursor(epoch, 0)

    async def _resume(self, session: Session) -> None:
        epoch, seq = self.cursor()
        body = frames.pack(Type.RESUME, {"epoch": epoch, "seq": seq})
        found = frames.answered(Type.RESUME, await session.ask(Type.RESUME, body))
        if found["epoch"] != epoch:
            raise ConnectionError("The relay's store changed while the session began.")
        if found["seq"] < seq:
            with self._archive.commit():
                self._set_cursor(epoch, found["seq"])

    # What comes in

    async def _read_mailbox(self, session: Session) -> None:
        while True:
            pushed = await session.pushed()
            entries: list[tuple[int, Frame, dict[str, Any]]] = []
            _epoch, last = self.cursor()
            for frame in pushed:
                if frame.type is Type.DIRECTORY:
                    self._renew.set()
                elif frame.type is Type.DRAINING:
                    after = frames.unpack(Type.DRAINING, frame.body)["after"]
                    self._pause = min(float(after), DRAINING_S_MAX)
                else:
                    place = _place(frame)
                    if place["epoch"] == self._epoch and place["seq"] > last:
                        last = place["seq"]
                        entries.append((last, frame, place))
            if entries:
                await self._take_entries(session, entries)

    async def _take_entries(
        self, session: Session, entries: Sequence[tuple[int, Frame, dict[str, Any]]]
    ) -> None:
        parked = await self._mailroom.take(session, self._epoch, entries)
        # Only what is durable is confirmed; the next entries come when the relay hears of it.
        last = entries[-1][0]
        with self._archive.commit():
            self._set_cursor(self._epoch, last)
        await session.say(Type.SEEN, frames.pack(Type.SEEN, {"epoch": self._epoch, "seq": last}))
        self.wake()
        if parked and self._clock.own() - self._roster.refreshed_at >= MISTRUSTED_S:
            await self._refresh(session)

    # What goes out

    async def _send_out(self, session: Session) -> None:
        while True:
            self._work.clear()
            await self._post(session)
            for event in await self._outbox.send_due(session.ask):
                self._hear(event)
            await self._mailroom.ask_again(session)
            self._mailroom.try_again()
            self._transfers.wake()
            await self._until_due()

    async def _until_due(self) -> None:
        due = [
            self._records.next_post(self._aside.rows(POSTING)),
            self._outbox.next_at(),
            self._mailroom.next_try(),
        ]
        waits = [one for one in due if one is not None]
        try:
            async with asyncio.timeout(max(1, min(waits) - self._clock.now()) if waits else None):
                await self._work.wait()
        except TimeoutError:
            return

    async def _post(self, session: Session) -> None:
        while posts := self._records.due(
            self._clock.now(), receipt.RECORD_MAX, self._aside.rows(POSTING)
        ):
            left: list[Post] = list(posts)
            if len(posts) > 1:
                try:
                    left = await self._record(session, posts)
                except Exception as error:
                    if not ours(error):
                        raise
            # What a joint answer does not name is posted alone, to learn why.
            for post in left:
                with self._aside.around(POSTING, post.sid, post.msg):
                    self._put_off(await self._record(session, [post]))

    async def _record(self, session: Session, posts: Sequence[Post]) -> list[Post]:
        """Post receipts; return those that the relay did not record."""
        try:
            wire = await session.ask(Type.RECORD, frames.join(*(post.wire for post in posts)))
            recorded = proof.by_relay(
                wire, {"recorded"}, self._roster.directory, self._roster.service
            )
        except Refused as refused:
            quiet = isinstance(refused, TurnedDown) and refused.code in {
                *RETRY_LATER,
                Code.E_UNKNOWN,
            }
            if len(posts) == 1 and not posts[0].tries and not quiet:
                event = self._notes.add(
                    self._clock.now(), "refused", posts[0].msg, refused.code, str(refused)
                )
                self._hear(event)
            return list(posts)
        named = set(recorded["sids"])
        with self._archive.commit():
            self._records.recorded(post.sid for post in posts if post.sid in named)
        return [post for post in posts if post.sid not in named]

    def _put_off(self, posts: Sequence[Post]) -> None:
        if not posts:
            return
        now = self._clock.now()
        with self._archive.commit():
            given_up = [post for post in posts if not self._records.postpone(post, now)]
        for post in given_up:
            text = "No relay knew the message of a receipt in all its life; it is posted no more."
            self._hear(self._notes.add(now, "refused", post.msg, Code.E_UNKNOWN, text))

    # The house

    async def _keep_house(self, session: Session) -> None:
        while True:
            try:
                async with asyncio.timeout(REFRESH_EVERY_S):
                    await self._renew.wait()
            except TimeoutError:
                pass
            self._renew.clear()
            await self._refresh(session)
            await self._prekeys(session)

    async def _refresh(self, session: Session) -> None:
        """Fetch the directory; what waited for a newer one is tried again."""
        try:
            if not await self._roster.refresh(session.ask, self._clock.own()):
                return
        except Refused as refused:
            now = self._clock.own()
            self._hear(
                self._notes.add(now, "refused", "", refused.code, f"The directory: {refused}")
            )
            return
        self._tell({"event": "directory", "version": self._roster.directory.version})
        self._mailroom.try_again(all_of_them=True)
        self._outbox.hurry()
        self.wake()

    async def _prekeys(self, session: Session) -> None:
        now = self._clock.now()
        self._roster.destroy_old(now)
        with self._archive.commit():
            self._letters.forget_old(now)
        self._roster.make_prekeys(now)
        try:
            await self._roster.publish(session.ask)
            # Colleagues' prekeys are at hand, so that what is sealed while the line is down holds the desk's own copy.
            await self._roster.fetch_prekeys(session.ask, self._roster.desk, now)
        except Refused as refused:
            self._hear(self._notes.add(now, "refused", "", refused.code, f"Prekeys: {refused}"))

    def _hear(self, event: Event | None) -> None:
        if event is not None:
            self._tell(event)


def backoff(failures: int) -> float:
    """Return seconds to wait before the next attempt: full jitter, so that a crowd does not come back at once."""
    most = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 16))
    return most * int.from_bytes(suite.random_bytes(4)) / 0x1_0000_0000


def _place(frame: Frame) -> dict[str, Any]:
    """Return what a mailbox push says of its place; E_ENCODING if it is not one."""
    if frame.type is Type.NOTIFY:
        return frames.unpack(Type.NOTIFY, frame.body)
    head, _wire = frames.split(frame.body, 2)
    return frames.unpack(Type.STATEMENT, head)


async def _first(*parts: Coroutine[Any, Any, None]) -> None:
    """Run coroutines until one ends or raises; cancel the others, and raise what it raised."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
