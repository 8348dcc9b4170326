from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli import main

MAIL = "From: Anna <anna@acme.example>\nTo: bob@shop.example\nSubject: {}\n\nSee you on {}.\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("relay")
    (made / "gatepost.toml").write_text("")
    mails = made / "mails"
    mails.mkdir()
    for number in range(120):
        (mails / f"{number:03}.eml").write_text(MAIL.format(f"Lunch {number}", f"day {number}"))
    return made


def screen(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(main, ["-c", str(folder / "gatepost.toml"), "screen", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_many_files_are_judged_in_parallel_and_told_in_order(folder: Path) -> None:
    def told(*arguments: str) -> list[dict[str, object]]:
        rows = [json.loads(line) for line in screen(folder, "--json", *arguments).splitlines()]
        return [{name: value for name, value in row.items() if name != "ms"} for row in rows]

    mails = folder / "mails"
    alone, together = told("--jobs", "1", str(mails)), told("--jobs", "2", str(mails))
    assert [row["file"] for row in alone] == [str(file) for file in sorted(mails.iterdir())]
    assert together == alone


def test_times_of_stages_and_rules_are_shown_when_asked_for(folder: Path) -> None:
    file = str(folder / "mails" / "000.eml")
    assert "slowest: " in screen(folder, "--times", file)
    assert "slowest: " not in screen(folder, file)


def test_a_link_to_nothing_is_no_file_and_a_file_given_twice_is_judged_twice(folder: Path) -> None:
    gone = folder / "mails" / "gone.eml"
    gone.symlink_to(folder / "nowhere")
    try:
        rows = screen(folder, "--json", str(folder / "mails"), str(folder / "mails" / "000.eml")).splitlines()
    finally:
        gone.unlink()
    assert len(rows) == 121


def test_an_unreadable_file_is_named_and_the_others_judged(folder: Path) -> None:
    memory = "/proc/self/mem"  # may be opened and not be read
    arguments = ["-c", str(folder / "gatepost.toml"), "screen", memory, str(folder / "mails" / "000.eml")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "1 unreadable" in done.stderr
    assert "deliver" in done.stdout


def test_a_file_whose_name_is_no_text_is_judged_like_others(folder: Path) -> None:
    odd = folder / os.fsdecode(b"caf\xe9.eml")
    odd.write_bytes((folder / "mails" / "000.eml").read_bytes())
    done = CliRunner().invoke(main, ["-c", str(folder / "gatepost.toml"), "screen", str(odd)])
    odd.unlink()
    assert (done.exit_code, "caf\\udce9.eml" in done.stdout) == (0, True), done.output


def test_colours_are_for_terminals_that_want_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["-c", str(folder / "gatepost.toml"), "screen", str(folder / "mails" / "000.eml")]
    assert "\x1b[32m" in CliRunner().invoke(main, arguments, color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in CliRunner().invoke(main, arguments, color=True).stdout


def test_a_login_is_judged_by_what_its_account_agreed_to(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    ports = [f"--{name}-port" for name in ("submission", "submissions", "feedback", "http")]
    assert (
        CliRunner().invoke(main, ["init", str(folder), *(x for port in ports for x in (port, "0"))]).exit_code
        == 0
    )

    def run(*arguments: str) -> None:
        done = CliRunner().invoke(main, ["-c", str(folder / "gatepost.toml"), *arguments])
        assert done.exit_code == 0, done.output

    def action(sender: str, to: str, login: str) -> str:
        file = folder / "one.eml"
        file.write_text(f"From: {sender}\nTo: {to}\nSubject: Lunch\n\nAt one?\n")
        row = json.loads(screen(folder, "--json", "--login", login, str(file)))
        broken = [hit["rule"] for hit in row["hits"] if hit["rule"].startswith("policy_")]
        return " ".join([row["action"], *broken])

    for name, mode in (("acme", "enforce"), ("other", "observe")):
        run("customer", "add", name, "--server", "127.0.0.1:25", "--mode", mode)
        run("account", "add", f"anna@{name}.example", "--customer", name, "--class", "person")
    crowd = ", ".join(f"u{number}@shop.example" for number in range(200))
    assert action("anna@acme.example", "bob@shop.example", "anna@acme.example") == "deliver"
    assert action("eve@bank.example", "bob@shop.example", "anna@acme.example").startswith("refuse policy_")
    assert action("anna@acme.example", crowd, "anna@acme.example").startswith("refuse policy_")
    assert action("eve@bank.example", "bob@shop.example", "anna@other.example").startswith("deliver policy_")
