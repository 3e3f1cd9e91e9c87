"""Checksums of identifiers: cards and devices (Luhn), accounts (ISO 7064), crypto-assets.

Each function tells whether a text is whole, never whether the thing exists. Formats: Base58Check and
Bech32 as in Bitcoin (BIP 173, BIP 350), CashAddr, mixed-case Ethereum addresses (EIP-55), Monero's
Base58 in blocks. Keccak-256 is the function from before SHA-3's padding, which Python does not have.
"""

import hashlib
from functools import reduce
from operator import xor

_B58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_XRP = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
_B32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_POLY = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CASH = (0x98F2BC8E61, 0x79B76D99E2, 0xF33E5FB3C4, 0xAE2EABE2A8, 0x1E4F43E470)
_BLOCKS = {2: 1, 3: 2, 5: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8}
"""Monero: characters of a block of Base58, and the bytes that they stand for."""


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def mod97(iban: str) -> bool:
    """Whether the two check digits of an IBAN fit (ISO 13616, ISO 7064)."""
    turned = iban[4:] + iban[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1


def base58(text: str, alphabet: str = _B58) -> bytes | None:
    """Return the bytes of a Base58 text, or None."""
    number = 0
    for letter in text:
        place = alphabet.find(letter)
        if place < 0:
            return None
        number = number * 58 + place
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def base58check(text: str, alphabet: str = _B58) -> bytes | None:
    """Return version and hash of a Base58Check address (25 bytes), or None if its sum is wrong."""
    data = base58(text, alphabet)
    if data is None or len(data) != 25:
        return None
    body, check = data[:-4], data[-4:]
    twice = hashlib.sha256(hashlib.sha256(body).digest()).digest()
    return body if twice[:4] == check else None


def ripple(text: str) -> bool:
    """Whether this is an address of the XRP ledger."""
    return base58check(text, _XRP) is not None


def bech32(text: str) -> bool:
    """Whether this is a segregated-witness address: Bech32 for version 0, Bech32m above."""
    if text not in {text.lower(), text.upper()} or len(text) > 90:
        return False
    prefix, _one, data = text.lower().rpartition("1")
    values = [_B32.find(letter) for letter in data]
    if not prefix or len(data) < 8 or min(values) < 0:
        return False
    spread = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(x) & 31 for x in prefix]
    check = 1
    for value in spread + values:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit in range(5):
            check ^= _POLY[bit] if top >> bit & 1 else 0
    version, program = values[0], len(values[1:-6]) * 5 // 8
    fits = program in {20, 32} if version == 0 else 2 <= program <= 40
    return version <= 16 and fits and check == (1 if version == 0 else 0x2BC830A3)


def cashaddr(text: str) -> bool:
    """Whether this is a CashAddr address, with its prefix or without (then ``bitcoincash``)."""
    if text not in {text.lower(), text.upper()}:
        return False
    prefix, colon, data = text.lower().rpartition(":")
    prefix = prefix if colon else "bitcoincash"
    values = [_B32.find(letter) for letter in data]
    if len(data) < 16 or min(values) < 0:
        return False
    check = 1
    for value in [ord(letter) & 31 for letter in prefix] + [0] + values:
        top, check = check >> 35, (check & 0x07FFFFFFFF) << 5 ^ value
        for bit in range(5):
            check ^= _CASH[bit] if top >> bit & 1 else 0
    return check == 1


def keccak256(data: bytes) -> bytes:
    """Return the Keccak-256 hash with the padding of 2011 (0x01), as Ethereum and Monero use it."""
    rate = 136
    padded = bytearray(data + b"\x01" + b"\0" * (-(len(data) + 1) % rate))
    padded[-1] |= 0x80
    lanes = [0] * 25
    for start in range(0, len(padded), rate):
        for place in range(rate // 8):
            at = start + 8 * place
            lanes[place] ^= int.from_bytes(padded[at : at + 8], "little")
        _permute(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _permute(lanes: list[int]) -> None:
    """Apply Keccak-f[1600]; lane (x, y) is at x + 5y."""
    full, lfsr = (1 << 64) - 1, 1
    for _round in range(24):
        columns = [reduce(xor, lanes[x::5]) for x in range(5)]
        for x in range(5):
            mixed = columns[(x - 1) % 5] ^ _turned(columns[(x + 1) % 5], 1, full)
            for y in range(0, 25, 5):
                lanes[x + y] ^= mixed
        x, y, carried = 1, 0, lanes[1]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            turned = _turned(carried, (step + 1) * (step + 2) // 2 % 64, full)
            carried, lanes[x + 5 * y] = lanes[x + 5 * y], turned
        for y in range(0, 25, 5):
            row = lanes[y : y + 5]
            for x in range(5):
                lanes[x + y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5])
        for place in range(7):
            lfsr = (lfsr << 1 ^ (lfsr >> 7) * 0x71) % 256
            if lfsr & 2:
                lanes[0] ^= 1 << ((1 << place) - 1)


def _turned(lane: int, by: int, full: int) -> int:
    return (lane << by | lane >> (64 - by)) & full if by else lane


def eip55(text: str) -> bool:
    """Whether an Ethereum address is whole: 40 hex digits; in mixed case the case is the checksum."""
    digits = text.removeprefix("0x")
    if not text.startswith("0x") or len(digits) != 40:
        return False
    if any(letter not in "0123456789abcdefABCDEF" for letter in digits):
        return False
    if digits in {digits.lower(), digits.upper()}:
        return True
    hashed = keccak256(digits.lower().encode()).hex()
    return all(
        letter == (letter.upper() if int(hashed[place], 16) >= 8 else letter.lower())
        for place, letter in enumerate(digits)
    )


def monero(text: str) -> bool:
    """Whether this is a Monero address: Base58 in blocks of eleven, with four bytes of Keccak."""
    data = b""
    for start in range(0, len(text), 11):
        block = text[start : start + 11]
        size, number = _BLOCKS.get(len(block)), 0
        for letter in block:
            number = number * 58 + _B58.find(letter)
            if letter not in _B58:
                return False
        if size is None or number >= 256**size:
            return False
        data += number.to_bytes(size, "big")
    return len(data) in {69, 77} and keccak256(data[:-4])[:4] == data[-4:]
