from __future__ import annotations

import json
import zlib
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screening.classify import model as models
from screening.classify.features import GROUPS, SLOTS
from screening.classify.model import GENERATIONS, Model, ModelError


def made(seed: float) -> Model:
    weights = [0.0] * SLOTS
    weights[7], weights[SLOTS - 1] = seed, -2.0
    return Model.of(weights, 0.25, (6.5, -0.5), (3, 4))


ONE = made(1.0)
CONTENT = ONE.to_bytes()
MANY = Model(array("h", [(slot * 7919) % 1000 - 500 for slot in range(SLOTS)]), 0.01, 0.0, 1.0, 0.0, 1, 1)


def test_saving_and_loading_gives_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "classifier.model"
    models.save(made(1.0), path)
    loaded = models.load(path)
    assert loaded == made(1.0)
    assert loaded.to_bytes() == made(1.0).to_bytes()
    assert loaded.identity == made(1.0).identity != made(1.5).identity


def test_the_file_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "classifier.model"
    models.save(MANY, path)
    assert path.stat().st_size < 2 * SLOTS + 10_000


def test_older_models_come_back_one_by_one_and_no_more_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "classifier.model"
    for number in range(1, 7):
        models.save(made(number), path)
    kept = [models.rollback(path) for _ in range(GENERATIONS)]
    assert kept == [made(5), made(4), made(3)]
    assert models.load(path) == made(3)
    with pytest.raises(ModelError, match="no older model is kept"):
        models.rollback(path)
    assert models.load(path) == made(3), "a rollback that fails changes nothing"
    assert [found.name for found in tmp_path.iterdir()] == ["classifier.model"]


def head_of(model: Model) -> dict[str, object]:
    found = json.loads(model.to_bytes().partition(b"\n")[0])
    assert isinstance(found, dict)
    return found


BAD = {
    "empty": (b"", "not a readable"),
    "no header": (b"rubbish\nmore", "not a readable"),
    "a list": (b"[]\n", "not a readable"),
    "other format": (CONTENT.replace(b"gatepost-classifier", b"something-else"), "not a classifier model"),
    "deep": (b"[" * 100_000 + b"\n", "not a readable"),
    "no numbers": (b'{"format": "gatepost-classifier", "features": 1}\n', "not a readable"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_model_is_refused_by_name(name: str, tmp_path: Path) -> None:
    content, why = BAD[name]
    path = tmp_path / "bad.model"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=why) as caught:
        models.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("features", 999, "train it again"),
        ("scale", float("inf"), "not finite"),
        ("slope", float("nan"), "not finite"),
        ("bias", "much", "not a readable"),
        ("sha256", "00", "damaged"),
    ],
)
def test_a_model_with_one_wrong_value_is_refused(key: str, value: object, why: str) -> None:
    packed = made(1.0).to_bytes().partition(b"\n")[2]
    line = json.dumps({**head_of(made(1.0)), key: value}).encode()
    with pytest.raises(ModelError, match=why):
        Model.from_bytes(line + b"\n" + packed)


def test_a_table_that_unpacks_to_more_than_a_table_is_refused_in_bounded_memory() -> None:
    line = json.dumps(head_of(made(1.0))).encode()
    bomb = zlib.compress(bytes(200 * SLOTS))
    with pytest.raises(ModelError, match="damaged"):
        Model.from_bytes(line + b"\n" + bomb)


def test_a_file_too_large_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.model"
    with path.open("wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(ModelError, match="larger than"):
        models.load(path)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_bytes_never_raise_anything_else(noise: bytes, at: int) -> None:
    damaged = CONTENT[:at] + noise + CONTENT[at + len(noise) :]
    try:
        model = Model.from_bytes(damaged)
    except ModelError:
        return
    assert model.table == ONE.table


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, SLOTS - 1), max_size=50))
def test_the_margin_does_not_depend_on_the_order_of_tokens(slots: list[int]) -> None:
    rest: list[list[int]] = [[] for _ in GROUPS[1:]]
    forward = MANY.margin_of([slots, *rest])
    assert forward == MANY.margin_of([slots[::-1], *rest])
