"""What node.sh needs of redis-cli, for machines that have only the server: words or standard input, raw answers."""

import socket
import ssl
import sys
from io import BufferedRWPair


def main() -> int:
    """Speak to a server over TLS; return 0, or 1 if it is not there."""
    words, options = sys.argv[1:], dict[str, str]()
    while words and words[0] in ("-h", "-p", "--cacert", "--tls"):
        option = words.pop(0)
        options[option] = "" if option == "--tls" else words.pop(0)
    asked = [words] if words else [line.split() for line in sys.stdin if line.strip()]
    try:
        plain = socket.create_connection((options["-h"], int(options["-p"])), 3)
        context = ssl.create_default_context(cafile=options["--cacert"])
        with context.wrap_socket(plain, server_hostname=options["-h"]) as line:
            stream = line.makefile("rwb")
            for one in asked:
                parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in one)
                stream.write(f"*{len(one)}\r\n{parts}".encode())
                stream.flush()
                sys.stdout.write("\n".join([*answer(stream), ""]))
    except OSError as error:
        sys.stderr.write(f"Could not connect: {error}\n")
        return 1
    return 0


def answer(stream: BufferedRWPair) -> list[str]:
    """Return an answer's lines, as redis-cli prints them where nobody watches."""
    head = stream.readline().decode().strip()
    kind, rest = head[:1], head[1:]
    if kind == "*":
        return [line for _one in range(int(rest)) for line in answer(stream)]
    if kind == "$":
        return [stream.read(int(rest) + 2).decode()[:-2]] if int(rest) >= 0 else [""]
    return [rest]


if __name__ == "__main__":
    sys.exit(main())
