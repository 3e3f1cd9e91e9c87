"""What stands in a repository: the newest root, targets, entries and network, before they are signed anew.

A repository is a mapping from TUF file names to bytes, old versions included; here nothing is verified.
"""

from collections.abc import Mapping
from typing import Any

from keys import statement
from keys.errors import Code, Failed, Refused
from keys.metadata import Document, KeySet, Kind, read
from keys.network import read_network
from keys.trust import desk_paths, newest_root, role_name, target_name

Files = Mapping[str, bytes]


def current_root(files: Files) -> Document:
    """Return the newest root document."""
    version = newest_root(files)
    if not version:
        raise Failed(
            "This folder holds no root document, so no directory begins here.",
            hint="Hold a ceremony first: keys ceremony --help",
            exit_code=78,
        )
    return read(Kind.ROOT, files[f"{version}.root.json"])


def newest(files: Files, name: str) -> tuple[int, bytes]:
    """Return version and bytes of the newest file of a role, e.g. ``targets`` or ``desk-VN``; (0, b"") if none."""
    suffix = f".{name}.json"
    versions = [
        int(one.removesuffix(suffix))
        for one in files
        if one.endswith(suffix) and "/" not in one and one.removesuffix(suffix).isdigit()
    ]
    if not versions:
        return 0, b""
    version = max(versions)
    return version, files[f"{version}{suffix}"]


def current_targets(files: Files) -> Document:
    """Return the newest top-level targets."""
    _version, data = newest(files, "targets")
    if not data:
        raise Failed("This folder holds no targets metadata.", exit_code=78)
    return read(Kind.TARGETS, data)


def desk_keys(files: Files, desk: str) -> KeySet:
    """Return the key set that the registrar has delegated to a desk; E_WRONG_DESK if there is none."""
    one = current_targets(files).delegations.get(role_name(desk))
    if one is None:
        raise Refused(
            Code.E_WRONG_DESK,
            f"The registrar has not entered a desk {desk}.",
            hint=f"Add it first: keys add-desk --desk {desk} …",
        )
    return one.keys


def current_entry(files: Files, desk: str) -> dict[str, Any]:
    """Return a desk's newest entry as JSON, to be changed and signed again; E_WRONG_DESK if there is none."""
    _version, role = newest(files, role_name(desk))
    path = desk_paths(desk)[0]
    if not role:
        raise Refused(
            Code.E_WRONG_DESK,
            f"Desk {desk} has signed no entry yet.",
            hint=f"It begins with: keys enter --desk {desk} --entry FILE --request FILE …",
        )
    meta = read(Kind.TARGETS, role).targets[path]
    return statement.decode(files[target_name(path, meta.sha256)])


def rotations_of(files: Files, desk: str) -> bytes:
    """Return a desk's rotations and recoveries so far; b"" if there are none."""
    path = f"rotations/{desk}.json"
    meta = current_targets(files).targets.get(path)
    return files[target_name(path, meta.sha256)] if meta else b""


def current_network(files: Files) -> dict[str, Any]:
    """Return the newest ``network.json``, to be changed and signed again."""
    meta = current_targets(files).targets["network.json"]
    return statement.decode(files[target_name("network.json", meta.sha256)])


def network_floor(files: Files) -> Mapping[str, Mapping[str, int]]:
    """Return the longest times that a desk may publish."""
    return read_network(statement.encode(current_network(files))).floor
