"""The pages in docs/reference against what they are made of."""

import pytest

from docs.generate import ROOT, generated
from docs.generate.contract import contract
from docs.generate.data import MESSAGES
from sidecar.recorder.schema import metadata
from sidecar.settings import Settings

PAGES = {path.name: (path, text) for path, text in generated()}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_current(name: str) -> None:
    """Where this fails: `.venv/bin/python -m docs.generate`."""
    path, text = PAGES[name]
    assert path.read_text() == text


def test_nothing_else_is_among_them() -> None:
    assert {path.name for path in (ROOT / "docs/reference").iterdir()} == set(PAGES)


def test_every_setting_has_a_row() -> None:
    text = PAGES["settings.md"][1]
    names = Settings.model_fields.keys()
    assert [name for name in names if f"`{name}`" not in text and f"[{name}]" not in text] == []
    assert "| `limits.idle_timeout` | `AIBRIDGE_LIMITS__IDLE_TIMEOUT` | number | > 0, ≤ 31,536,000 | `3600` |" in text
    assert '| `recorder.when_full` | `AIBRIDGE_RECORDER__WHEN_FULL` | text | `"refuse"`, `"drop_oldest"` |' in text
    assert "| `providers.api_key` | secret text |" in text


def test_every_table_and_column_has_a_row() -> None:
    sections = dict(part.split("`\n", 1) for part in PAGES["data.md"][1].split("\n## `")[1:])
    rows = {
        name: [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        for name, section in sections.items()
    }
    assert rows == {table.name: [column.name for column in table.columns] for table in metadata.sorted_tables}


def test_every_field_that_is_stored_has_a_column() -> None:
    """One that a message gains and no table has would be told nowhere."""
    read = contract()
    for name, messages in MESSAGES.items():
        fields = {field.name for message in messages for field, _ in read.fields(message)}
        columns = {column.name for column in metadata.tables[name].columns}
        assert fields - columns <= {"text"}


def test_every_field_of_the_contract_is_explained() -> None:
    read = contract()
    silent = [f"{name}.{field.name}" for name, _ in read.messages() for field, told in read.fields(name) if not told]
    assert silent == []
