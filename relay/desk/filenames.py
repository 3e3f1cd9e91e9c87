"""Names of attachments: what leaves here is plain, and what came in is not trusted with a place on a disk. Pure.

A name is signed as it stands. So the sender's desk takes everything out of it that could steer a terminal or a
folder, and the recipient's desk refuses to write under a name that somebody else's program left odd.
"""

import mimetypes
import unicodedata

from relay.wire import fields

NAME_BYTES_MAX = 200
"""Of a name in UTF-8: file systems take 255, and a temporary name needs room too."""
UNNAMED = "file"
UNKNOWN_TYPE = "application/octet-stream"

_ODD_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, formats (direction marks and zero-width signs), surrogates, unassigned: nothing that one sees."""
_ODD_LETTERS = frozenset('/\\:*?"<>|')
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{one}{n}" for one in ("com", "lpt") for n in range(1, 10))}
)
_TYPES = (
    mimetypes.MimeTypes()
)  # the built-in table alone: what this machine adds, another would not know


def plain(path: str) -> str:
    """Return a file's name as it may travel: without path, controls, direction marks or odd ends.

    Whatever is given, :func:`odd` finds nothing in what is returned.
    """
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    name = unicodedata.normalize("NFC", name)
    name = "".join("_" if _odd(letter) else letter for letter in name)
    name = _fitted(" ".join(name.split()).strip(" ."))
    return _fitted(f"_{name}") if _device(name) else name


def _fitted(name: str) -> str:
    """Return a name with as many bytes as a name may have, its ending kept."""
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending.encode()) > NAME_BYTES_MAX // 2:
        stem, dot, ending = name, "", ""
    room = NAME_BYTES_MAX - len((dot + ending).encode())
    stem = stem.encode()[:room].decode(errors="ignore").rstrip(" .")
    return f"{stem or UNNAMED}{dot}{ending}"


def odd(name: str) -> str:
    """Return why nothing should be written under this name, as the end of a sentence; "" for a plain one."""
    if not name or set(name) <= {"."}:
        return "it is no name"
    if any(_odd(letter) for letter in name):
        return "it has letters that steer a terminal or a folder"
    if name.strip(" .") != name:
        return "it begins or ends with a dot or a space"
    if _device(name):
        return "some systems take it for a device"
    if len(name.encode()) > NAME_BYTES_MAX:
        return f"it has more than {NAME_BYTES_MAX} bytes"
    return ""


def media_type(name: str) -> str:
    """Return what a file of this name holds, such as ``image/jpeg``, as its ending says."""
    found, packed = _TYPES.guess_type(name, strict=True)
    return found if found and not packed and fields.media_type(found) else UNKNOWN_TYPE


def _odd(letter: str) -> bool:
    return letter in _ODD_LETTERS or unicodedata.category(letter) in _ODD_CATEGORIES


def _device(name: str) -> bool:
    return name.partition(".")[0].strip().lower() in _DEVICES
