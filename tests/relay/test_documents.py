from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from relay.cli import main
from relay.log import Log
from relay.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for page in ROOT.rglob("*.md") if not {".venv", "node_modules"} & set(page.relative_to(ROOT).parts)
)
RULES = ROOT / "deploy/prometheus/gatepost.rules.yml"
DASHBOARD = ROOT / "deploy/grafana/gatepost.json"
_COMMAND = re.compile(r"^\s*(?:\S*/)?gatepost( .*)$|`gatepost( [^`]*)`", re.MULTILINE)


def commands(page: Path) -> Iterator[str]:
    text = page.read_text("utf-8")
    for match in _COMMAND.finditer(text):
        yield (match[1] or match[2]).partition("  #")[0].strip()


def fault(line: str) -> str:
    """Follow a command line through the commands; say what the program does not know."""
    words = [word for word in shlex.split(line.replace("…", "")) if word not in ("[ID]", "|")]
    command: click.Command = main
    while words and isinstance(command, click.Group):
        if words[0] in ("-c", "--config"):
            words = words[2:]
            continue
        name = words.pop(0)
        for either in name.split("|"):  # as in `learn spam|ham`
            inner = command.get_command(click.Context(command), either)
            if inner is None:
                return f"no command {either}"
        assert inner is not None
        command = inner
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    unknown = [
        word for word in words if word.startswith("-") and word.partition("=")[0] not in known | {"--help"}
    ]
    return f"no option {unknown[0]}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    faults = {line: found for line in commands(page) if (found := fault(line))}
    assert faults == {}


def test_the_pages_that_operators_need_show_commands() -> None:
    pages = (ROOT / "README.md", *(ROOT / "deploy/docs").glob("*.md"))
    assert [page.name for page in pages if not list(commands(page))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_alerts_and_dashboard_ask_for_families_that_exist() -> None:
    metrics = Metrics(Log("error"))
    metrics.expect_scanners(["one"])
    scrape = metrics.render().decode()
    families = set(re.findall(r"^(gatepost_\w+?)(?:\{| )", scrape, re.MULTILINE))
    for file in (RULES, DASHBOARD):
        asked = set(re.findall(r"gatepost_\w+", file.read_text("utf-8")))
        assert asked
        assert asked <= families, file.name


def test_each_alert_has_its_line_in_the_guide() -> None:
    alerts = re.findall(r"alert: (\w+)", RULES.read_text("utf-8"))
    guide = (ROOT / "deploy/docs/trouble.md").read_text("utf-8")
    assert re.findall(r"^\| (Gatepost\w+) \|", guide, re.MULTILINE) == alerts


def test_the_dashboard_is_a_dashboard() -> None:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    assert board["title"] == "Gatepost"
    assert all(panel["targets"] and panel["description"] for panel in board["panels"])


def test_prometheus_takes_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run(
        [promtool, "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_takes_the_unit_and_finds_it_well_shut(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    unit = tmp_path / "gatepost.service"
    text = (ROOT / "deploy/systemd/gatepost.service").read_text("utf-8")
    unit.write_text(text.replace("/opt/gatepost/.venv/bin/gatepost", "/bin/true"), "utf-8")
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert "gatepost.service" not in verified.stderr
    command = [analyze, "security", "--offline=true", "--threshold=20", str(unit)]
    rated = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in rated.stderr:
        pytest.skip("this systemd-analyze rates no files")
    assert rated.returncode == 0, rated.stdout[-300:]
