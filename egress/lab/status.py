"""What both kinds of lab answer to `status`, in the same shape."""

from typing import Any

from . import world
from .config import NodeConfig
from .hypervisor import Machine


def lab_status(began: float, *, boots_with: str) -> dict[str, Any]:
    """Return what the lab is; `began` in seconds of the epoch."""
    return {
        "since": began,
        "boots_with": boots_with,
        "observer": world.OBSERVER_ADDRESS,
        "service": f"{world.SERVICE_ADDRESS}:{world.SERVICE_PORT}",
        "metadata": world.METADATA_ADDRESS,
    }


def node_status(node: NodeConfig, *, agent: str, agent_pid: int | None, agent_restarts: int) -> dict[str, Any]:
    """Return what a node is and how its agent does."""
    return {
        "name": node.name,
        "network": node.network,
        "public_address": node.public_address,
        "private_address": node.private_address,
        "agent": agent,
        "agent_pid": agent_pid,
        "agent_restarts": agent_restarts,
    }


def droplet_status(machine: Machine, *, running: bool) -> dict[str, Any]:
    """Return what a Droplet is."""
    return {
        "id": machine.id,
        "name": machine.name,
        "public_address": machine.public_address,
        "private_address": machine.private_address,
        "state": "on" if running else "off",
    }
