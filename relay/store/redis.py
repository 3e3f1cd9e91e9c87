"""The way to Redis or Valkey: one connection to the master, one pipeline a batch, and the order that keeps the promise.

A batch is scripts, then WAIT, then this instance's own journal, and only then answers. A master that is gone is looked
for again through the Sentinels and the batch is repeated, which every script allows. Redis by itself may go back in
time: the fence in every script (lua/head.lua) notices that, and the next start merges back what the journal has.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from redis.asyncio import Connection as Plain
from redis.asyncio import ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from keys.errors import Failed
from relay.store import redis_floor, redis_rows
from relay.store.base import Change, Kept
from relay.store.pipeline import Operation, Pipeline
from relay.store.redis_place import Place
from relay.store.redis_rows import Argument
from relay.store.vouched import CONFIRMED, EPOCH, Batch, Vouched

Server = Any
"""redis-py's connection: its annotations cannot tell answers that are awaited from those that are not."""

SCHEMA = 1
"""What this release writes. The hash `schema` says which releases may read and write what is there."""
WAIT_MS = 500
BEAT_S = 1.0
CONNECT_S = 2.0
ANSWER_S = 5.0
WAKE_ROWS = 256
WRITING = frozenset(
    {
        "beat",
        "blob",
        "commit",
        "directory",
        "drop",
        "finish",
        "keep",
        "lease",
        "mark",
        "prekeys",
        "purge",
    }
)
"""Scripts that stand behind the fence; the others read."""


class Link:
    """What stands between this instance and Redis, with the journal that it writes before it answers."""

    def __init__(self, place: Place, journal: Vouched) -> None:
        """Name the server; nothing is opened. The journal is opened and closed by who made it."""
        self.place = place
        self.journal = journal
        self.epoch = 0
        self._server: Server | None = None
        self._pipeline: Pipeline | None = None
        self._sources = _sources()
        self._hashes: dict[str, str] = {}
        self._confirmed = 0
        self._sent = 0

    # Opening and closing

    async def start(self, now: int) -> bool:
        """Find the master, check its settings, stand on one epoch with it.

        Return whether what the journal vouches for must be merged back before anybody is served.
        """
        try:
            self._server = await self._connect()
            await self._check_server(self._server)
            await self._check_schema(self._server)
            return await self._begin(self._server, now)
        except (RedisError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error

    async def _begin(self, server: Server, now: int) -> bool:
        """Take the epoch up, and write down what is owed to the journal; after a rollback begin a new epoch."""
        stood, confirmed = await self.journal.mark(EPOCH), await self.journal.mark(CONFIRMED)
        here = int(await server.get(self.key("epoch")) or 0)
        beat = int(await server.hget(self.key("beat"), self.place.instance) or 0)
        lost = bool(stood) and (here != stood or beat < confirmed)
        ended = str(stood) if here == stood and lost else "-"
        await self._owed(server, confirmed) if not lost else None
        arguments = (
            self.place.instance,
            max(beat, confirmed),
            ended,
            max(now, 1 + max(here, stood, self.journal.epoch)),
        )
        self.epoch = int(
            await server.eval(self._sources["epoch"], 1, self.place.tag, *map(str, arguments))
        )
        self._sent = max(beat, confirmed)
        self._confirmed = self._sent
        self._pipeline = Pipeline(self._carry, self._beat, BEAT_S)
        return stood != self.epoch

    async def _owed(self, server: Server, confirmed: int) -> None:
        """Write into the journal what was committed by this instance's last life, and not written down by it."""
        owed = await server.zrangebyscore(
            self.key(f"owed:{self.place.instance}"), f"({confirmed}", "+inf"
        )
        batch = Batch()
        for member in owed:
            name = member.decode()
            if name.startswith("s"):
                kept = await self._statement(server, name[1:])
                batch.logged += [kept] if kept else []
                continue
            there = await server.hmget(self.key(f"m:{name}"), "state", "drop")
            about = await server.zrange(self.key(f"about:{name}"), 0, -1)
            found = [await self._statement(server, sid.decode()) for sid in about]
            drop = there[1] or b"-"
            batch.logged.append(
                Change(
                    name,
                    0,
                    there[0] or b"",
                    await server.get(self.key(f"e:{name}")),
                    tuple(one for one in found if one),
                    drop_after=0 if drop == b"-" else int(drop),
                )
            )
        if batch:
            await self.journal.vouch(batch, confirmed)

    async def look(self) -> str:
        """Say where the master is and how it is set, and change nothing; Failed as the start would be."""
        try:
            server = await self._connect()
            try:
                await self._check_server(server)
                info = await server.info()
            finally:
                await server.aclose()
        except (RedisError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        copies = self.place.replicas
        return (
            f"Redis {info['redis_version']} is the master, with {info.get('connected_slaves', 0)} replicas;"
            f" a write waits for {copies.wait} of {copies.promotable}."
        )

    async def stop(self) -> None:
        """Finish what waits, then let go of Redis."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            await pipeline.close()
        await self._let_go()

    # The connection

    async def _connect(self) -> Server:
        """Return a connection to the master, asked of the Sentinels where there are any."""
        address = await self._master() if self.place.sentinels else self.place.address
        server = self._open(*address)
        role = await server.execute_command("ROLE")
        if _text(role[0]) != "master":
            await server.aclose()
            raise ConnectionError(f"{address[0]}:{address[1]} is a replica")
        for name, source in self._sources.items():
            self._hashes[name] = _text(await server.script_load(source))
        return server

    def _open(self, host: str, port: int, *, secret: bool = True) -> Server:
        options: dict[str, Any] = {
            "host": host,
            "port": port,
            "protocol": 2,
            "socket_timeout": ANSWER_S,
            "socket_connect_timeout": CONNECT_S,
            "retry": Retry(NoBackoff(), 0),  # what is repeated is decided here, and nowhere below
            "connection_class": Plain,
        }
        if secret:
            options |= {"username": self.place.account, "password": self.place.password}
        if self.place.authority is not None:
            options |= {
                "connection_class": SSLConnection,
                "ssl_ca_certs": str(self.place.authority),
            }
        return Redis.from_pool(ConnectionPool(max_connections=1, **options))

    async def _master(self) -> tuple[str, int]:
        for host, port in self.place.sentinels:
            sentinel = self._open(host, port, secret=False)
            try:
                found = await sentinel.execute_command(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.place.name
                )
            except (RedisError, OSError, TimeoutError):
                continue
            finally:
                await sentinel.aclose()
            if found:
                return _text(found[0]), int(found[1])
        raise ConnectionError(f"no Sentinel names a master for {self.place.name}")

    async def _check_server(self, server: Server) -> None:
        try:
            config = {
                name: _text(dict(await server.config_get(name)).get(name, ""))
                for name in redis_floor.SETTINGS
            }
        except ResponseError as error:
            raise Failed(
                f"The Redis server does not let this account read its settings ({error}).",
                hint="Allow it: redis-cli ACL SETUSER <account> +config|get +info",
                exit_code=78,
            ) from error
        info = await server.info()
        if found := redis_floor.findings(config, info, self.place.replicas):
            raise Failed(
                found[0], hint=" ".join(found[1:]) or "Then start the relay again.", exit_code=78
            )

    async def _check_schema(self, server: Server) -> None:
        there = await server.hgetall(self.key("schema"))
        if not there:
            await server.hset(self.key("schema"), mapping={"reads": SCHEMA, "writes": SCHEMA})
        elif int(there[b"writes"]) > SCHEMA or int(there[b"reads"]) > SCHEMA:
            raise Failed(
                "The Redis store was written by a newer version of poc24"
                f" (schema {int(there[b'writes'])}; this one knows {SCHEMA}).",
                hint="Install that version on every instance.",
                exit_code=78,
            )

    def _unreachable(self, error: Exception) -> Failed:
        return Failed(
            f"The Redis store cannot be reached ({str(error) or type(error).__name__});"
            " what was last asked may or may not be kept.",
            hint="See that the master and the Sentinels run: redis-cli -p 26379 SENTINEL MASTERS",
            exit_code=75,
        )

    def key(self, name: str) -> str:
        """Return a key's whole name: every key lies in one slot."""
        return self.place.tag + name

    # Batches

    async def _carry(self, batch: list[Operation]) -> None:
        """Make a batch true in Redis, durable on its replicas, vouched for in the journal; in this order."""
        self._sent += 1
        loop = asyncio.get_running_loop()
        until = loop.time() + self.place.away_s
        tries = 0
        while True:
            try:
                if self._server is None:
                    self._server = await self._connect()
                await self._try(self._server, batch, tries)
                break
            except (RedisError, OSError, TimeoutError) as error:
                if isinstance(error, ResponseError) and str(error).startswith(
                    ("ROLLBACK", "EPOCH")
                ):
                    raise _back_in_time(error) from error
                await self._let_go()
                if loop.time() > until:
                    raise self._unreachable(error) from error
                await asyncio.sleep(self.place.again_s)
                tries += 1
        vouched = _facts(batch)
        if vouched:
            await self.journal.vouch(vouched, self._sent)
        self._confirmed = self._sent

    async def _try(self, server: Server, batch: list[Operation], tries: int) -> None:
        fence = (self.place.instance, self._confirmed, self._sent, self.epoch)
        pipe = server.pipeline(transaction=False)
        writes: list[Operation | None] = [one for one in batch if one.script]
        writes = writes or [None]
        for one in writes:
            name, arguments = (one.script, one.arguments) if one is not None else ("beat", ())
            if name == "commit":
                arguments = (int(tries > 0), *arguments)
            pipe.evalsha(
                self._hashes[name], 1, self.place.tag, *map(_argument, (*fence, *arguments))
            )
        reads = [one for one in batch if not one.script]
        for one in reads:
            pipe.execute_command(*self._command(one))
        pipe.execute_command("WAIT", self.place.replicas.wait, WAIT_MS)
        answers = await pipe.execute(raise_on_error=False)
        for answer in answers[:-1]:
            if isinstance(answer, NoScriptError):
                await self._let_go()  # the next connection loads them again
                raise answer
            if isinstance(answer, Exception):
                raise answer
        copies = answers[-1]
        while copies < self.place.replicas.wait:
            copies = await self._copies(server)
        for one, answer in zip([*writes, *reads], answers, strict=False):
            if one is not None:
                one.answer = answer

    async def _copies(self, server: Server) -> int:
        """Wait again on the same connection: WAIT counts this connection's last write, and there was none since."""
        copies = int(await server.execute_command("WAIT", self.place.replicas.wait, WAIT_MS))
        role = await server.execute_command("ROLE")
        if _text(role[0]) != "master":
            raise ConnectionError("the master has become a replica")
        return copies

    def _command(self, operation: Operation) -> list[Any]:
        name, *rest = operation.arguments
        if name == "EVALSHA":
            return [name, self._hashes[str(rest[0])], 1, self.place.tag, *rest[1:]]
        return [name, *rest]

    async def _let_go(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await server.aclose()

    async def _beat(self) -> None:
        """Say the fence though nobody sends: a rollback is noticed within a second."""
        await self._carry([])

    async def write(
        self, script: str, arguments: Sequence[Argument], read: Callable[[Any], Any], **facts: Any
    ) -> Any:
        """Run a script that writes; return ``read(answer)`` once durable. *facts*: what the journal writes down."""
        future = asyncio.get_running_loop().create_future()
        return await self.running().ask(Operation(script, tuple(arguments), future, read, **facts))

    async def read(self, command: Sequence[Argument], read: Callable[[Any], Any]) -> Any:
        """Run a command that reads, or ("EVALSHA", name of a script, ...)."""
        future = asyncio.get_running_loop().create_future()
        return await self.running().ask(Operation("", tuple(command), future, read))

    def running(self) -> Pipeline:
        """Return what carries batches; Failed before the start."""
        if self._pipeline is None:
            raise Failed("The store is not running.", hint="Await start() first.", exit_code=75)
        return self._pipeline

    async def _statement(self, server: Server, sid: str) -> Kept | None:
        row = await server.hmget(self.key(f"s:{sid}"), *redis_rows.KEPT)
        return redis_rows.kept(sid, row)

    # Other instances

    async def watch(self, hear: Callable[[str, int, str], None]) -> None:
        """Tell *hear* (desk, seq, message) of what other instances wrote, until cancelled; a hint, and lossy.

        Nobody who misses one is wrong for long: mailboxes and the directory are looked at every few seconds anyway.
        """
        last = "$"
        server: Server | None = None
        try:
            while True:
                try:
                    server = server or await self._connect()
                    rows = await server.xread({self.key("wake"): last}, count=WAKE_ROWS, block=1000)
                except (RedisError, OSError, TimeoutError):
                    if server is not None:
                        await server.aclose()
                    server = None
                    await asyncio.sleep(self.place.again_s)
                    continue
                for _name, entries in rows:
                    for place, entry in entries:
                        last = place
                        if entry[b"by"].decode() != self.place.instance:
                            hear(
                                entry[b"desk"].decode(), int(entry[b"seq"]), entry[b"msg"].decode()
                            )
        finally:
            if server is not None:
                await server.aclose()


def _facts(batch: Sequence[Operation]) -> Batch:
    """Return what the journal has to vouch for, of what became true."""
    found = Batch()
    for one in batch:
        if one.change is not None and one.answer[0] == b"committed":
            found.logged.append(one.change)
        found.logged += one.statements
        if one.directory is not None and one.answer:
            found.logged.append(one.directory)
        found.prekeys += one.prekeys
        if one.blob is not None and one.answer:
            found.blobs.append(one.blob)
    return found


def _sources() -> dict[str, str]:
    """Return the scripts by name; those that write stand behind the fence."""
    folder = files("relay.store") / "lua"
    head = (folder / "head.lua").read_text("utf-8")
    found = {
        one.name.removesuffix(".lua"): one.read_text("utf-8")
        for one in folder.iterdir()
        if one.name.endswith(".lua") and one.name != "head.lua"
    }
    return {name: head + text if name in WRITING else text for name, text in found.items()}


def _back_in_time(error: Exception) -> Failed:
    return Failed(
        f"The Redis store has gone back in time ({error}): a failover or a restore took away what was durable.",
        hint="Start the relay again: it brings back what its journal vouches for before it serves.",
        exit_code=75,
    )


def _argument(value: Argument) -> str | bytes:
    return value if isinstance(value, (str, bytes)) else str(value)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
