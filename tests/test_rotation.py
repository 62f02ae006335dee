"""What is made of keys and certificates in files; `e2e/test_key_files.py` and its neighbours have it used."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from sidecar import premises
from sidecar.core.errors import BadSetting
from sidecar.rotation import AGAIN, NotMade, Rotation
from sidecar.settings import Credentials, Identity, Issuer, Provider, Settings, Tls
from tests.e2e.secrets import remembers

KEY, NEW = "sk-canary-old-0a1b2c3d4e5f6071", "sk-canary-new-0a1b2c3d4e5f6071"


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    premises.close_to_others()
    yield
    os.umask(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "key"
    made.write_text(KEY)
    return made


def began(folder: Path, **settings: object) -> Rotation:
    rotation = Rotation(Settings(runtime_dir=folder / "run", **settings))
    rotation.settings.runtime_dir.mkdir()
    rotation.begin()
    return rotation


def injecting(folder: Path, *providers: Provider) -> Rotation:
    return began(folder, credentials=Credentials(inject_by="envoy"), providers=providers)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def in_use(rotation: Rotation) -> str:
    """The key that is sent: as Envoy has it, else as the workers do."""
    file = rotation.settings.secrets / "provider-openai.key"
    return file.read_text().removeprefix("Bearer ") if file.exists() else key(rotation)


def key(rotation: Rotation) -> str:
    (provider,) = rotation.settings.providers
    assert provider.api_key
    return provider.api_key.get_secret_value()


def test_where_nothing_is_in_a_file_nothing_is_made(tmp_path: Path) -> None:
    rotation = began(tmp_path, providers=(Provider(api_key=KEY),))
    assert (rotation.look(), modes(tmp_path / "run")) == (False, {})


def test_a_key_that_the_sidecar_adds_is_copied_nowhere(tmp_path: Path, file: Path) -> None:
    rotation = began(tmp_path, providers=(Provider(api_key_file=file),))
    assert (key(rotation), rotation.look()) == (KEY, False)
    file.write_text(f" {NEW}\n")
    assert (rotation.look(), key(rotation), rotation.look()) == (True, NEW, False)
    assert modes(tmp_path / "run") == {}


def test_a_key_that_envoy_adds_is_in_one_file_that_others_cannot_read(tmp_path: Path, file: Path) -> None:
    """What names that file, which Envoy logs, has none; workers get a hint."""
    rotation = injecting(tmp_path, Provider(api_key_file=file))
    run = tmp_path / "run"
    held = {"secrets/provider-openai.key": 0o600, "secrets/provider-openai.json": 0o600, "key-hints.json": 0o600}
    assert modes(run) == {"secrets": 0o700, **held}
    assert [name for name in held if KEY in (run / name).read_text()] == ["secrets/provider-openai.key"]
    assert json.loads((run / "key-hints.json").read_text()) == {"openai": "sk-c...6071"}
    assert rotation.settings.providers[0].api_key is None


def test_it_stands_there_as_its_header_wants_it(tmp_path: Path) -> None:
    named = (
        Provider(name="a", api_key=KEY),
        Provider(name="b", api_key=NEW, auth_header="api-key"),
        Provider(name="c"),
    )
    injecting(tmp_path, *named)
    texts = {path.name: path.read_text() for path in (tmp_path / "run/secrets").glob("*.key")}
    assert texts == {"provider-a.key": f"Bearer {KEY}", "provider-b.key": NEW}
    hints = json.loads((tmp_path / "run/key-hints.json").read_text())
    assert hints == {"a": "sk-c...6071", "b": "sk-c...6071"}


def test_a_new_one_takes_its_place_at_once(tmp_path: Path, file: Path) -> None:
    """Envoy looks for files that take another's place."""
    rotation = injecting(tmp_path, Provider(api_key_file=file))
    made = tmp_path / "run/secrets/provider-openai.key"
    before = made.stat().st_ino
    file.write_text(NEW)
    with capture_logs() as lines:
        assert rotation.look()
    assert (made.read_text(), made.stat().st_ino != before) == (f"Bearer {NEW}", True)
    assert [line["setting"] for line in lines] == ["providers[0].api_key_file"]


def test_a_link_that_leads_elsewhere_leads_to_another_file(tmp_path: Path, file: Path) -> None:
    """As long, and as old: what tells them apart is which file it is."""
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_text(NEW)
    os.utime(other, ns=(file.stat().st_mtime_ns,) * 2)
    link.symlink_to(file)
    rotation = injecting(tmp_path, Provider(api_key_file=link))
    assert (rotation.look(), in_use(rotation)) == (False, KEY)
    link.unlink()
    link.symlink_to(other)
    assert (rotation.look(), in_use(rotation)) == (True, NEW)


def test_what_was_written_in_place_and_made_to_look_old_counts(tmp_path: Path, file: Path) -> None:
    rotation = injecting(tmp_path, Provider(api_key_file=file))
    before = file.stat()
    file.write_text(NEW)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (rotation.look(), rotation.look()) == (True, False)


def test_hints_of_others_stay_and_of_those_that_are_gone_do_not(tmp_path: Path, file: Path) -> None:
    injecting(tmp_path, Provider(name="a", api_key_file=file), Provider(name="b", api_key=NEW))
    hints = tmp_path / "run/key-hints.json"
    again = Settings(
        runtime_dir=tmp_path / "run",
        credentials=Credentials(inject_by="envoy"),
        providers=(Provider(name="a", api_key_file=file), Provider(name="c")),
    )
    rotation = Rotation(again)
    rotation.begin()
    assert json.loads(hints.read_text()) == {"a": "sk-c...6071"}
    hints.write_text("{")  # half of one
    file.write_text(NEW)
    assert rotation.look()
    assert json.loads(hints.read_text()) == {"a": "sk-c...6071"}


ROTATING = """
import sys
from pathlib import Path
import sidecar.supervisor
from sidecar.rotation import Rotation
from sidecar.settings import load

folder = Path(sys.argv[1])
rotation = Rotation(load(folder / "aibridge.toml"))
rotation.settings.runtime_dir.mkdir()
rotation.begin()
(folder / "new").replace(folder / "key")
rotation.look()
print("heavy", "betterproto2" in sys.modules, flush=True)
sys.stdin.read()
"""


def test_who_reads_the_files_is_another_process(tmp_path: Path, file: Path, tls: Tls) -> None:
    """In the one that stays a key is nowhere, the old or the new; nor are Envoy's messages, 40 MiB of them."""
    (tmp_path / "new").write_text(NEW)
    (tmp_path / "keys").write_text("aib-0123456789abcdef grace")
    settings = f"""
        runtime_dir = "{tmp_path}/run"
        credentials.inject_by = "envoy"
        identity = {{source = "api_key", keys_file = "{tmp_path}/keys"}}
        tls = {{cert_file = "{tls.cert_file}", key_file = "{tls.key_file}"}}
        providers = [{{name = "openai", api_key_file = "{file}", extra_headers = {{x-canary = "there"}}}}]
    """
    (tmp_path / "aibridge.toml").write_text(settings)
    command = [sys.executable, "-c", ROTATING, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(2)]
        found = [remembers(process.pid, text.encode()) for text in ("x-canary", KEY, NEW)]
        process.communicate()
    assert "in use from now on" in told[0]
    assert (told[1], found) == ("heavy False\n", [True, False, False])
    assert (tmp_path / "run/secrets/provider-openai.key").read_text() == f"Bearer {NEW}"


@pytest.mark.parametrize("inject_by", ["sidecar", "envoy"])
def test_what_cannot_be_used_is_told_once_and_changes_nothing(inject_by: str, tmp_path: Path, file: Path) -> None:
    rotation = began(tmp_path, credentials=Credentials(inject_by=inject_by), providers=(Provider(api_key_file=file),))
    with capture_logs() as lines:
        file.write_text(f"{NEW}\n{NEW}")
        assert [rotation.look() for _ in range(3)] == [False] * 3
        file.unlink()
        assert [rotation.look() for _ in range(3)] == [False] * 3
    assert in_use(rotation) == KEY
    assert [line["log_level"] for line in lines] == ["warning", "warning"]
    assert "providers[0].api_key_file" in lines[0]["reason"]
    assert "sk-canary" not in repr(lines)
    with capture_logs() as lines:
        file.write_text(KEY)
        rotation.look()
    assert [line["event"] for line in lines] == ["changed, and in use from now on"]  # though it is what it was
    with capture_logs() as lines:
        assert (rotation.look(), lines) == (False, [])
        file.unlink()
        rotation.look()
    assert len(lines) == 1  # it is another trouble now


def test_what_cannot_be_used_at_the_start_is_refused(tmp_path: Path, file: Path) -> None:
    file.write_text("\n")
    with pytest.raises(BadSetting, match=r"providers\[0\]\.api_key_file"):
        began(tmp_path, providers=(Provider(api_key_file=file),))


def test_where_nothing_can_be_written_that_is_told_and_tried_again(tmp_path: Path, file: Path) -> None:
    rotation = injecting(tmp_path, Provider(api_key_file=file))
    folder, aside = tmp_path / "run/secrets", tmp_path / "aside"
    folder.rename(aside)
    folder.write_text("in the way")
    file.write_text(NEW)
    with capture_logs() as lines:
        assert [rotation.look() for _ in range(2)] == [False] * 2
    assert ["runtime_dir" in line["reason"] for line in lines] == [True]
    folder.unlink()
    aside.rename(folder)
    looks = [rotation.look() for _ in range(AGAIN)]
    assert looks.count(True) == 1  # not at each: who makes it is a process
    assert (folder / "provider-openai.key").read_text() == f"Bearer {NEW}"


def test_clients_keys_are_written_anew_for_their_owner(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("aib-0123456789abcdef grace")
    rotation = began(tmp_path, identity=Identity(source="api_key", keys_file=keys))
    made = rotation.settings.client_keys
    first = made.stat()
    keys.write_text("aib-fedcba9876543210 alan")
    assert rotation.look()
    assert (stat.S_IMODE(first.st_mode), made.stat().st_ino != first.st_ino) == (0o600, True)
    assert "aib-fedcba9876543210" in made.read_text()
    keys.write_text("short alan")
    with capture_logs() as lines:
        assert not rotation.look()
    assert "identity.keys_file" in lines[0]["reason"]
    assert "aib-fedcba9876543210" in made.read_text()


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    authority = trustme.CA()
    put(tmp_path, authority.issue_cert("localhost"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    cert, private, known = (tmp_path / f"{name}.pem" for name in ("cert", "private", "ca"))
    return Tls(cert_file=cert, key_file=private, client_ca_file=known)


def put(folder: Path, issued: trustme.LeafCert) -> None:
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder / "private.pem"))


def test_certificates_are_copied_nowhere_and_envoy_is_told_to_look_again(tmp_path: Path, tls: Tls) -> None:
    rotation = began(tmp_path, tls=tls)
    made = [rotation.settings.secrets / f"{name}.json" for name in ("certificate", "client-authorities")]
    before = [path.stat().st_ino for path in made]
    assert sorted(rotation.settings.secrets.iterdir()) == made
    assert not [path for path in made if "BEGIN" in path.read_text()]
    put(tmp_path, trustme.CA().issue_cert("localhost"))
    assert (rotation.look(), rotation.look()) == (True, False)
    assert all(path.stat().st_ino != inode for path, inode in zip(made, before, strict=True))


@pytest.mark.parametrize(
    ("broken", "name"), [("cert", "cert_file"), ("private", "cert_file"), ("ca", "client_ca_file")]
)
def test_half_of_a_new_pair_is_waited_with(broken: str, name: str, tmp_path: Path, tls: Tls) -> None:
    """Until its other half is there; Envoy would not take it."""
    rotation = began(tmp_path, tls=tls)
    other = trustme.CA().issue_cert("localhost")
    texts = {"cert": other.cert_chain_pems[0].bytes(), "private": other.private_key_pem.bytes(), "ca": b"none"}
    (tmp_path / f"{broken}.pem").write_bytes(texts[broken])
    with capture_logs() as lines:
        assert not rotation.look()
    (line,) = lines
    assert f"tls.{name}" in line["reason"]
    with pytest.raises(BadSetting, match=f"tls.{name}"):
        Rotation(rotation.settings).begin()


def test_in_the_end_no_secret_is_left(tmp_path: Path, file: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("aib-0123456789abcdef grace")
    identity = Identity(source="api_key", keys_file=keys)
    provided = {"credentials": Credentials(inject_by="envoy"), "providers": (Provider(api_key_file=file),)}
    rotation = began(tmp_path, identity=identity, **provided)
    theirs = tmp_path / "run/secrets/openai.key"
    theirs.write_text("an operator's own")
    rotation.end()
    assert set(modes(tmp_path / "run")) == {"secrets", "key-hints.json", "secrets/openai.key"}


def test_an_envoy_that_is_there_already_may_have_certificates_that_we_do_not_know(tmp_path: Path) -> None:
    """In a mesh the settings name some that nobody uses."""
    (tmp_path / "any").touch()
    tls = Tls(cert_file=tmp_path / "any", key_file=tmp_path / "any")
    rotation = Rotation(Settings(runtime_dir=tmp_path, tls=tls), proves=False)
    with capture_logs() as lines:
        rotation.begin()
    assert "tls.cert_file" in lines[0]["reason"]
    assert (rotation.settings.secrets / "certificate.json").exists()


def test_a_provider_s_own_authorities_are_named_and_the_system_s_are_not(tmp_path: Path, tls: Tls) -> None:
    """Those change when the system does."""
    own = Provider(name="own", ca_file=tls.client_ca_file)
    unread = Provider(name="near", base_url="http://127.0.0.1", ca_file=tls.client_ca_file)
    rotation = began(tmp_path, providers=(own, unread, Provider(name="usual")))
    made = rotation.settings.secrets / "provider-own.authorities.json"
    assert list(rotation.settings.secrets.iterdir()) == [made]
    (tmp_path / "ca.pem").write_text("none")
    with capture_logs() as lines:
        assert not rotation.look()
    assert "providers[0].ca_file" in lines[0]["reason"]
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert rotation.look()


def test_issuers_keys_are_written_anew_unless_they_are_none(tmp_path: Path) -> None:
    file, keys = tmp_path / "jwks.json", [json.dumps({"keys": [{"kid": name}]}) for name in "ab"]
    file.write_text(keys[0])
    issuer = Issuer(issuer="https://a.example", audiences=("us",), jwks_file=file)
    remote = Issuer(issuer="https://b.example", audiences=("us",), jwks_url="https://b.example/keys")
    rotation = began(tmp_path, identity=Identity(source="jwt"), issuers=(remote, issuer))
    file.write_text("{}")
    with capture_logs() as lines:
        assert not rotation.look()
    assert "issuers[1].jwks_file" in lines[0]["reason"]
    file.write_text(keys[1])
    assert rotation.look()
    (resource,) = json.loads(rotation.settings.issuer_keys.read_text())["resources"]
    providers = resource["typed_config"]["providers"]
    assert [each.get("local_jwks") for each in providers.values()] == [None, {"inline_string": keys[1]}]


def test_where_nobody_can_make_it_that_is_told_and_tried_again(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation = injecting(tmp_path, Provider(api_key_file=file))
    file.write_text(NEW)
    with monkeypatch.context() as broken, capture_logs() as lines:
        broken.setattr(sys, "executable", "/nowhere/python")
        assert [rotation.look() for _ in range(2)] == [False] * 2
        with pytest.raises(NotMade):
            Rotation(rotation.settings).begin()
    assert ["could not be made" in line["reason"] for line in lines] == [True]
    assert [rotation.look() for _ in range(AGAIN)].count(True) == 1
    assert in_use(rotation) == NEW
