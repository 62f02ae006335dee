from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, broken, links, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page, page.read_text()) == []


@pytest.mark.parametrize("target", ["nowhere.md", "settings.md#nowhere", "#nowhere", "../../outside.md"])
def test_a_link_that_leads_nowhere_is_found(target: str) -> None:
    """Else the test above would say nothing."""
    text = f"# Here\n[there](settings.md) [here](#here) [page](https://example.com/x) [it]({target})\n"
    page = ROOT / "docs/here.md"
    assert target in broken(page, text)
    assert "settings.md" not in broken(page, text)


def test_code_has_no_links_and_no_headings() -> None:
    text = "# One\n```\n# Two\n[a](b)\n```\n`[c](d)` [e](f)\n"
    assert anchors(text) == {"one"}
    assert list(links(text)) == ["f"]


def test_a_heading_that_is_there_twice_has_two_anchors() -> None:
    assert anchors("# It's `a.b`, *so*\n# Twice\n# Twice\n") == {"its-ab-so", "twice", "twice-1"}
