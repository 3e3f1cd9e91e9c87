"""`network.json`: the relay services and their instances, limits, and the escalation floor (PROTOCOL 8.2).

Strict JSON, listed in the top-level targets and so signed by the registrar::

    {"floor":{priority:{"acknowledge_s":n,"first_stage_s":n,"progress_s":n}},"limits":{name:n},
     "services":[{"ca":pem|"","instances":[{"evidence_key":b64u,"log_key":b64u,"log_mldsa":b64u,"origin":text}],
                  "name":text,"url":text}],
     "tsa":[pem,..],"v":1,"versions":[{"receive_until":t|0,"send":bool,"version":n}],"witnesses":tlog-policy text}
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from keys import statement, suite
from keys.entry import PRIORITIES, key_of
from keys.errors import Code, Refused
from keys.shape import closed, integer, listed, matching, refuse, text

NETWORK_BYTES_MAX = 256 * 1024
SERVICE = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}\Z")
ORIGIN = re.compile(r"[a-z0-9][a-z0-9./-]{0,126}\Z")
URL = re.compile(r"(https?|wss?)://[!-~]{1,250}\Z")
FLOOR_FIELDS = ("acknowledge_s", "first_stage_s", "progress_s")
MLDSA_PUBLIC_BYTES = 1312


@dataclass(frozen=True, slots=True)
class Instance:
    """One log of a relay service: its origin and public keys (evidence and log Ed25519 32 bytes, ML-DSA-44 1312)."""

    origin: str
    evidence_key: bytes = field(repr=False)
    log_key: bytes = field(repr=False)
    log_mldsa: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Service:
    """A relay service; *ca* is the PEM text of the authority that its TLS certificate must come from, or ""."""

    name: str
    url: str
    ca: str = field(repr=False)
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """``network.json``: services by name, limits (name -> integer), the escalation floor in seconds."""

    services: Mapping[str, Service]
    limits: Mapping[str, int]
    floor: Mapping[str, Mapping[str, int]]
    raw: Mapping[str, Any] = field(repr=False)


@lru_cache(maxsize=64)
def read_network(data: bytes) -> Network:
    """Read ``network.json``; E_TOO_LARGE, E_ENCODING, E_VERSION, E_KEY. Cached by its bytes."""
    if len(data) > NETWORK_BYTES_MAX:
        raise Refused(Code.E_TOO_LARGE, f"network.json is over {NETWORK_BYTES_MAX} bytes.")
    names = {"floor", "limits", "services", "tsa", "v", "versions", "witnesses"}
    raw = closed(statement.decode(data), names, "network.json")
    if raw["v"] != 1:
        raise Refused(Code.E_VERSION, "The version of network.json is not 1.")
    services = tuple(_service(one) for one in listed(raw["services"], "services", 16))
    by_name = {one.name: one for one in services}
    if not services or len(by_name) != len(services):
        refuse("network.json has no relay service, or one name twice")
    origins = [one.origin for service in services for one in service.instances]
    if len(set(origins)) != len(origins):
        refuse("two relay instances have one origin")
    floor = closed(raw["floor"], set(PRIORITIES), "the floor")
    for priority in PRIORITIES:
        for name, value in closed(floor[priority], set(FLOOR_FIELDS), priority).items():
            integer(value, name)
    limits = closed(raw["limits"], None, "limits")
    for name, value in limits.items():
        integer(value, name)
    for pem in listed(raw["tsa"], "tsa", 16):
        text(pem, "tsa", 16_384, empty=False)
    text(raw["witnesses"], "witnesses", 65_536)
    for version in listed(raw["versions"], "versions", 8):
        line = closed(version, {"receive_until", "send", "version"}, "a version")
        integer(line["version"], "version", least=1)
        integer(line["receive_until"], "receive_until")
        if not isinstance(line["send"], bool):
            refuse("`send` is true or false")
    return Network(by_name, limits, floor, raw)


def _service(value: object) -> Service:
    raw = closed(value, {"ca", "instances", "name", "url"}, "a service")
    instances = tuple(_instance(one) for one in listed(raw["instances"], "instances", 64))
    if not instances:
        refuse("a service has no instance")
    return Service(
        matching(raw["name"], SERVICE, "a service name looks like poc24-demo"),
        matching(raw["url"], URL, "a service's url looks like wss://relay.example"),
        text(raw["ca"], "ca", 16_384),
        instances,
    )


def _instance(value: object) -> Instance:
    raw = closed(value, {"evidence_key", "log_key", "log_mldsa", "origin"}, "an instance")
    lattice = statement.unb64u(text(raw["log_mldsa"], "log_mldsa", 2048))
    if len(lattice) != MLDSA_PUBLIC_BYTES:
        raise Refused(Code.E_KEY, f"An ML-DSA-44 public key has {MLDSA_PUBLIC_BYTES} bytes.")
    evidence = key_of(raw["evidence_key"], "evidence_key")
    log = key_of(raw["log_key"], "log_key")
    if suite.equal(evidence, log):
        refuse("one key stands for evidence and log: every key has one role")
    return Instance(
        matching(raw["origin"], ORIGIN, "an origin looks like relay.example/1"),
        evidence,
        log,
        lattice,
    )
