"""The values that the configuration and the command line take and give, in the operator's notation."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from policies.rates import Limit

#: The longest duration: a moment so far from now is still a date.
_LONGEST = timedelta(days=36_500)
_UNITS = {"ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
_MOST_WORKERS = 64
_SIZES = {"B": 1, "KB": 1000, "MB": 1000**2, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}


def plural(number: int, noun: str) -> str:
    """Return a number and what it counts as people say it: "1 message", "1,200 messages"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def parse_duration(value: object) -> timedelta:
    """Read `90s`, `10min`, `6h`, `30d`; PydanticCustomError otherwise, and beyond a hundred years."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)", value) if isinstance(value, str) else None
    if not match:
        raise PydanticCustomError("duration", 'must be a duration such as "90s", "10min", "6h" or "30d"')
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise PydanticCustomError("duration", "must be no longer than a hundred years")
    return timedelta(seconds=seconds)


def parse_size(value: object) -> int:
    """Read `25 MiB`, `256 KiB` or a number of bytes; PydanticCustomError otherwise."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = re.fullmatch(r"(\d+)\s*(B|KB|MB|KiB|MiB|GiB)", value) if isinstance(value, str) else None
    if not match:
        raise PydanticCustomError("size", 'must be a size such as "25 MiB" or "256 KiB"')
    return int(match[1]) * _SIZES[match[2].upper()]


def split_address(value: str) -> tuple[str, int]:
    """Split `HOST:PORT` (IPv6 in brackets); ValueError if it is not one."""
    host, separator, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{value!r} is not HOST:PORT")
    return host, int(port)


def _address(value: object) -> str:
    try:
        if isinstance(value, str):
            split_address(value)
            return value
    except ValueError:
        pass
    raise PydanticCustomError("address", 'must be "HOST:PORT" with a port from 0 to 65535 (0: choose one)')


def _door(value: object) -> str:
    """Read where to listen: an address of this machine, no name that may mean several."""
    text = _address(value)
    try:
        ipaddress.ip_address(split_address(text)[0])
    except ValueError:
        raise PydanticCustomError(
            "door", 'must be "IP:PORT" such as "0.0.0.0:587", "127.0.0.1:8025" or "[::1]:587"'
        ) from None
    return text


def _lasting(value: object) -> timedelta:
    if (span := parse_duration(value)) <= timedelta():
        raise PydanticCustomError("lasting", "must be longer than 0")
    return span


def _network(value: object) -> str:
    try:
        return str(ipaddress.ip_network(str(value), strict=False))
    except ValueError:
        raise PydanticCustomError(
            "network", 'must be an IP address or network such as "192.0.2.0/24"'
        ) from None


def _workers(value: object) -> object:
    if value == "auto" or (
        isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_WORKERS
    ):
        return value
    raise PydanticCustomError(
        "workers", f'must be a number from 1 to {_MOST_WORKERS}, or "auto" for one a core'
    )


def parse_rate(value: object) -> Limit:
    """Read `1000/1h`, so much in so long; PydanticCustomError otherwise."""
    if isinstance(value, Limit):
        return value
    match = re.fullmatch(r"([1-9]\d{0,9})/(\S+)", value) if isinstance(value, str) else None
    if not match or (span := parse_duration(match[2])) < timedelta(seconds=1):
        raise PydanticCustomError("rate", 'must be so much in so long, such as "1000/1h" or "5000/1d"')
    return Limit(int(match[1]), span)


HOSTNAME = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"
#: What a member of staff is called.
STAFF_NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}"
MAILBOX = r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,253}$"
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
#: longer than nothing: a time-out of 0 would cut everybody
Lasting = Annotated[timedelta, BeforeValidator(_lasting)]
Size = Annotated[int, BeforeValidator(parse_size)]
Address = Annotated[str, BeforeValidator(_address)]
Door = Annotated[str, BeforeValidator(_door)]
Rate = Annotated[Limit, BeforeValidator(parse_rate)]
Network = Annotated[str, BeforeValidator(_network)]
Workers = Annotated[int | Literal["auto"], BeforeValidator(_workers)]
PositiveInt = Annotated[int, Field(ge=1, strict=True)]
Score = Annotated[float, Field(ge=-100, le=100, strict=True)]
Hostname = Annotated[str, Field(max_length=253, pattern=HOSTNAME)]
