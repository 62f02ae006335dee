"""The image: the Containerfile's steps, taken, and what they make, run as Kubernetes would."""

import fcntl
import json
import os
import pickle
import signal
import subprocess
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests.deploy.boxes import boxed, refusal
from tests.deploy.images import Image, installing, pinned, shell
from tests.e2e import processes, recorded
from tests.e2e.bridges import CENTRAL_KEY, STOPPED_WITHIN, free_ports, written
from tests.e2e.connections import ask, serves
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

BASE = {"BASE_IMAGE": "the machine that tests", "BASE_DIGEST": "sha256:0"}
LOOKS = """
import json, os, shutil, sys
def told(path):
    try:
        with open(path, "w"):
            return "written"
    except OSError as error:
        return error.strerror
root, folder = sys.argv[1:]
print(json.dumps({
    "user": os.getuid(),
    "folder": os.getcwd(),
    "root": told(root + "/opt/aibridge/new"),
    "mounted": told(folder + "/new"),
    "shells": [name for name in ("sh", "bash", "dash", "busybox") if shutil.which(name)],
}))
"""


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Made once, however many processes test.

    With `--soak` every package is fetched by its hash; else the image's tools are, and of its packages those are taken
    that are installed here.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = shared / "image.pickle"
        if not made.exists():
            run = shell if request.config.getoption("soak") else installing
            image = Image(shared / f"image-{os.getpid()}/root", BASE, run).built()
            for mount in mounts(image):
                mount.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.write_bytes(pickle.dumps(image))
        return pickle.loads(made.read_bytes())  # noqa: S301 - our own


def mounts(image: Image) -> tuple[Path, ...]:
    """What a deployment mounts to be written to."""
    return tuple(Path(image.here(path)) for path in ("/run/aibridge", "/var/lib/aibridge"))


def command(image: Image, *words: str) -> list[str]:
    """The entry point with these words, or with those that it has by itself."""
    entry, usual = (json.loads(image.words[name]) for name in ("ENTRYPOINT", "CMD"))
    return [image.here(word) for word in (*entry, *(words or usual))]


def files(image: Image) -> dict[str, tuple[int, int]]:
    found = (path for path in image.root.rglob("*") if not any(path.is_relative_to(mount) for mount in mounts(image)))
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in found}


def configured(image: Image, provider: ThreadedProvider, ports: tuple[int, int]) -> None:
    """As a ConfigMap and a Secret are mounted, at the place where the image looks by itself."""
    (etc := Path(image.here("/etc/aibridge"))).mkdir(parents=True)
    (etc / "key").write_text(CENTRAL_KEY)
    settings = {
        "runtime_dir": str(mounts(image)[0]),
        "recorder": {"url": f"sqlite:///{mounts(image)[1]}/records.db"},
        "credentials": {"inject_by": "envoy"},
        "providers": [{"name": "openai", "base_url": f"{provider.url}/v1", "api_key_file": str(etc / "key")}],
    }
    written(etc, ports, settings)


def test_it_serves_and_records_and_writes_where_something_is_mounted_alone(
    image: Image, tmp_path: Path, provider: ThreadedProvider, script: Script, case: str
) -> None:
    """By its own entry point, environment and folder; in a box, where this machine has one."""
    ports = free_ports()
    configured(image, provider, ports)
    before, words = files(image), command(image)
    if not refusal(tmp_path, image.root):
        words = boxed(tmp_path, image.root, image.folder, mounts(image), words)
    script[case] = whole(case)
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(words, cwd=image.folder, env=image.environment, stdout=log, stderr=log) as process,
    ):
        try:
            eventually(lambda: serves(ports[0]) or process.poll() is not None, "ready")
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert ask(ports[0], case, ASKED).status == 200
            process.send_signal(signal.Signals[image.words["STOPSIGNAL"]])
            status = process.wait(STOPPED_WITHIN)
        finally:
            for pid in (*processes.children(process.pid), *([] if process.returncode is not None else [process.pid])):
                os.kill(pid, signal.SIGKILL)
    assert status == 0, (tmp_path / "log").read_text()
    (found,) = recorded.sessions(mounts(image)[1] / "records.db", case)
    assert (found.interception["status"], found.interception["credential_hint"]) == ("completed", "sk-c...6071")
    assert provider.seen[case][0].all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    assert files(image) == before


def test_what_runs_is_another_user_without_a_shell_on_a_root_that_cannot_be_written(
    image: Image, tmp_path: Path
) -> None:
    """So what is proved above is proved of that."""
    if why := refusal(tmp_path, image.root):
        pytest.skip(f"no namespaces of users and mounts here: {why}")
    python = image.here("/opt/aibridge/bin/python")
    words = boxed(
        tmp_path, image.root, image.folder, mounts(image), [python, "-c", LOOKS, image.root, mounts(image)[0]]
    )
    done = subprocess.run(words, env=image.environment, stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout) == {
        "user": 65532,
        "folder": str(image.folder),
        "root": "Read-only file system",
        "mounted": "written",
        "shells": [],
    }


@pytest.mark.parametrize("name", ["serve", "recorder", "console", "report", "probe"])
def test_each_command_is_there(name: str, image: Image) -> None:
    done = subprocess.run(
        command(image, name, "--help"), cwd=image.folder, env=image.environment, capture_output=True, check=True
    )
    assert name.encode() in done.stdout


def test_what_commands_import_when_they_run_is_there(image: Image) -> None:
    modules = "sidecar.console, sidecar.service, sidecar.export, sidecar.probe, sidecar.recorder.postgres.connection"
    python = image.here("/opt/aibridge/bin/python")
    subprocess.run([python, "-I", "-c", f"import {modules}"], cwd=image.folder, env=image.environment, check=True)


def test_its_bill_of_materials_names_what_the_lock_does(image: Image) -> None:
    bill = json.loads(Path(image.here("/opt/aibridge/share/sbom.cdx.json")).read_text())
    named = {one["name"].lower(): one.get("version") for one in bill["components"]}
    lock = pinned(Path(__file__).parents[2] / "deploy/requirements.lock")
    assert bill["bomFormat"] == "CycloneDX"
    assert named == lock


def test_nothing_of_the_build_is_in_it(image: Image) -> None:
    """No tools, no sources, no package manager."""
    assert {path.name for path in image.root.iterdir()} <= {"opt", "var", "etc", "run"}
    assert [path.name for path in image.root.glob("opt/*")] == ["aibridge"]
    assert not list(image.root.glob("opt/aibridge/lib/python3*/site-packages/pip*"))
