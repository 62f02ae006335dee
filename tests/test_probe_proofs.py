"""The probe of bridges that want a proof of who asks."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run

import pytest
import trustme

from examples import model
from examples.provider import Provider, ThreadedProvider
from sidecar.core.errors import BadSetting
from sidecar.probe import probe
from sidecar.probe.proofs import proof
from sidecar.settings import Identity, Settings, Tls, load
from tests.e2e.bridges import COMMAND, ROOT, Bridge, bridge, environment
from tests.e2e.identities import AUDIENCE, ISSUER, Signer, certificate, unsigned

KEY, OTHER = "aib-0123456789abcdef", "aib-fedcba9876543210"
AGENT = "spiffe://mesh.example/agent"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Of the bridge's certificate, and of its clients'."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="module")
def tls(folder: Path, authority: trustme.CA) -> dict[str, str]:
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    own = authority.issue_cert("bridge.example")
    own.private_key_pem.write_to_path(str(folder / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    names = {"cert_file": "cert.pem", "key_file": "key.pem", "client_ca_file": "ca.pem"}
    return {name: str(folder / file) for name, file in names.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("proofs")
    (made / "keys").write_text(f"{KEY} grace\n")
    (made / "key").write_text(f"{KEY}\n")
    (made / "other").write_text(OTHER)
    return made


@contextmanager
def proving(folder: Path, name: str, **settings: object) -> Iterator[Bridge]:
    (folder / name).mkdir()
    with (
        ThreadedProvider(Provider(lambda seen: model.answer(seen, None, 0), pace=0)) as provider,
        bridge(folder / name, provider.url, **settings) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def keyed(folder: Path) -> Iterator[Bridge]:
    with proving(folder, "keyed", identity={"source": "api_key", "keys_file": str(folder / "keys")}) as started:
        yield started


@pytest.fixture(scope="module")
def certified(folder: Path, tls: dict[str, str]) -> Iterator[Bridge]:
    with proving(folder, "certified", identity={"source": "mtls"}, tls=tls) as started:
        yield started


def settings(running: Bridge, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("COLUMNS", "200")
    return load(running.folder / "aibridge.toml")


def asked(running: Bridge) -> list[dict]:
    rows = running.rows("SELECT DISTINCT initiator_id, credential_kind FROM interceptions")
    return [dict(row) for row in rows]


def test_a_key_in_a_file_proves_whose_it_is(
    keyed: Bridge, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who that is the keys' file says, and each record has to say the same."""
    found = settings(keyed, monkeypatch)
    assert probe(found, model="gpt-5", provider=None, actor=None, credential=folder / "key")
    shown = capsys.readouterr().out
    assert "asked by grace" in shown
    assert "4 of 4 as they should be" in shown
    assert KEY not in shown
    assert asked(keyed) == [{"initiator_id": "grace", "credential_kind": "centralized"}]
    assert not probe(found, model="gpt-5", provider=None, actor="alan", credential=folder / "key")
    assert "actor: 'grace', but the client saw 'alan'" in capsys.readouterr().out


def test_a_key_that_nobody_has_is_refused_and_shown_nowhere(
    keyed: Bridge, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not probe(
        settings(keyed, monkeypatch), model="gpt-5", provider=None, actor=None, credential=folder / "other"
    )
    shown = capsys.readouterr().out
    assert shown.count("✗ 401 no valid credential for this bridge") == 4
    assert "0 of 4 as they should be" in shown
    assert OTHER not in shown


def test_the_command_takes_it_from_a_file(keyed: Bridge, folder: Path) -> None:
    """A process' arguments are everybody's to read."""
    words = [*COMMAND, "probe", "--config", keyed.folder / "aibridge.toml", "--model", "gpt-5"]
    proved = run(
        [*words, "--credential", folder / "key"], cwd=ROOT, env=environment(), capture_output=True, check=False
    )
    without = run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert (proved.returncode, without.returncode) == (0, 2)
    assert without.stderr == (
        "aibridge-sidecar: identity.source = 'api_key': who asks has to be proved; "
        "allowed: --credential, a file with what proves it\n"
    )


def test_a_token_proves_its_subject(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signer = Signer()
    (folder / "jwks.json").write_text(json.dumps(signer.jwks()))
    (folder / "token").write_text(signer.token(sub="ada"))
    issuer = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(folder / "jwks.json")}
    identity = {"source": "jwt", "token_header": "x-token"}
    with proving(folder, "tokens", identity=identity, issuers=[issuer]) as running:
        found = settings(running, monkeypatch)
        assert probe(found, model="gpt-5", provider=None, actor=None, credential=folder / "token")
    assert "asked by ada" in capsys.readouterr().out


def test_a_certificate_proves_its_workload_over_tls(
    certified: Bridge,
    folder: Path,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever is not told whom it names compares everything else."""
    certificate(folder, authority, uri=AGENT)
    (file,) = folder.glob("client-*.pem")
    found = settings(certified, monkeypatch)
    assert probe(found, model="gpt-5", provider=None, actor=None, certificate=file)
    assert "https://127.0.0.1:" in capsys.readouterr().out
    assert probe(found, model="gpt-5", provider=None, actor=AGENT, certificate=file)
    assert not probe(found, model="gpt-5", provider=None, actor="spiffe://mesh.example/other", certificate=file)
    assert asked(certified) == [{"initiator_id": AGENT, "credential_kind": "centralized"}]


def test_a_bridge_with_another_certificate_than_ours_is_not_spoken_to(
    certified: Bridge,
    folder: Path,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One of the same authority: it would get the key of whoever trusts that."""
    certificate(folder, authority, dns="agent.example")
    found = settings(certified, monkeypatch)
    authority.issue_cert("bridge.example").cert_chain_pems[0].write_to_path(str(folder / "wrong.pem"))
    moved = found.model_copy(update={"tls": found.tls.model_copy(update={"cert_file": folder / "wrong.pem"})})
    file = next(folder.glob("client-*.pem"))
    assert not probe(moved, model="gpt-5", provider=None, actor=None, certificate=file)
    assert capsys.readouterr().out.count("✗ the connection broke") == 4


def test_what_the_settings_want_is_named_when_it_is_missing_and_what_they_do_not_when_it_is_there(
    folder: Path, tls: dict[str, str]
) -> None:
    mutual = Settings(identity=Identity(source="mtls"), tls=Tls(**tls))
    with pytest.raises(BadSetting, match=r"^tls.client_ca_file is set: .* allowed: --certificate, a file"):
        proof(mutual, None, None, None)
    with pytest.raises(
        BadSetting, match=r"^--certificate = .*: allowed: a file with a certificate and its private key"
    ):
        proof(mutual, None, None, folder / "key")
    for option, files in (("--credential", (folder / "key", None)), ("--certificate", (None, folder / "key"))):
        with pytest.raises(
            BadSetting, match=f"^{option} = .*: allowed: only where the settings want clients to have one"
        ):
            proof(Settings(), "ada", *files)
    keyed = Settings(identity=Identity(source="api_key", keys_file=folder / "keys"))
    with pytest.raises(BadSetting, match=r"^--credential = .*: cannot be read"):
        proof(keyed, None, folder / "nowhere", None)
    broken = mutual.model_copy(update={"tls": mutual.tls.model_copy(update={"cert_file": folder / "keys"})})
    with pytest.raises(BadSetting, match=r"^tls.cert_file = .*: allowed: a certificate"):
        proof(broken, None, None, folder / "key")


@pytest.mark.parametrize(
    ("text", "actor"),
    [
        (f"{unsigned('RS256', sub='ada')}.c2ln", "ada"),
        (f"{unsigned('RS256', sub=7)}.c2ln", None),
        ("a.b.c", None),
        ("a.W10.c", None),
        ("opaque", None),
    ],
)
def test_whom_a_token_names_is_what_its_claim_says(text: str, actor: str | None, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text)
    found = proof(Settings().model_copy(update={"identity": Identity(source="jwt")}), None, tmp_path / "token", None)
    assert (found.actor, found.headers) == (actor, {"authorization": f"Bearer {text}"})
    assert text not in repr(found)
