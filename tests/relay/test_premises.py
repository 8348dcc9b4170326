from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from cryptography import x509

from relay import clock, premises
from relay import config as configuration
from relay.cli import main
from relay.log import Log
from relay.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

    from relay.config import Config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder: Path = tmp_path_factory.mktemp("relay")
    assert CliRunner().invoke(main, ["init", str(folder), "--json"]).exit_code == 0
    return configuration.load(folder / "gatepost.toml")


def sample(metrics: Metrics, name: str) -> float:
    lines = metrics.render().decode().splitlines()
    return float(next(line for line in lines if line.startswith(name + " ")).rpartition(" ")[2])


def test_the_end_of_the_certificate_and_the_room_on_the_disks_are_known(config: Config) -> None:
    config.path(config.outbox.folder).mkdir(exist_ok=True)
    found = premises.look(config)
    made = x509.load_pem_x509_certificate((config.folder / "keys/tls.crt").read_bytes())
    assert found.certificate_ends_at == made.not_valid_after_utc
    assert found.certificate_ends_at > clock.now() + timedelta(days=30)
    assert set(found.rooms) == set(premises.FOLDERS)
    assert all(0 < room.free_bytes < room.size_bytes and 0 < room.share < 1 for room in found.rooms.values())


def test_what_cannot_be_read_is_zero_and_no_error(config: Config, tmp_path: Path) -> None:
    lost = config.model_copy(update={"folder": tmp_path / "gone"})
    found = premises.look(lost)
    assert (found.certificate_ends_at, found.rooms) == (None, {})
    metrics = Metrics(Log("error"))
    metrics.node.note(premises.look(config))
    metrics.node.note(found)
    assert sample(metrics, "gatepost_certificate_expiry_timestamp_seconds") == 0
    # what was seen last stays: a disk that does not answer has its own alarms
    assert sample(metrics, 'gatepost_disk_free_bytes{folder="store"}') > 0
