"""What the operator's machine asks: does it live, can it serve, how much. On a loopback address of its own.

``/livez`` answers 503 when a restart would help, ``/readyz`` when nobody should be sent here, and both say why.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Health:
    """*reasons* keep the relay from serving; *warnings* do not yet."""

    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    store: str = ""
    """Where things are kept, and what could still be lost."""


def application(
    registry: CollectorRegistry, alive: Callable[[], bool], health: Callable[[], Health]
) -> web.Application:
    """Return the aiohttp application of /livez, /readyz and /metrics."""

    async def livez(_request: web.Request) -> web.Response:
        living = alive()
        return web.json_response({"alive": living}, status=200 if living else 503)

    async def readyz(_request: web.Request) -> web.Response:
        found = health()
        body = {
            "ready": not found.reasons,
            "reasons": list(found.reasons),
            "warnings": list(found.warnings),
            "store": found.store,
        }
        return web.json_response(body, status=503 if found.reasons else 200)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app
