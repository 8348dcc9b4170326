"""The texts of notices: shipped as package data, each of them replaced by a file of a provider's own folder.

A template is a Jinja2 text whose first line is the subject. It runs in a sandbox, and an unknown name is an
error when the templates are loaded, not when somebody has to be told.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from relay.errors import ConfigError, Fault
from relay.notice import Kind, Notice

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = Path(__file__).with_name("templates")
#: one text for staff, whatever happened, and one for the customer for each kind
NAMES = ("staff", *(kind for kind in Kind if kind is not Kind.APPEAL))
_SAMPLE = Notice(
    kind=Kind.WARN,
    case_id="C-sample",
    at=datetime(2026, 1, 1, tzinfo=UTC),
    level="account",
    subject="login@customer.example",
    customer="customer",
    state="active",
    until=datetime(2026, 1, 1, 1, tzinfo=UTC),
    reason="18 complaints of 2000",
    lifts="fewer complaints",
    numbers={"votes": 18},
)


class Templates:
    """Every text, loaded and tried once."""

    def __init__(self, texts: dict[str, Template]) -> None:
        self._texts = texts

    @classmethod
    def load(cls, folder: Path | None = None) -> Templates:
        """Read the shipped texts and those of `folder` over them; ConfigError with every fault at once."""
        # plain text of a mail, never HTML
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        faults: list[Fault] = []
        texts: dict[str, Template] = {}
        for name, path in _files(folder):
            try:
                texts[name] = environment.from_string(path.read_text("utf-8"))
                _fill(texts[name], _SAMPLE)
            except Exception as error:  # noqa: BLE001 - a text may fail in every way that Python knows
                faults.append(Fault(str(path), type(error).__name__, str(error) or "must be a template"))
        if faults:
            raise ConfigError(faults)
        return cls(texts)

    def render(self, name: str, notice: Notice) -> tuple[str, str]:
        """Return subject and text of a notice for `staff`, or for the customer by its kind."""
        return _fill(self._texts[name], notice)


def _files(folder: Path | None) -> Iterator[tuple[str, Path]]:
    for name in NAMES:
        own = folder / f"{name}.txt" if folder else None
        yield name, own if own and own.is_file() else SHIPPED / f"{name}.txt"


def _fill(template: Template, notice: Notice) -> tuple[str, str]:
    values = {name: getattr(notice, name) for name in Notice.__slots__}
    subject, _, text = template.render(values).partition("\n")
    if not subject.strip() or not text.strip():
        raise ValueError("must have a subject in its first line and a text below")
    return " ".join(subject.split()), text.strip() + "\n"
