"""The configuration: every value checked with a sentence, no key ignored, and the example is true."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from keys.errors import Failed
from relay.config import Config, load, parse
from relay.core import limits

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "deploy" / "relay.example.toml"
LEAST: dict[str, Any] = {"relay": {"service": "poc24-test", "instance": "relay.test/1"}}
PATH = Path("/etc/poc24/relay.toml")


def read(**changes: Any) -> Config:
    """Parse the least configuration with some sections changed."""
    return parse({**LEAST, **changes}, PATH, Path("/run/credentials"))


def wrong(**changes: Any) -> Failed:
    """Return the failure of a configuration."""
    with pytest.raises(Failed) as failure:
        read(**changes)
    assert failure.value.exit_code == 78
    assert str(PATH) in failure.value.text
    return failure.value


def test_the_least_configuration_is_enough() -> None:
    """Service and instance are all that nobody can guess; paths stand beside the file."""
    config = read()

    assert (config.listen.address, config.listen.port) == ("127.0.0.1", 8424)
    assert (config.observe.address, config.observe.port) == ("127.0.0.1", 9424)
    assert config.store == Path("/etc/poc24/relay.db")
    assert config.control == Path("/etc/poc24/relay.db.sock")
    assert config.blobs == Path("/etc/poc24/relay.db.blobs")
    assert config.blob_quota == limits.BLOB_QUOTA_BYTES
    assert config.keys.ring == Path("/etc/poc24/relay.ring")
    assert config.directory.root == Path("/etc/poc24/root.json")
    assert config.directory.folder is None
    assert config.limits.submits_per_minute == limits.SUBMITS_PER_MINUTE


def test_the_example_is_a_configuration_and_its_comments_are_the_defaults() -> None:
    """deploy/relay.example.toml loads as it is, and with every comment taken away it says the same."""
    text = EXAMPLE.read_text()
    every = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    as_it_is, spelt_out = (parse(tomllib.loads(one), PATH) for one in (text, every))

    assert as_it_is == spelt_out
    assert len(re.findall(r"^\w+ = ", every, re.MULTILINE)) == 25
    assert load(EXAMPLE).service == as_it_is.service


@pytest.mark.parametrize(
    "section", ["relay", "listen", "observe", "store", "keys", "directory", "limits", "log"]
)
def test_an_unknown_key_is_an_error(section: str) -> None:
    """A misspelt key is named, with those that there are."""
    found = wrong(**{section: {**LEAST.get(section, {}), "prot": 1}})
    assert f"[{section}] prot" in found.text
    assert "there are" in found.text


def test_an_unknown_section_is_an_error() -> None:
    """So is a misspelt section, or one that is no table."""
    assert "[lisen]" in wrong(lisen={}).text
    assert "must be a table" in wrong(listen=3).text


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ("relay", "service", "No Spaces", "service's name"),
        ("relay", "service", 3, "service's name"),
        ("relay", "instance", "", "log's origin"),
        ("listen", "port", 65_536, "from 0 to 65535"),
        ("listen", "port", -1, "from 0 to 65535"),
        ("listen", "port", "8424", "whole number"),
        ("listen", "port", True, "whole number"),
        ("listen", "address", "example.org", "IP address"),
        ("listen", "address", "0.0.0.0", "needs TLS"),
        ("listen", "certificate", "x.pem", "belong together"),
        ("listen", "key", "x.pem", "belong together"),
        ("observe", "address", "0.0.0.0", "loopback"),
        ("store", "path", "", "path of a file"),
        ("store", "path", 7, "path of a file"),
        ("keys", "credential", "credential:", "name without slashes"),
        ("keys", "credential", "credential:../x", "name without slashes"),
        ("limits", "submits_per_minute", 0, "from 1 to"),
        ("log", "level", "loud", "one of debug, info"),
    ],
)
def test_a_value_that_cannot_stand_is_a_sentence(
    section: str, key: str, value: Any, says: str
) -> None:
    """The sentence names file, section, key and what may stand there."""
    found = wrong(**{section: {**LEAST.get(section, {}), key: value}})
    assert says in found.text


@pytest.mark.parametrize("key", ["service", "instance"])
def test_what_nobody_can_guess_must_be_there(key: str) -> None:
    """A missing service or instance is named."""
    relay = {name: value for name, value in LEAST["relay"].items() if name != key}
    assert f"[relay] {key}: it is missing" in wrong(relay=relay).text


def test_limits_at_their_ends() -> None:
    """n is taken, n+1 is not."""
    assert read(listen={"port": 65_535}).listen.port == 65_535
    assert read(listen={"port": 0}).listen.port == 0
    assert read(limits={"submits_per_minute": 1}).limits.submits_per_minute == 1


def test_a_credential_comes_from_its_folder() -> None:
    """credential:NAME is a file of the folder that was handed over, and an error if none was."""
    config = read(keys={"credential": "credential:relay.key"})
    assert config.keys.credential == Path("/run/credentials/relay.key")
    with pytest.raises(Failed, match="CREDENTIALS_DIRECTORY"):
        parse({**LEAST, "keys": {"credential": "credential:relay.key"}}, PATH)


def test_with_tls_any_address_will_do() -> None:
    """A certificate and its key open the door to other machines; localhost is loopback."""
    listen = {"address": "0.0.0.0", "certificate": "a.pem", "key": "b.pem"}
    assert read(listen=listen).listen.certificate == Path("/etc/poc24/a.pem")
    assert read(listen={"address": "localhost"}).listen.address == "127.0.0.1"
    assert read(listen={"address": "::1"}).listen.address == "::1"


def test_a_file_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    """Missing, not UTF-8, not TOML: each says so."""
    with pytest.raises(Failed, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_bytes(b"\xff")
    with pytest.raises(Failed, match="not UTF-8"):
        load(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("[relay")
    with pytest.raises(Failed, match="is not TOML"):
        load(tmp_path / "b.toml")
