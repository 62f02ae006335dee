"""`drain`: what has to happen before a bridge is told to stop, where nobody else sees to it (a pod's preStop hook).

Load balancers are told to go elsewhere, and whoever is being served is served to the end. The bridge runs on: what
still comes meanwhile is answered, with the word that the connection ends there.
"""

import asyncio
from contextlib import suppress

import structlog

from sidecar.admin import Envoy
from sidecar.settings import Settings

log = structlog.get_logger()

_POLL = 0.25


def drain(settings: Settings, timeout: float, quiet: float) -> bool:
    """Turn new clients away and wait until no request has been under way for `quiet` seconds; `timeout` at most.

    Returns whether that came to be. An Envoy that does not answer serves nobody.
    """
    return asyncio.run(_drained(Envoy(settings), timeout, quiet))


async def _drained(envoy: Envoy, timeout: float, quiet: float) -> bool:  # noqa: ASYNC109 - the operator's word for it
    log.info("draining", timeout=timeout)
    await envoy.turn_away()
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await _silence(envoy, quiet)
            log.info("drained")
            return True
    active = await envoy.active()
    event = "requests are still under way" if active else "no request is under way, but it is not quiet for long"
    log.warning(event, active=active)
    return False


async def _silence(envoy: Envoy, quiet: float) -> None:
    """Wait for it. Load balancers need their seconds to hear of us, hence more than one look."""
    loop = asyncio.get_running_loop()
    since = loop.time()
    while loop.time() - since < quiet:
        await asyncio.sleep(_POLL)
        if await envoy.active():
            since = loop.time()
