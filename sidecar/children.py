"""The processes a parent keeps running. None outlives it: workers hear the end of their input, Envoy the kernel."""

import asyncio
import math
import os
import pickle
import sys
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path

import structlog
from typing_extensions import override

from sidecar.admin import Envoy
from sidecar.assignment import TIME, Assignment, KeeperAssignment
from sidecar.core.errors import SidecarError
from sidecar.leash import leashed
from sidecar.logs import is_read_by_a_person
from sidecar.settings import Settings, bare_environment
from sidecar.telemetry.metrics import sheets

log = structlog.get_logger()

READY = 30.0  # seconds for a child to serve
_POLL = 0.05
_PAUSES = (0.1, 0.5, 1.0, 2.0)  # seconds before a child is replaced, and then `_LONGEST_PAUSE` each time
_LONGEST_PAUSE = 5.0
_STABLE = 60.0  # seconds after which earlier failures are forgotten
_NONE = -1  # no descriptor
_MISSES = 3
_MANY = 65_536  # bytes: what a pipe holds
# Bytes. Else glibc raises both when something larger is freed (mallopt(3)), and keeps in each thread's heap what one
# large body once needed. Bodies of up to 1 MiB cost what they cost without; other C libraries do not know these.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "4194304"}
# Whoever waits for gRPC's events reads what Envoy sends, instead of having each message handed over by another thread.
# It has to be there when gRPC is loaded; one that knows no such experiment says so, and goes on.
_READS_BY_ITSELF = {"GRPC_EXPERIMENTS": "-event_engine_listener"}
# As ours look: spdlog's flags, and Envoy's for a message that may stand in JSON.
_ENVOYS_LINE = '{"logger": "envoy.%n", "event": "%j", "level": "%l", "timestamp": "%Y-%m-%dT%T.%f%z"}'

EndLost = Callable[[str], Awaitable[None]]


class NotStarted(SidecarError):
    """A child did not come to serve."""


class Child(ABC):
    """A process that is replaced when it ends. `bound`: seconds it has to stop; `patience`: seconds it has to serve."""

    patience = READY

    def __init__(self, name: str, bound: float) -> None:
        self.name = name
        self.bound = bound
        self._process: Process | None = None
        self._stopping = False

    async def start(self) -> None:
        """Start it and wait until it serves. Raises NotStarted, with nothing of it left running."""
        if self._stopping:
            msg = f"{self.name} was told to stop"
            raise NotStarted(msg)
        try:
            self._process = await self._spawned()
        except OSError as error:
            msg = f"{self.name} cannot be run: {error.strerror}"
            raise NotStarted(msg) from None
        if self._stopping:  # told meanwhile, when there was no process yet
            self._process.terminate()
        try:
            served = await asyncio.wait_for(self._serves(self._process), self.patience)
        except TimeoutError:
            served = False
        if not served:
            await _killed(self._process)
            msg = f"{self.name} did not come to serve; its own lines say why"
            raise NotStarted(msg)

    async def keep(self) -> None:
        """Replace it whenever it ends, until it is stopped."""
        loop = asyncio.get_running_loop()
        pauses = chain(_PAUSES, repeat(_LONGEST_PAUSE))
        while self._process is not None:
            begun = loop.time()
            watching = asyncio.create_task(self._watch(self._process))
            status = await self._process.wait()
            watching.cancel()
            if self._stopping:
                return
            if loop.time() - begun > _STABLE:
                pauses = chain(_PAUSES, repeat(_LONGEST_PAUSE))
            log.error("a child ended and is replaced", child=self.name, status=status)
            await self._ended()
            await asyncio.sleep(next(pauses))
            with suppress(NotStarted):
                await self.start()

    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def stop(self, until: float = math.inf) -> None:
        """Ask it to end, and end it when it takes longer than `bound` seconds, or is there `until` then (loop time)."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        seconds = max(0.0, min(self.bound, until - asyncio.get_running_loop().time()))
        with suppress(OSError):
            await self._ask(process, seconds)
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            log.error("a child had to be killed", child=self.name)  # noqa: TRY400 - the trace says nothing more
            await _killed(process)

    async def _ask(self, process: Process, seconds: float) -> None:  # noqa: ARG002 - for those who want to know
        """Ask `process` to end within so many seconds. May raise OSError: it has ended."""
        process.terminate()

    @abstractmethod
    async def _spawned(self) -> Process:
        """Return the process, just started."""

    @abstractmethod
    async def _serves(self, process: Process) -> bool:
        """Whether it came to serve; False when it ended instead."""

    async def _watch(self, process: Process) -> None:  # noqa: B027 - not everybody's life can be seen from here
        """End `process`, which serves, when it does so no longer."""

    @abstractmethod
    async def _ended(self) -> None:
        """Do what is to be done before it is replaced."""


class Servant(Child):
    """One of our own, which is told what to do on its standard input and hears its parent's end there.

    `silence`: seconds without a sign of life after which it is taken for dead.
    """

    silence = 30.0
    environment: Mapping[str, str] = _ALLOCATOR  # beside what the operator has said, which counts

    def __init__(self, name: str, module: str, locks: tuple[int, ...]) -> None:
        """`module` is what Python runs. `locks`: descriptors that it shall hold for as long as it lives."""
        super().__init__(name, TIME)
        self._module = module
        self._locks = locks
        self._ready = _NONE

    @abstractmethod
    def _assignment(self, ready: int) -> object:
        """Return what it is to do. `ready`: the descriptor for its signs of life."""

    @override
    async def _spawned(self) -> Process:
        self._ready, ready = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", self._module),
                stdin=PIPE,
                env={**self.environment, **bare_environment()},
                pass_fds=(ready, *self._locks),
                process_group=0,
            )
        finally:
            os.close(ready)
        with suppress(ConnectionError):
            await _told(process, pickle.dumps(self._assignment(ready)))
        return process

    @override
    async def _serves(self, process: Process) -> bool:
        return await asyncio.to_thread(os.read, self._ready, 1) != b""

    @override
    async def _watch(self, process: Process) -> None:
        os.set_blocking(self._ready, False)
        missed = 0  # in a row: who was stopped together with its parent has missed one at most
        while missed < _MISSES:
            await asyncio.sleep(self.silence / _MISSES)
            missed = 0 if self._has_beaten() else missed + 1
        log.error("a child stands still and is killed", child=self.name)
        await _killed(process)

    def _has_beaten(self) -> bool:
        try:
            return os.read(self._ready, _MANY) != b""
        except BlockingIOError:
            return False

    @override
    async def _ask(self, process: Process, seconds: float) -> None:
        await _told(process, f"{seconds:.3f}\n".encode())
        await super()._ask(process, seconds)  # one that is not up yet reads no orders

    @override
    async def _ended(self) -> None:
        if self._ready != _NONE:
            os.close(self._ready)
            self._ready = _NONE


class Worker(Servant):
    """A worker: one ext_proc server."""

    def __init__(
        self, settings: Settings, index: int, worker: str, end_lost: EndLost, *, locks: tuple[int, ...] = ()
    ) -> None:
        """`worker` owns its rows, and `end_lost` ends those that a worker of that name left open."""
        super().__init__(f"worker {index}", "sidecar.app", locks)
        self._index = index
        self._worker = worker
        self._end_lost = end_lost
        if settings.grpc_server == "completion_queue":
            self.environment = _ALLOCATOR | _READS_BY_ITSELF
        self.renew(settings)

    def renew(self, settings: Settings) -> None:
        """Have those that come later begin with these settings, which differ in the providers' keys."""
        self._settings = settings.without_store_credentials().without_injected_keys()

    @override
    def _assignment(self, ready: int) -> Assignment:
        socket = self._settings.socket(self._index)
        return Assignment(settings=self._settings, socket=socket, worker=self._worker, ready=ready)

    @override
    async def stop(self, until: float = math.inf) -> None:
        await super().stop(until)
        self._forget()

    @override
    async def _ended(self) -> None:
        await super()._ended()
        self._forget()
        await self._end_lost(self._worker)

    def _forget(self) -> None:
        sheets.forget(self._settings, self._settings.socket(self._index).stem)


class Keeper(Servant):
    """The journal's keeper: it forwards what is there, deletes what is too old, and sends metrics to a collector."""

    def __init__(
        self, settings: Settings, *, bridge: str = "", since: float = 0.0, locks: tuple[int, ...] = ()
    ) -> None:
        """`bridge`, `since`: as `KeeperAssignment` says."""
        super().__init__("keeper", "sidecar.keeper", locks)
        self._settings = settings.without_provider_keys()
        self._bridge = bridge
        self._since = since

    @override
    def _assignment(self, ready: int) -> KeeperAssignment:
        return KeeperAssignment(settings=self._settings, ready=ready, bridge=self._bridge, since=self._since)

    @override
    async def _ended(self) -> None:
        await super()._ended()
        sheets.forget(self._settings, self.name)


class EnvoyChild(Child):
    """Envoy, with the bootstrap that the settings make."""

    def __init__(self, settings: Settings, binary: Path, envoy: Envoy) -> None:
        super().__init__("Envoy", 2.0)
        self._settings = settings
        self._binary = binary
        self._envoy = envoy

    @override
    async def _spawned(self) -> Process:
        config = self._settings.runtime_dir / "envoy.yaml"
        config.unlink(missing_ok=True)
        config.write_bytes(await self._bootstrap())
        options = ["--log-level", "warning", "--disable-hot-restart", "--file-flush-interval-msec", "1000"]
        if not is_read_by_a_person(self._settings.telemetry.log_format):
            options += ["--log-format", _ENVOYS_LINE]
        return await asyncio.create_subprocess_exec(
            *leashed(str(self._binary), "--config-path", str(config), *options),
            env=bare_environment(),
            process_group=0,  # ctrl-C is the parent's to hear
        )

    @override
    async def _serves(self, process: Process) -> bool:
        while process.returncode is None:
            if await self._envoy.is_ready():
                return True
            await asyncio.sleep(_POLL)
        return False

    @override
    async def _ended(self) -> None:
        """Nothing: what it had under way has ended with it, and the workers have seen that."""

    async def _bootstrap(self) -> bytes:
        """The configuration, made elsewhere: what makes it would stay in our memory."""
        status, made = await asked("sidecar.bootstrap", self._settings, patience=READY)
        if status:
            msg = "Envoy's configuration could not be made"
            raise NotStarted(msg)
        return made


async def asked(module: str, order: object, *, patience: float | None = None) -> tuple[int, bytes]:
    """Have a process of its own do `order`, as `module` does; return its status and what it printed.

    `patience`: seconds that it has. Raises NotStarted where there can be none, or it takes longer.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *leashed(sys.executable, "-P", "-m", module),
            stdin=PIPE,
            stdout=PIPE,
            env=bare_environment(),
            process_group=0,
        )
    except OSError as error:
        msg = f"{module} cannot be run: {error.strerror}"
        raise NotStarted(msg) from None
    try:
        printed, _ = await asyncio.wait_for(process.communicate(pickle.dumps(order)), patience)
    except TimeoutError:
        msg = f"{module} took longer than {patience} s"
        raise NotStarted(msg) from None
    finally:
        await _killed(process)
    return process.returncode or 0, printed


async def _killed(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _told(process: Process, order: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(order)
        await process.stdin.drain()
