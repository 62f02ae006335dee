"""Certificates of two who know each other's authority."""

from pathlib import Path

import pytest

from tests.services import Certificates, certificates


@pytest.fixture
def theirs(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "theirs")


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "ours")
