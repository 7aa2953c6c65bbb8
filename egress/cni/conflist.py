"""A network's configuration with the plugin in it. Pure."""

import copy
import json
from typing import Any

from . import plugin

NAME = "sluicegate"
#: Plugins that make a container's interface on a network that dedicated egress works on, or pass the work on to such.
_ONLY_CHAINED = frozenset({"bandwidth", "firewall", "portmap", "sbr", "tuning", NAME})
MAX_PLUGINS = 50


class ConflistError(ValueError):
    """The network configuration list can't be used; the message says why and what to change."""


def parse_conflist(content: bytes) -> dict[str, Any]:
    """Return the configuration list in `content`; raise ConflistError."""
    try:
        conflist = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConflistError(f"not JSON: {error}") from None
    if not isinstance(conflist, dict):
        raise ConflistError("not a JSON object")
    return conflist


def conflist_with_plugin(conflist: dict[str, Any]) -> dict[str, Any]:
    """Return `conflist` with the plugin right after the main one; the same again when it is there already.

    Raises ConflistError when it isn't a list that the plugin works in.
    """
    types = _checked(conflist)
    if types.count(NAME) > 1:
        raise ConflistError(f"{NAME} stands in it {types.count(NAME)} times: leave one, right after {types[0]}")
    if NAME in types and types.index(NAME) != 1:
        raise ConflistError(f"{NAME} must stand right after the main plugin {types[0]}: move it there")
    result = copy.deepcopy(conflist)
    if NAME not in types:
        result["plugins"].insert(1, {"type": NAME})
    return result


def _checked(conflist: dict[str, Any]) -> list[str]:
    """Return the types of the plugins of a list that is as it must be."""
    if "type" in conflist and "plugins" not in conflist:
        raise ConflistError(
            'a single network configuration (.conf): put it into a list, {"plugins": [...]} (.conflist)'
        )
    version = conflist.get("cniVersion")
    if version not in plugin.VERSIONS:
        raise ConflistError(f"cniVersion is {version!r}: it must be one of {', '.join(plugin.VERSIONS)}")
    if not isinstance(conflist.get("name"), str) or not conflist["name"]:
        raise ConflistError("it has no name")
    plugins = conflist.get("plugins")
    if not isinstance(plugins, list) or not 0 < len(plugins) <= MAX_PLUGINS:
        raise ConflistError(f"plugins must be a list of 1 to {MAX_PLUGINS}")
    types = [item.get("type") if isinstance(item, dict) else None for item in plugins]
    if not all(isinstance(kind, str) and kind for kind in types):
        raise ConflistError("each of plugins must be an object with a type")
    if types[0] in _ONLY_CHAINED:
        raise ConflistError(
            f"it begins with {types[0]}: the network's main plugin (ptp, bridge, calico …) must come first"
        )
    return [str(kind) for kind in types]
