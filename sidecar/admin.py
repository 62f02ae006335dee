"""Asking the Envoy that we started: is it ready, does it still serve anybody, may it stop taking requests."""

import asyncio
from http.client import HTTPConnection, HTTPException

from sidecar.settings import Settings, host_and_port

_BOUND = 2.0  # seconds for an answer
_ACTIVE = "http.aibridge.downstream_rq_active"  # `aibridge`: the listener's stat_prefix, in sidecar.bootstrap
_HEALTHY = "cluster.sidecar.membership_healthy"
_OK, _LATE = 200, -1


class Envoy:
    """A running Envoy, by its two addresses. No answer, or an odd one, is an answer too: none of these raises."""

    def __init__(self, settings: Settings) -> None:
        self._listen = host_and_port(settings.listen)
        self._speaks_tls = settings.tls.cert_file is not None
        self._admin = host_and_port(settings.admin)

    async def is_ready(self) -> bool:
        """Whether clients are served: Envoy listens and a worker is healthy."""
        if self._speaks_tls:  # by a certificate for the clients' name for it, and perhaps only to who shows one
            return await self._says_ready()
        status, _ = await asyncio.to_thread(_asked, self._listen, "GET", "/healthz")
        return status == _OK

    async def _says_ready(self) -> bool:
        status, _ = await asyncio.to_thread(_asked, self._admin, "GET", "/ready")
        _, healthy = await asyncio.to_thread(_asked, self._admin, "GET", f"/stats?filter=^{_HEALTHY}$")
        return status == _OK and healthy.rpartition(": ")[2].strip() not in {"", "0"}

    async def turn_away(self) -> None:
        """Answer 503 at `/healthz` from now on, so that load balancers go elsewhere."""
        await asyncio.to_thread(_asked, self._admin, "POST", "/healthcheck/fail")

    async def active(self) -> int:
        """How many requests are under way; 0 where Envoy does not say, 1 where it is too busy to say it in time."""
        status, text = await asyncio.to_thread(_asked, self._admin, "GET", f"/stats?filter=^{_ACTIVE}$")
        if status == _LATE:
            return 1
        found = text.rpartition(": ")[2].strip()
        return int(found) if found.isdigit() else 0


def _asked(address: tuple[str, int], method: str, target: str) -> tuple[int, str]:
    connection = HTTPConnection(*address, timeout=_BOUND)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except TimeoutError:
        return _LATE, ""
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()
