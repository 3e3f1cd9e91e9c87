"""Errors of the whole house: one root, two families that never mix.

::

    Poc24Error
    ├── Refused    theirs: what came in is not acceptable; carries a stable protocol code
    └── Failed     ours: this program or its surroundings could not do the work

Every error is a sentence that says what happened and why, with a hint that says what to type or do next.
The codes are those of PROTOCOL section 16; texts may change, codes may not.
"""

from enum import StrEnum


class Code(StrEnum):
    """Stable error codes (PROTOCOL 16). The value travels; the text beside it is for people."""

    E_VERSION = "E_VERSION"
    E_ENCODING = "E_ENCODING"
    E_TOO_LARGE = "E_TOO_LARGE"
    E_TYPE = "E_TYPE"
    E_SIGNER = "E_SIGNER"
    E_KEY = "E_KEY"
    E_SIGNATURE = "E_SIGNATURE"
    E_CLOCK = "E_CLOCK"
    E_EXPIRED = "E_EXPIRED"
    E_REPLAY = "E_REPLAY"
    E_STALE_ROSTER = "E_STALE_ROSTER"
    E_DESK_KEY_CHANGED = "E_DESK_KEY_CHANGED"
    E_DIRECTORY = "E_DIRECTORY"
    E_DIRECTORY_STALE = "E_DIRECTORY_STALE"
    E_RECIPIENTS = "E_RECIPIENTS"
    E_BLOB_MISSING = "E_BLOB_MISSING"
    E_RATE = "E_RATE"
    E_BUSY = "E_BUSY"
    E_AUTH = "E_AUTH"
    E_UNKNOWN = "E_UNKNOWN"
    E_NOT_FOR_ME = "E_NOT_FOR_ME"
    E_WRONG_DESK = "E_WRONG_DESK"
    E_DECRYPT = "E_DECRYPT"
    E_COMMIT = "E_COMMIT"
    E_PADDING = "E_PADDING"
    E_BINDING = "E_BINDING"
    E_SUBMISSION = "E_SUBMISSION"
    E_PROOF = "E_PROOF"
    E_CHECKPOINT = "E_CHECKPOINT"
    E_DOCUMENT = "E_DOCUMENT"
    E_KEYRING = "E_KEYRING"


RETRYABLE = frozenset(
    {Code.E_RATE, Code.E_BUSY, Code.E_CLOCK, Code.E_STALE_ROSTER, Code.E_BLOB_MISSING, Code.E_AUTH}
)
"""Codes after which the same intention may succeed later, with or without a correction (PROTOCOL 16, column retry)."""


class Poc24Error(Exception):
    """Root of all errors that this product raises on purpose."""

    def __init__(self, text: str, *, hint: str = "") -> None:
        """Keep a sentence for people and what they can do next."""
        super().__init__(text)
        self.text = text
        self.hint = hint

    def __str__(self) -> str:
        """Return the sentence, and the hint where there is one."""
        return f"{self.text} {self.hint}".rstrip()


class Refused(Poc24Error):
    """What came in is not acceptable: wrong bytes, wrong key, wrong time, wrong place."""

    def __init__(self, code: Code, text: str, *, hint: str = "") -> None:
        """Keep the protocol code beside the sentence."""
        super().__init__(text, hint=hint)
        self.code = code

    @property
    def retry(self) -> bool:
        """Whether the same intention may succeed later (PROTOCOL 16)."""
        return self.code in RETRYABLE


class Failed(Poc24Error):
    """This side could not do the work: a missing part, a full disk, a closed port."""

    def __init__(self, text: str, *, hint: str = "", exit_code: int = 70) -> None:
        """Keep the exit code (sysexits: 69 unavailable, 70 internal, 73 cannot create, 75 try later, 78 settings)."""
        super().__init__(text, hint=hint)
        self.exit_code = exit_code
