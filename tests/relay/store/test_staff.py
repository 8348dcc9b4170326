from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from relay.errors import Conflict, NotFound
from relay.store import schema, staff
from tests.relay.store.people import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from relay.store.engine import Store


def test_the_right_password_opens_the_wrong_one_does_not(store: Store) -> None:
    with store.begin() as tx:
        staff.add(tx, NOW, "admin", "correct horse", role="admin")
        found = staff.verify(tx, "admin", "correct horse")
        assert found is not None
        assert (found.name, found.role, found.totp) == ("admin", "admin", None)
        assert staff.verify(tx, "admin", "wrong") is None
        assert staff.verify(tx, "nobody", "correct horse") is None
        stored = tx.execute(select(schema.staff.c.password_hash)).scalar_one()
    assert stored.startswith("$argon2id$")
    with pytest.raises(Conflict), store.begin() as tx:
        staff.add(tx, NOW, "admin", "other", role="admin")


def test_a_session_is_stored_hashed_and_ends(store: Store) -> None:
    with store.begin() as tx:
        staff.add(tx, NOW, "admin", "pw", role="admin")
        key = staff.open_session(tx, NOW, "admin", {"csrf": "x"})
        found = staff.session(tx, NOW, key)
        assert found is not None
        assert (found.staff.name, found.created_at, found.details) == ("admin", NOW, {"csrf": "x"})
        stored = bytes(tx.execute(select(schema.staff_session.c.id_hash)).scalar_one())
        assert key.encode() not in stored
        assert staff.session(tx, NOW, "") is None
        assert staff.session(tx, NOW, key + "x") is None
        assert staff.session(tx, NOW + staff.IDLE, key) is None
        staff.touch(tx, NOW + timedelta(minutes=20), key)
        assert staff.session(tx, NOW + staff.IDLE, key) is not None
        staff.touch(tx, NOW + staff.LIFETIME, key)
        assert staff.session(tx, NOW + staff.LIFETIME, key) is None
        assert staff.purge(tx, NOW + staff.LIFETIME) == 1
        key = staff.open_session(tx, NOW, "admin")
        staff.close_session(tx, key)
        staff.close_session(tx, key)
        assert staff.session(tx, NOW, key) is None


@pytest.mark.parametrize(
    "deed",
    [
        lambda tx, name: staff.set_password(tx, NOW, name, "new"),
        lambda tx, name: staff.set_totp(tx, NOW, name, b"sealed"),
        lambda tx, name: staff.disable(tx, NOW, name),
    ],
)
def test_a_change_of_credentials_ends_every_session(
    store: Store, deed: Callable[[Connection, str], None]
) -> None:
    with store.begin() as tx:
        staff.add(tx, NOW, "admin", "pw", role="admin")
        key = staff.open_session(tx, NOW, "admin")
        deed(tx, "admin")
        assert staff.session(tx, NOW, key) is None
    with pytest.raises(NotFound), store.begin() as tx:
        deed(tx, "nobody")


def test_who_is_disabled_stays_out_until_let_in_again(store: Store) -> None:
    with store.begin() as tx:
        staff.add(tx, NOW, "admin", "pw", role="admin")
        staff.disable(tx, NOW, "admin")
        assert staff.verify(tx, "admin", "pw") is None
        assert staff.everyone(tx)[0].disabled_at == NOW
        staff.disable(tx, NOW, "admin", disabled=False)
        assert staff.verify(tx, "admin", "pw") is not None
