"""The commented gatepost.toml that `init` writes: every setting, its default and what it means."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay.config import Config, allowed_values
from relay.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPANS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def toml(value: object) -> str:
    """Write a setting's value as TOML; durations and sizes as people write them."""
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        return next(f'"{seconds // span}{unit}"' for span, unit in _SPANS if seconds % span == 0)
    if isinstance(value, bool | float):
        return json.dumps(value)
    if isinstance(value, int):
        return f'"{value >> 20} MiB"' if value >= 1 << 20 and value % (1 << 20) == 0 else str(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{}"
    return json.dumps(str(value), ensure_ascii=False)


def commented(given: Mapping[str, Any]) -> str:
    """Return the file: settings in `given` (dotted path → value) are set, all others stand as comments."""
    lines = [
        "# Gatepost. A line that starts with `# name =` shows a default; remove the `#` to change it.",
        "# `gatepost -c THIS-FILE check` names every fault; SIGHUP makes a running daemon read it again.",
        "",
    ]
    lines += _settings(Config, "", given)
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            lines += ["", f"# {(field.annotation.__doc__ or '').strip()}", f"[{name}]"]
            lines += _settings(field.annotation, f"{name}.", given)
    lines += [
        "",
        "# Virus scanners, DNS lists and checks of SPF, DKIM and DMARC are asked where [[scanner]] tables",
        "# name them: see deploy/docs/scanners.md.",
    ]
    return "\n".join(lines) + "\n"


def _settings(section: type[Section], prefix: str, given: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, field in section.model_fields.items():
        if field.exclude or (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            continue
        path = prefix + name
        default = field.get_default(call_default_factory=True)
        choices = " | ".join(str(value) for value in allowed_values(field.annotation))
        note = (field.description or "") + (f" ({choices})" if choices else "")
        setting = f"{name} = {toml(given.get(path, default))}"
        lines.append(f"{setting if path in given else '# ' + setting:<46}  # {note}")
    return lines


def relative(path: Path) -> str:
    """Return a path as the file writes it."""
    return path.as_posix()
