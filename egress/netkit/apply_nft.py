"""Read our tables from the kernel in the shape that `plan` compares, and remember what we wrote.

The kernel holds a rule otherwise than it was written. So what a chain has become is taken as the print of our text at
the first look after writing it; from then on any other print means that someone altered it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .nft import Nft, NftError
from .plan import SeenTable
from .ruleset import TABLE, Table


@dataclass(slots=True)
class Written:
    """Per chain ("family/name") the text that we wrote, and the print that it had then ("" not yet known)."""

    chains: dict[str, tuple[str, tuple[str, ...], str]] = field(default_factory=dict)

    def note(self, table: Table) -> None:
        """Take down that `table` was written; a text that is new has no print yet."""
        for name, chain in table.chains.items():
            known = self.chains.get(f"{table.family}/{name}")
            if known is None or known[:2] != (chain.hook, chain.rules):
                self.chains[f"{table.family}/{name}"] = (chain.hook, chain.rules, "")
        for key in [key for key in self.chains if key.startswith(f"{table.family}/")]:
            if key.partition("/")[2] not in table.chains:
                del self.chains[key]

    def awaits_print(self) -> bool:
        """Tell whether a chain was written whose print isn't known yet."""
        return any(not seen for _, _, seen in self.chains.values())


def observe_table(nft: Nft, family: str, written: Written) -> SeenTable | None:
    """Return our table of `family` as the kernel holds it, None when it isn't there."""
    try:
        objects = nft.listing(f"table {family} {TABLE}")
    except NftError:
        return None
    chains = observe_chains(nft, family, written)
    sets = {
        each["name"]: quote_names(each["name"], frozenset(map(element_text, each.get("elem", ()))))
        for each in _of(objects, "set", "map")
    }
    return SeenTable(chains, sets)


def observe_chains(nft: Nft, family: str, written: Written) -> dict[str, tuple[str, tuple[str, ...]] | None]:
    """Return our chains of `family` as `SeenTable` has them."""
    return {name: _seen(f"{family}/{name}", content, written) for name, content in nft.chains(family, TABLE).items()}


def take_prints(nft: Nft, written: Written) -> None:
    """Take the prints of the chains that were just written, and of no others: it costs nothing where there are many."""
    for key in [key for key, (_, _, mark) in written.chains.items() if not mark]:
        family, _, name = key.partition("/")
        content = nft.chain(family, TABLE, name)
        if content:
            _seen(key, content, written)


def _seen(key: str, content: tuple[bytes, ...], written: Written) -> tuple[str, tuple[str, ...]] | None:
    """Return the text that we wrote to a chain if `content` is what became of it; what is new is taken for that."""
    known, mark = written.chains.get(key), _print(content)
    if known and not known[2] and len(content) - 1 == len(known[1]):
        written.chains[key] = known = (known[0], known[1], mark)
    return known[:2] if known and known[2] == mark else None


def element_text(element: Any) -> str:
    """Return an element of a set or map, as libnftables gives it in JSON, the way that we write it."""
    match element:
        case str():
            return element
        case [key, {"goto": {"target": chain}}]:
            return f"{element_text(key)} : goto {chain}"
        case {"concat": [interface, address]}:
            return f'"{interface}" . {address}'
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"elem": {"val": value}}:
            return element_text(value)
        case _:
            return json.dumps(element)


def quote_names(name: str, elements: frozenset[str]) -> frozenset[str]:
    """Return the elements of set `name` with interface names quoted, as we write them."""
    return frozenset(f'"{element}"' for element in elements) if name in _NAME_SETS else elements


_NAME_SETS = frozenset({"uplinks", "interfaces", "unrouted_interfaces", "ports", "unrouted_ports", "other_ports"})


def _print(content: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in content)).hexdigest()


def _of(objects: Iterable[Mapping[str, Any]], *kinds: str) -> list[Any]:
    return [each[kind] for each in objects for kind in kinds if kind in each]
