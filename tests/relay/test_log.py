from __future__ import annotations

import io
import json
import logging
from typing import NoReturn

from relay.log import Log, Records


def logger_into(stream: io.StringIO, name: str) -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.{name}")
    logger.propagate = False
    logger.handlers[:] = [Records(Log(stream=stream))]
    return logger


def fail() -> NoReturn:
    raise ValueError("canary" + "@partner.example")


def test_an_exception_is_logged_by_its_frames_and_not_by_its_words() -> None:
    stream = io.StringIO()
    logger = logger_into(stream, "relay")
    try:
        fail()
    except ValueError:
        logger.exception("session %s: the door failed", "s1")
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert (told["level"], told["event"], told["error"]) == ("error", "bug", "ValueError")
    assert told["what"] == "session s1: the door failed"
    assert "test_log.py" in told["traceback"]
    assert "canary" not in line


def test_of_a_record_of_many_lines_the_first_is_kept() -> None:
    stream = io.StringIO()
    logger = logger_into(stream, "asyncio")
    logger.error("Task exception was never retrieved\nfuture: <Task exception=ValueError('canary')>")
    assert json.loads(stream.getvalue())["what"] == "Task exception was never retrieved"


def test_a_record_that_cannot_be_formatted_is_lost_in_silence() -> None:
    stream = io.StringIO()
    logger = logger_into(stream, "careless")
    logger.error("%d of %d", "one")
    assert stream.getvalue() == ""
