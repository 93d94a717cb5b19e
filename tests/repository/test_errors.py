"""Every error code has its section in docs/errors.md, and each section its code. One code, one meaning."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "errors.md"
SECTION = re.compile(r"^## (ODR-\d{3}): (.+)$", re.MULTILINE)
# In a table of errors at the head of a module: ├── Name  ODR-123  meaning
TABLE = re.compile(r"^[│ ]*[├└][─ ]+ *(?:type \")?(\w+)\"?[^\n]*?(ODR-\d{3})", re.MULTILINE)
OF_CLASS = re.compile(
    r'^class (\w+)\b(?:(?!^class ).)*?^    code(?:: [^=]+)? = "(ODR-\d{3})"', re.MULTILINE | re.DOTALL
)


def sources() -> dict[str, str]:
    return {
        str(path.relative_to(REPOSITORY)): path.read_text()
        for root in sorted(REPOSITORY.glob("*/odradek"))
        for path in sorted(root.rglob("*.py"))
    }


def test_page_and_source_have_the_same_codes() -> None:
    written = set(re.findall(r"ODR-\d{3}", "\n".join(sources().values())))
    sections = [code for code, _ in SECTION.findall(PAGE.read_text())]
    assert sections == sorted(set(sections)), "in order, and each once"
    assert set(sections) == written


def test_every_section_says_something() -> None:
    parts = SECTION.split(PAGE.read_text())[1:]
    short = [code for code, text in zip(parts[::3], parts[2::3], strict=True) if len(text.split()) < 5]
    assert short == []


def test_each_code_belongs_to_one_class() -> None:
    """Two classes with one code would be two meanings."""
    owners: dict[str, set[str]] = defaultdict(set)
    for text in sources().values():
        for name, code in TABLE.findall(text) + OF_CLASS.findall(text):
            owners[code].add(name)
    assert {code: names for code, names in owners.items() if len(names) > 1} == {}
    assert len(owners) > 30


def test_links_lead_somewhere() -> None:
    """In all pages under docs/."""
    pages = sorted((REPOSITORY / "docs").rglob("*.md"))
    broken = [
        f"{page.relative_to(REPOSITORY)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
