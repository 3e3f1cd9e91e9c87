"""The relay's TLS: 1.3 or nothing, from a certificate and a key file (PROTOCOL 12)."""

import _ssl
import ssl
from pathlib import Path

from keys.errors import Failed


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a server's context that speaks TLS 1.3 only; Failed with the line to type if a file does not serve."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.set_alpn_protocols(["http/1.1"])
    try:
        if key.stat().st_mode & 0o077:
            raise Failed(
                f"The certificate's private key {key} can be read by others.",
                hint=f"Type: chmod 600 {key}",
                exit_code=77,
            )
        made.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise Failed(
            f"The certificate {certificate} with its key {key} cannot be used: {_why(error)}.",
            hint="Both are PEM files, and the key belongs to the certificate: "
            f"openssl x509 -in {certificate} -noout -dates",
            exit_code=78,
        ) from None
    return made


def expires(certificate: Path) -> int:
    """Return until when the first certificate of a PEM file is good (seconds UTC); Failed if it has none."""
    try:
        found = _ssl._test_decode_cert(str(certificate))  # type: ignore[attr-defined]  # noqa: SLF001 - the one reader that the standard library has
    except OSError:
        raise Failed(
            f"The certificate {certificate} cannot be read.",
            hint=f"Type: openssl x509 -in {certificate} -noout -dates",
            exit_code=78,
        ) from None
    return int(ssl.cert_time_to_seconds(str(found["notAfter"])))


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
