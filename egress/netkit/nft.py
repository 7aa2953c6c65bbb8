"""nftables through libnftables: ruleset text in, JSON out. Works with nft 1.0.6 and newer."""

import ctypes
import ctypes.util
import json
import struct
from collections.abc import Iterator
from typing import Any

from .errors import DataplaneError
from .netlink import NETFILTER, NetlinkSocket, attribute, attributes, elements, is_missing

NFGENMSG_BYTES = 4
NEW_GENERATION, _GET_GENERATION, _GENERATION_ID = (10 << 8) | 15, (10 << 8) | 16, 1
_GET_RULE, _RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = (10 << 8) | 7, 1, 2, 4
_EXPRESSION_NAME, _EXPRESSION_DATA, _COUNTER_PACKETS = 1, 2, 2
_GET_CHAIN, _CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = (10 << 8) | 4, 1, 3, 4, 5, 7
_FAMILIES = {"inet": 1, "bridge": 7}
_JSON, _STATELESS = 1 << 4, 1 << 1


class NftError(DataplaneError):
    """The kernel or libnftables refused a ruleset; the message is theirs."""


class Nft:
    """A libnftables context in the caller's network namespace; not for two threads at once."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("nftables")
        if name is None:
            raise DataplaneError("libnftables.so.1 isn't installed: install the package libnftables1 (or nftables)")
        self._library = _typed(ctypes.CDLL(name))
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise DataplaneError("libnftables can't open its netlink socket: run as root, on a kernel with nf_tables")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)
        self._netlink = NetlinkSocket(NETFILTER)
        #: Numbers of transactions that were surely ours; whoever has heard of them in notices clears this.
        self.own_generations: set[int] = set()

    def close(self) -> None:
        """Give the context back; what was applied stays."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None
        self._netlink.close()

    def run(self, script: str) -> None:
        """Apply `script` as one transaction; raises NftError and changes nothing."""
        before = self._generation()
        self._command(script)
        after = self._generation()
        if after == before + 1:
            self.own_generations.add(after)

    def packets(self, table: str, chain: str) -> int | None:
        """Return what the counter, the only rule in `chain` of inet `table`, has counted; None when there is none.

        Straight from the kernel: a listing takes in the whole table, and this is asked while packets go astray.
        """
        for found in self._rules("inet", table, chain):
            (expression,) = elements(found[_RULE_EXPRESSIONS])
            counter = attributes(attributes(expression)[_EXPRESSION_DATA])
            return int.from_bytes(counter[_COUNTER_PACKETS], "big")
        return None

    def chains(self, family: str, table: str) -> dict[str, tuple[bytes, ...]]:
        """Return all chains of `table` as the kernel has them, each as `chain` does."""
        found: dict[str, tuple[bytes, ...]] = {}
        for message in self._netlink.dump(_GET_CHAIN, _head(family)):
            chain = attributes(message[NFGENMSG_BYTES:])
            if _text(chain[_CHAIN_TABLE]) == table:
                found[_text(chain[_CHAIN_NAME])] = (_place(chain),)
        for rule in self._rules(family, table):
            name = _text(rule[_RULE_CHAIN])
            found[name] = (*found.get(name, (b"",)), _deeds(rule))
        return found

    def chain(self, family: str, table: str, name: str) -> tuple[bytes, ...] | None:
        """Return what the chain `name` hangs on, then what each of its rules does; None when there is no such chain.

        What counters have counted is left out, and so is what sets hold: their size costs nothing here.
        """
        try:
            (message,) = self._netlink.ask(_GET_CHAIN, _head(family) + _named(_CHAIN_TABLE, table, _CHAIN_NAME, name))
        except OSError as error:
            if is_missing(error):
                return None
            raise
        return _place(attributes(message[NFGENMSG_BYTES:])), *map(_deeds, self._rules(family, table, name))

    def _rules(self, family: str, table: str, chain: str = "") -> Iterator[dict[int, bytes]]:
        where = _head(family) + _named(_RULE_TABLE, table, _RULE_CHAIN, chain)
        return (attributes(message[NFGENMSG_BYTES:]) for message in self._netlink.dump(_GET_RULE, where))

    def _generation(self) -> int:
        """Return the number of the latest transaction in this network namespace, whoever's."""
        (answer,) = self._netlink.ask(_GET_GENERATION, b"\0" * NFGENMSG_BYTES)
        return generation(answer)

    def _command(self, script: str) -> str:
        failed = self._library.nft_run_cmd_from_buffer(self._context, script.encode())
        errors = self._library.nft_ctx_get_error_buffer(self._context).decode()
        printed: str = self._library.nft_ctx_get_output_buffer(self._context).decode()
        if failed:
            raise NftError(f"nftables refused a change: {' '.join(errors.split())[:600]}")
        return printed

    def listing(self, what: str) -> list[dict[str, Any]]:
        """Return the objects that `nft -j list WHAT` names; raises NftError when there is no such thing."""
        self._library.nft_ctx_output_set_flags(self._context, _JSON | _STATELESS)
        try:
            printed = self._command(f"list {what}")
        finally:
            self._library.nft_ctx_output_set_flags(self._context, 0)
        objects: list[dict[str, Any]] = json.loads(printed)["nftables"]
        return objects


def _head(family: str) -> bytes:
    return struct.pack(">BBH", _FAMILIES[family], 0, 0)


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode(errors="replace")


def _named(table_kind: int, table: str, chain_kind: int, chain: str) -> bytes:
    """Return the attributes that name `chain` of `table`; all its chains where that is ""."""
    where = attribute(table_kind, table.encode() + b"\0")
    return where + attribute(chain_kind, chain.encode() + b"\0") if chain else where


def _place(chain: dict[int, bytes]) -> bytes:
    return b"\0".join(chain.get(kind, b"") for kind in (_CHAIN_TYPE, _CHAIN_HOOK, _CHAIN_POLICY))


def _deeds(rule: dict[int, bytes]) -> bytes:
    return b"".join(map(_deed, elements(rule.get(_RULE_EXPRESSIONS, b""))))


def _deed(expression: bytes) -> bytes:
    parts = attributes(expression)
    name = parts[_EXPRESSION_NAME]
    return name if name == b"counter\0" else name + parts.get(_EXPRESSION_DATA, b"")


def generation(message: bytes) -> int:
    """Return the number of the transaction that `message` of nf_tables tells of."""
    return int(struct.unpack(">I", attributes(message[NFGENMSG_BYTES:])[_GENERATION_ID])[0])


def _typed(library: ctypes.CDLL) -> Any:
    library.nft_ctx_new.argtypes, library.nft_ctx_new.restype = [ctypes.c_uint32], ctypes.c_void_p
    library.nft_ctx_free.argtypes, library.nft_ctx_free.restype = [ctypes.c_void_p], None
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes, getattr(library, name).restype = [ctypes.c_void_p], ctypes.c_char_p
    return library
