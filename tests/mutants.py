"""Changes a pure module in one place at a time, and says which changes no test notices. Run by hand:

    python -m tests.mutants policies/bounces.py tests/policies/test_bounces.py

Exit 1 if a mutant survived. Each runs in a process of its own, forked after the libraries are imported.
"""

from __future__ import annotations

import ast
import copy
import importlib
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or,
    ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what could stand in a node's place; annotations and names of parameters stay."""
    swap = _SWAPS.get(type(node))
    if swap is not None:
        yield swap()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
        yield ast.Constant(node.value - 1)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Name) and node.id in _NAMES:
        yield ast.Name(_NAMES[node.id], node.ctx)


def _places(tree: ast.Module) -> list[tuple[ast.AST, str, int | None, ast.AST]]:
    """Return (parent, field, index, node) of whatever is code."""
    found: list[tuple[ast.AST, str, int | None, ast.AST]] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        parent = waiting.pop()
        for name, value in ast.iter_fields(parent):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            several = value if isinstance(value, list) else [value]
            for index, node in enumerate(several):
                if isinstance(node, ast.AST):
                    found.append((parent, name, index if isinstance(value, list) else None, node))
                    waiting.append(node)
    return found


def mutants(source: str) -> Iterator[tuple[int, str, ast.Module]]:
    """Yield (line, what was changed, the changed module)."""
    original = ast.parse(source)
    for number, (_, _, _, node) in enumerate(_places(original)):
        for choice, _ in enumerate(_changed(node)):
            tree = copy.deepcopy(original)
            parent, name, index, same = _places(tree)[number]
            new = ast.copy_location(list(_changed(same))[choice], same)
            line = getattr(same, "lineno", getattr(parent, "lineno", 0))
            was = ast.unparse(parent)[:70]
            if index is None:
                setattr(parent, name, new)
            else:
                getattr(parent, name)[index] = new
            ast.fix_missing_locations(tree)
            yield line, f"{was}  →  {ast.unparse(parent)[:70]}", tree


class _Swapped(MetaPathFinder, Loader):
    """Imports one module from a changed tree."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name = name
        self._path = path
        self._tree = tree

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        """Return our own spec for that module."""
        del path, target
        if name != self._name:
            return None
        spec = ModuleSpec(name, self, origin=str(self._path.resolve()))
        spec.has_location = True  # modules read files beside themselves
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed code."""
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)  # noqa: S102 - that is the point


def _survives(name: str, path: Path, tree: ast.Module, tests: Sequence[str]) -> bool:
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    code = 1
    try:
        sys.meta_path.insert(0, _Swapped(name, path, tree))
        code = pytest.main([*tests, "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"])
    finally:
        os._exit(int(code))


def main(arguments: Sequence[str]) -> int:
    """Print the survivors; 1 if there are any."""
    path, tests = Path(arguments[0]), arguments[1:]
    name = ".".join(path.with_suffix("").parts)
    for library in ("sqlalchemy", "cryptography.hazmat.primitives.ciphers.aead"):
        importlib.import_module(library)
    if not _survives(name, path, ast.parse(path.read_text()), tests):
        print(f"{path}: its tests fail without any change")
        return 2
    survivors, count = [], 0
    for line, what, tree in mutants(path.read_text()):
        count += 1
        if _survives(name, path, tree, tests):
            survivors.append(f"{path}:{line}: {what}")
            print(survivors[-1], flush=True)
    print(f"{path}: {count} mutants, {len(survivors)} survived")
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
