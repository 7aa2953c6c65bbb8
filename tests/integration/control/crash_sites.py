"""Find the lines of the control plane's code that commit or call the provider: each must be reached by a scenario."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from egress.control import installation, maintenance, rolling, rollouts, services
from egress.control.inventory import adoption, breaker, quarantine, tidy
from egress.control.reconcile import lease, replacing, steps
from egress.control.reconcile import loop as reconcile
from egress.control.repair import circuit, presence, replacement, sweep
from egress.provider.base import Provider

#: The provider's methods.
CALLS = frozenset(name for name, _ in inspect.getmembers(Provider, inspect.isfunction) if not name.startswith("_"))
#: Where in the control plane something happens: (module, function, line).
Site = tuple[str, str, int]
#: What reconciling, tidying and standing still consist of. Of the services, only what wakes reconcile is meant; the
#: others are operators' forms.
MODULES = (
    *(reconcile, steps, replacing, lease, tidy, quarantine, breaker, installation, adoption, services, maintenance),
    *(circuit, presence, replacement, sweep),
    *(rollouts, rolling),
)
_OPEN_TRANSACTIONS = frozenset({"fenced", "atomic"})
#: Commits once in a database's life, whoever calls it first: a scenario must come here, not by every way.
_AT_FIRST = frozenset({"here"})
_WRITES = frozenset({"update", "create", "get_or_create", "bulk_create", "save", "record"})


@dataclass(frozen=True)
class Place:
    """A statement that commits or calls the provider, itself or by a function of this room."""

    module: str
    function: str
    first: int
    last: int
    why: str

    def __str__(self) -> str:
        return f"{self.module}.py:{self.first} in {self.function} ({self.why})"

    def reached(self, sites: set[Site]) -> bool:
        return any(
            (module, function) == (self.module, self.function) and self.first <= line <= self.last
            for module, function, line in sites
        )


@cache
def number_of(site: Site, what: str) -> int:
    """Return which of its function's commits, or calls of the provider's `what`, happens at `site`: from 1 on."""
    kinds = {"a transaction", "a write"} if what == "commit" else {f"the provider's {what}"}
    alike = [place for place in all_places() if (place.module, place.function) == site[:2] and place.why in kinds]
    return next((number for number, place in enumerate(alike, 1) if place.reached({site})), 1)


@cache
def all_places() -> tuple[Place, ...]:
    """Return all places; which functions lead to one is found by their names."""
    trees = {module: ast.parse(Path(module.__file__ or "").read_text()) for module in MODULES}
    calls = [each for tree in trees.values() for each in _walk(tree) if isinstance(each[0], ast.Call)]
    outside = {_called(call) for call, inside in calls if not inside}
    # Whatever these write is committed by those who call them.
    parts = {_called(call) for call, _ in calls} - outside
    committing: set[str] = set()
    while True:
        places = tuple(place for module, tree in trees.items() for place in _places(module, tree, parts, committing))
        found = {place.function.rpartition(".")[2] for place in places} - _AT_FIRST
        if found == committing:
            return places
        committing = found


def _places(module: ModuleType, tree: ast.Module, parts: set[str], committing: set[str]) -> Iterator[Place]:
    name = module.__name__.rpartition(".")[2]
    for function, body in _functions(tree):
        if function.rpartition(".")[2] in parts:
            continue
        for node, inside in _walk(body):
            why = _why(node, committing, inside=inside)
            if why and (module is not services or _wakes(node)):
                last = node.lineno if isinstance(node, ast.With) else node.end_lineno or node.lineno
                yield Place(name, function, node.lineno, last, why)


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{each.name}", each) for each in node.body if isinstance(each, ast.FunctionDef))


def _walk(node: ast.AST, *, inside: bool = False) -> Iterator[tuple[ast.With | ast.Call, bool]]:
    """Yield the blocks and calls below `node`, each with whether it is inside a transaction."""
    for child in ast.iter_child_nodes(node):
        opens = isinstance(child, ast.With) and any(_opens(item) for item in child.items)
        if isinstance(child, ast.With | ast.Call):
            yield child, inside
        yield from _walk(child, inside=inside or opens)


def _opens(item: ast.withitem) -> bool:
    return isinstance(item.context_expr, ast.Call) and _called(item.context_expr) in _OPEN_TRANSACTIONS


def _why(node: ast.With | ast.Call, committing: set[str], *, inside: bool) -> str:
    if isinstance(node, ast.With):
        return "a transaction" if any(map(_opens, node.items)) else ""
    name = _called(node)
    receiver = ast.unparse(node.func).removesuffix(name)
    if name in CALLS and ("provider" in receiver or "cloud" in receiver):
        return f"the provider's {name}"
    if name in _WRITES and not inside:
        return "a write"
    return f"{name} commits" if name in committing and not inside else ""


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _wakes(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Call) and _called(each) == "wake" for each in ast.walk(node))
