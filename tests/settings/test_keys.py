"""Keys in files, as a worker knows them; `e2e/test_key_files.py` has them change under one."""

import json
import pickle
from pathlib import Path

import pytest
from pydantic import SecretStr

from sidecar.core.errors import BadSetting
from sidecar.settings import Credentials, Provider, Settings, load
from sidecar.settings.keys import Keys, key
from sidecar.settings.watched import Watched

KEY, NEW = "sk-canary-old-0a1b2c3d4e5f6071", "sk-canary-new-0a1b2c3d4e5f6071"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "key"
    made.write_text(KEY)
    return made


def known(keys: Keys) -> dict[str, tuple[str | None, str]]:
    found = keys.policy.providers.items()
    return {name: (one.api_key.get_secret_value() if one.api_key else None, one.hint) for name, one in found}


@pytest.fixture
def provided(file: Path) -> Settings:
    """As the parent hands them on: the key that was last good in the one, no file in the other."""
    first = Provider(name="a", api_key_file=file).model_copy(update={"api_key": SecretStr("sk-last-good")})
    providers = (first, Provider(name="b", api_key=KEY))
    return Settings(runtime_dir=file.parent).model_copy(update={"providers": providers})


def test_a_file_counts_as_it_is_now(file: Path, provided: Settings) -> None:
    keys = Keys(provided)
    assert known(keys) == {"a": ("sk-last-good", ""), "b": (KEY, "")}
    keys.look()
    assert known(keys) == {"a": (KEY, ""), "b": (KEY, "")}
    file.write_text(f"\t{NEW}\r\n")
    before = keys.policy
    keys.look()
    assert known(keys) == {"a": (NEW, ""), "b": (KEY, "")}
    assert keys.policy is not before
    assert before.providers["a"].api_key != keys.policy.providers["a"].api_key  # who has it goes on with it


@pytest.mark.parametrize("text", [None, "", "\n", "two\nlines", "\0", "ü"])
def test_what_is_no_key_leaves_the_last_good_one(text: str | None, file: Path, provided: Settings) -> None:
    keys = Keys(provided)
    keys.look()
    file.unlink() if text is None else file.write_text(text)
    keys.look()
    assert known(keys)["a"] == (KEY, "")


def test_of_keys_that_envoy_adds_hints_are_known(provided: Settings) -> None:
    bare = provided.model_copy(update={"credentials": Credentials(inject_by="envoy")}).without_injected_keys()
    assert KEY.encode() not in pickle.dumps(bare)  # as a worker is handed them
    assert KEY.encode() in pickle.dumps(provided)
    assert [(one.api_key, one.api_key_file) for one in bare.providers] == [(None, None)] * 2
    keys = Keys(bare)
    keys.look()
    assert known(keys) == {"a": (None, ""), "b": (None, "")}
    bare.key_hints.write_text(json.dumps({"a": "sk-o...6071"}))
    keys.look()
    assert known(keys) == {"a": (None, "sk-o...6071"), "b": (None, "")}
    bare.key_hints.write_text("{")
    keys.look()
    assert known(keys)["a"] == (None, "sk-o...6071")


def test_where_the_sidecar_adds_them_workers_need_them(provided: Settings) -> None:
    assert provided.without_injected_keys() is provided


def test_who_adds_them_is_the_sidecar_unless_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None).credentials.inject_by == "sidecar"
    monkeypatch.setenv("AIBRIDGE_CREDENTIALS__INJECT_BY", "envoy")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = load(None)
    assert found.is_injected(found.providers[0])
    assert not found.is_injected(Provider(name="keyless"))
    monkeypatch.setenv("AIBRIDGE_CREDENTIALS__INJECT_BY", "client")
    with pytest.raises(BadSetting, match=r"^credentials.inject_by = "):
        load(None)


def test_a_refusal_says_which_setting_and_no_key(file: Path) -> None:
    file.write_text(f"{KEY}\n{NEW}")
    with pytest.raises(BadSetting) as refused:
        key("providers[3].api_key_file", file)
    assert str(refused.value).startswith(f'providers[3].api_key_file = "{file}": what it holds is no key')
    assert "canary" not in str(refused.value).replace(str(file), "")


def test_what_changes_while_it_is_used_is_used_again(file: Path) -> None:
    seen = []

    def use() -> None:
        seen.append(file.read_text())
        if len(seen) == 1:
            file.write_text(NEW)

    watched = Watched((file,), use)
    assert [watched.look() for _ in range(3)] == [True, True, False]
    assert seen == [KEY, NEW]


def test_what_fails_is_tried_again(file: Path) -> None:
    """Until it goes well, or what went well is back."""
    tried = []

    def use() -> None:
        tried.append(file.read_text())
        if tried[-1] != KEY:
            raise BadSetting(tried[-1])

    watched = Watched((file,), use)
    assert watched.look()
    file.write_text("bad")
    for _ in range(2):
        with pytest.raises(BadSetting):
            watched.look()
    file.write_text(KEY)
    assert not watched.look()
    assert tried == [KEY, "bad", "bad"]
