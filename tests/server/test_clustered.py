"""The [redis] table: where Redis is, how safe, and what must stand beside it."""

from pathlib import Path
from typing import Any

import pytest

from keys.errors import Failed
from relay.config import Config, parse
from relay.store.redis_place import LEVELS, Replicas, said

LEAST: dict[str, Any] = {
    "relay": {"service": "poc24-test", "instance": "relay.test/1"},
    "store": {"blobs": "/srv/blobs"},
}
PATH = Path("/etc/poc24/relay.toml")


def read(**redis: Any) -> Config:
    """Parse a configuration with this [redis] table."""
    return parse({**LEAST, "redis": redis}, PATH, Path("/run/credentials"))


def wrong(**redis: Any) -> str:
    """Return why a [redis] table cannot stand."""
    with pytest.raises(Failed) as failure:
        read(**redis)
    assert failure.value.exit_code == 78
    return failure.value.text


def test_without_the_table_there_is_one_instance() -> None:
    """Nobody gets Redis who does not ask for it."""
    assert parse(LEAST, PATH).redis is None


def test_the_levels_are_how_many_copies_a_write_waits_for() -> None:
    """`available` waits for one, `strict` for all; a single server waits for none. Each level says what it can lose."""
    assert set(LEVELS) == {"available", "strict"}
    for count, level, wait in ((2, "available", 1), (2, "strict", 2), (0, "strict", 0)):
        place = read(replicas=count, level=level).redis
        assert place is not None
        assert place.replicas == Replicas(count, wait)
        assert ("without replicas" if count == 0 else level) in said(place)


def test_servers_and_names() -> None:
    """Hosts with ports, IPv6 in brackets; the instance is the one of the log."""
    found = read(address="[fd00::7]:6379", sentinels=["a.example:26379", "10.0.0.2:26380"]).redis
    assert found is not None
    assert found.address == ("fd00::7", 6379)
    assert found.sentinels == (("a.example", 26379), ("10.0.0.2", 26380))
    assert found.instance == "relay.test/1"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"address": "redis"}, "it must be a server such as"),
        ({"address": "redis:0"}, "it must be a server such as"),
        ({"address": 6379}, "it must be a server such as"),
        ({"address": "re dis:6379"}, "it must be a server such as"),
        ({"sentinels": "a:1"}, "it must be a list"),
        ({"sentinels": ["a"]}, "it must be a server such as"),
        ({"level": "fast"}, "available, strict"),
        ({"replicas": 9}, "from 0 to 8"),
        ({"replica": 1}, "there is no such key"),
        ({"name": "two words"}, "Sentinels know the master"),
        ({"password": "none.such"}, "cannot be read"),
    ],
)
def test_what_cannot_stand(table: dict[str, Any], says: str) -> None:
    """Every value is checked with a sentence."""
    assert says in wrong(**table)


def test_attachments_must_be_where_every_instance_sees_them() -> None:
    """A folder of this machine's own would make the others promise what they do not have."""
    with pytest.raises(Failed, match="every instance sees"):
        parse({**LEAST, "store": {}, "redis": {}}, PATH)


def test_the_password_is_read_from_its_file_and_shown_nowhere(tmp_path: Path) -> None:
    """Neither in a repr nor in a failure."""
    (tmp_path / "password").write_text("hunter2-marker\n")
    found = read(account="relay", password=str(tmp_path / "password")).redis
    assert found is not None
    assert found.password == "hunter2-marker"
    assert "hunter2" not in repr(found)
