from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic_core import PydanticCustomError

from relay import config, values
from relay.commands.example import commented, toml
from relay.errors import ConfigError

BAD = Path(__file__).parents[1] / "bad_configs"


@pytest.mark.parametrize("broken", sorted(BAD.glob("*.toml")), ids=lambda path: path.stem)
def test_a_broken_file_is_refused_with_every_fault_at_once(broken: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        config.load(broken)
    assert (
        "".join(f"{fault}\n" for fault in refused.value.faults) == broken.with_suffix(".expected").read_text()
    )


def test_an_empty_file_is_the_defaults() -> None:
    assert config.parse("", Path()) == config.Config()


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "none.toml")


def test_the_commented_file_is_valid_and_shows_every_default(tmp_path: Path) -> None:
    text = commented({"workers": 1})
    assert config.parse(text, tmp_path) == config.parse("", tmp_path)
    assert [line for line in text.splitlines() if line.startswith("workers =")] == [
        next(line for line in text.splitlines() if line.startswith("workers ="))
    ]
    shown = "\n".join(line.removeprefix("# ") if " = " in line else line for line in text.splitlines())
    settings = "\n".join(
        line for line in shown.splitlines() if line.startswith("[") or " = " in line.partition("#")[0]
    )
    assert config.parse(settings, tmp_path) == config.parse("", tmp_path)
    assert len(tomllib.loads(settings)["limits"]) == len(config.Limits.model_fields)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (timedelta(minutes=5), '"5min"'), (timedelta(hours=26), '"26h"'), (timedelta(seconds=90), '"90s"'),
        (25 << 20, '"25 MiB"'), (1000, "1000"), (4.0, "4.0"), (("a", "b"), '["a", "b"]'), ("", '""'),
        ({}, "{}"),
    ],
)  # fmt: skip
def test_values_are_written_as_people_write_them(value: object, written: str) -> None:
    assert toml(value) == written


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("300ms", 0.3),
        ("90s", 90),
        ("10min", 600),
        ("2m", 120),
        ("6h", 21600),
        ("30d", 2592000),
        ("1.5h", 5400),
    ],
)
def test_durations(text: str, span: float) -> None:
    assert values.parse_duration(text).total_seconds() == span


@pytest.mark.parametrize("text", ["36501d", "9" * 20 + "d", "9" * 400 + "s", "-1d", "d", "1e9d", ""])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        values.parse_duration(text)


@pytest.mark.parametrize("address", ["1.2.3.4:25", "[::1]:25", "relay.example:0"])
def test_addresses_split(address: str) -> None:
    assert values.split_address(address)[1] in (0, 25)


@pytest.mark.parametrize("address", ["", ":25", "host", "host:", "host:66000", "host:-1", "host:٢"])
def test_other_addresses_do_not(address: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        values.split_address(address)


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    made = config.parse("", tmp_path)
    assert made.path(Path("keys/x")) == tmp_path / "keys/x"
    assert made.path(Path("/etc/x")) == Path("/etc/x")


#: What would have stopped mail only later, without a word: the line, and what is said at once.
SLIPS = {
    '[listeners]\nsubmission = "300.1.2.3:587"': 'listeners.submission: .* must be "IP:PORT" such as',
    '[listeners]\nsubmission = "0.0.0.0:465"\nsubmissions = "127.0.0.1:465"': "two listeners share",
    '[listeners]\nsubmission = "[::]:465"\nsubmissions = "[::1]:465"': "two listeners share",
    '[limits]\ncommand_timeout = "0s"': "limits.command_timeout: .* must be longer than 0",
    '[retention]\njournal = "0d"': "retention.journal: .* must be longer than 0",
    '[screening]\ndeadline = "90s"': "screening: .* deadline must be at most 35s",
    '[feedback]\naddresses = ["fbl"]': "feedback.addresses.0: 'fbl': must be a mail address such as",
    '[console]\nurl = "console"': "console.url: 'console': must be an address such as https://",
    '[rates.by_class.persn]\nmessages = "1/1h"': "rates.by_class.persn: 'persn': must be 'person', 'app'",
    'hostname = "not a host"': "hostname: 'not a host': must be a host name such as",
}


@pytest.mark.parametrize("text", SLIPS)
def test_what_would_stop_mail_later_is_refused_at_once(text: str) -> None:
    with pytest.raises(ConfigError, match=SLIPS[text]):
        config.parse(text, Path())


@pytest.mark.parametrize(
    "listeners",
    [
        'submission = "127.0.0.1:587"\nsubmissions = "127.0.0.2:587"',
        'submission = "0.0.0.0:587"\nsubmissions = "[::]:587"',
        'submission = "0.0.0.0:0"\nsubmissions = "0.0.0.0:0"',
    ],
)
def test_listeners_may_stand_beside_one_another(listeners: str) -> None:
    assert config.parse(f"[listeners]\n{listeners}", Path()).listeners.submission
