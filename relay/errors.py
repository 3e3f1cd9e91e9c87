"""Errors at the doors: HTTP statuses, exit codes, and the error's form on the wire (PROTOCOL 16).

The codes and both families of errors live in :mod:`keys.errors`; here they meet the world::

    {"at":<relay time>,"code":"E_CLOCK","retry":true,"text":"..."}   strict JSON, at most 4096 bytes
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from keys import statement
from keys.errors import Code, Failed, Poc24Error, Refused

ERROR_BYTES_MAX = 4096
TEXT_CHARACTERS_MAX = 640
"""A sentence and its hint. A character escapes to at most six bytes, so every error fits its limit.
"""

HTTP_STATUS: Mapping[Code, int] = MappingProxyType(
    {
        Code.E_VERSION: 400,
        Code.E_ENCODING: 400,
        Code.E_TOO_LARGE: 413,
        Code.E_TYPE: 403,
        Code.E_SIGNER: 403,
        Code.E_KEY: 403,
        Code.E_SIGNATURE: 403,
        Code.E_CLOCK: 400,
        Code.E_EXPIRED: 410,
        Code.E_REPLAY: 409,
        Code.E_STALE_ROSTER: 409,
        Code.E_DESK_KEY_CHANGED: 409,
        Code.E_DIRECTORY: 403,
        Code.E_DIRECTORY_STALE: 409,
        Code.E_RECIPIENTS: 400,
        Code.E_BLOB_MISSING: 409,
        Code.E_RATE: 429,
        Code.E_BUSY: 503,
        Code.E_AUTH: 401,
        Code.E_UNKNOWN: 404,
        Code.E_NOT_FOR_ME: 403,
        Code.E_WRONG_DESK: 403,
        Code.E_DECRYPT: 400,
        Code.E_COMMIT: 400,
        Code.E_PADDING: 400,
        Code.E_BINDING: 400,
        Code.E_SUBMISSION: 400,
        Code.E_PROOF: 400,
        Code.E_CHECKPOINT: 400,
        Code.E_DOCUMENT: 400,
        Code.E_KEYRING: 403,
    }
)

OK, REFUSED, USAGE = 0, 1, 2
BAD_DATA, UNAVAILABLE, INTERNAL, TRY_AGAIN = 65, 69, 70, 75
PROOF_FAILED, NO_PERMISSION, CONFIGURATION = 76, 77, 78
"""Exit codes of every command; after sysexits.h where it has one."""

EXIT_CODE: Mapping[Code, int] = MappingProxyType(
    {
        Code.E_VERSION: BAD_DATA,
        Code.E_ENCODING: BAD_DATA,
        Code.E_TOO_LARGE: BAD_DATA,
        Code.E_TYPE: BAD_DATA,
        Code.E_SIGNER: PROOF_FAILED,
        Code.E_KEY: PROOF_FAILED,
        Code.E_SIGNATURE: PROOF_FAILED,
        Code.E_CLOCK: CONFIGURATION,
        Code.E_EXPIRED: REFUSED,
        Code.E_REPLAY: REFUSED,
        Code.E_STALE_ROSTER: TRY_AGAIN,
        Code.E_DESK_KEY_CHANGED: PROOF_FAILED,
        Code.E_DIRECTORY: PROOF_FAILED,
        Code.E_DIRECTORY_STALE: TRY_AGAIN,
        Code.E_RECIPIENTS: REFUSED,
        Code.E_BLOB_MISSING: TRY_AGAIN,
        Code.E_RATE: TRY_AGAIN,
        Code.E_BUSY: TRY_AGAIN,
        Code.E_AUTH: TRY_AGAIN,
        Code.E_UNKNOWN: REFUSED,
        Code.E_NOT_FOR_ME: REFUSED,
        Code.E_WRONG_DESK: REFUSED,
        Code.E_DECRYPT: PROOF_FAILED,
        Code.E_COMMIT: PROOF_FAILED,
        Code.E_PADDING: PROOF_FAILED,
        Code.E_BINDING: PROOF_FAILED,
        Code.E_SUBMISSION: PROOF_FAILED,
        Code.E_PROOF: PROOF_FAILED,
        Code.E_CHECKPOINT: PROOF_FAILED,
        Code.E_DOCUMENT: BAD_DATA,
        Code.E_KEYRING: NO_PERMISSION,
    }
)


def http_status(error: Refused) -> int:
    """Return the HTTP status with which the relay refuses (PROTOCOL 16)."""
    return HTTP_STATUS[error.code]


def exit_code(error: Poc24Error) -> int:
    """Return the exit code of a command that ends with *error*; 70 for one of no family."""
    if isinstance(error, Refused):
        return EXIT_CODE[error.code]
    return error.exit_code if isinstance(error, Failed) else INTERNAL


def to_json(error: Refused, now: int) -> bytes:
    """Return the body of a refusal; *now* is the relay's time, which shows a wrong clock."""
    text = str(error)[:TEXT_CHARACTERS_MAX].encode("utf-8", "replace").decode()
    return statement.encode(
        {"at": now, "code": error.code.value, "retry": error.retry, "text": text}
    )


def read(data: bytes) -> tuple[Refused, int]:
    """Read a refusal and the relay's time in it; E_ENCODING or E_TOO_LARGE for anything else."""
    if len(data) > ERROR_BYTES_MAX:
        raise Refused(Code.E_TOO_LARGE, f"An error has at most {ERROR_BYTES_MAX} bytes.")
    found: dict[str, Any] = statement.decode(data)
    if set(found) != {"at", "code", "retry", "text"}:
        raise Refused(Code.E_ENCODING, "An error has other fields than at, code, retry, text.")
    at, code, retry, text = found["at"], found["code"], found["retry"], found["text"]
    if type(at) is not int or type(retry) is not bool or not isinstance(text, str) or at < 0:
        raise Refused(Code.E_ENCODING, "A field of the relay's error has another type.")
    if not isinstance(code, str) or code not in Code.__members__:
        raise Refused(Code.E_ENCODING, "The relay's error has a code that is not known here.")
    if len(text) > TEXT_CHARACTERS_MAX:
        raise Refused(Code.E_TOO_LARGE, "The relay's error is longer than a sentence and a hint.")
    refused = Refused(Code(code), text)
    if refused.retry is not retry:
        raise Refused(Code.E_ENCODING, "The relay's error contradicts its code about a retry.")
    return refused, at


def from_json(data: bytes) -> Refused:
    """Read a refusal that another side sent; see :func:`read` for the time in it."""
    return read(data)[0]
