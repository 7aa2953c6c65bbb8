"""Droplets that are nothing but their gateway's agent at wire level: the `Hypervisor` of a lab without packets."""

import json
from dataclasses import dataclass

from egress.gateway.config import Config
from egress.gateway.userdata import CONFIG_PATH
from egress.lab.droplets import MAX_DROPLETS
from egress.lab.hypervisor import HypervisorError, Machine
from egress.wire.codec import WireError, decode

from .agents import RecordedGateway


@dataclass(slots=True)
class _Droplet:
    machine: Machine
    on: bool = False
    agent: RecordedGateway | None = None


class RecordedDroplets:
    """All Droplets of the lab; implements Hypervisor. Their agents reach the control plane through `socket`."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._droplets: dict[int, _Droplet] = {}

    # --- Hypervisor ---

    async def boot(self, machine: Machine) -> None:
        """Boot from a fresh disk."""
        if machine.id not in self._droplets and len(self._droplets) >= MAX_DROPLETS:
            raise HypervisorError(f"the lab holds {MAX_DROPLETS} Droplets at most")
        await self.power_off(machine.id)
        self._droplets[machine.id] = _Droplet(machine)
        await self.power_on(machine)

    async def power_off(self, machine_id: int) -> None:
        """Cut the power."""
        droplet = self._droplets.get(machine_id)
        if droplet:
            droplet.on = False
            if droplet.agent:
                droplet.agent.stop()

    async def power_on(self, machine: Machine) -> None:
        """Boot from the disk that is there."""
        droplet = self._known(machine.id)
        if droplet.on:
            return
        droplet.on = True
        config = gateway_config(machine.user_data)
        if config:
            on_disk = droplet.agent.token if droplet.agent else ""
            droplet.agent = RecordedGateway(config, self._socket, machine.public_address, token=on_disk)
            droplet.agent.start()

    async def power_cycle(self, machine: Machine) -> None:
        """Cut the power and boot."""
        self._known(machine.id)
        await self.power_off(machine.id)
        await self.power_on(machine)

    async def shutdown(self, machine_id: int) -> None:
        """Switch off."""
        self._known(machine_id)
        await self.power_off(machine_id)

    async def reboot(self, machine: Machine) -> None:
        """Shut down and boot."""
        await self.power_cycle(machine)

    async def rebuild(self, machine: Machine) -> None:
        """Boot as new."""
        self._known(machine.id)
        await self.boot(machine)

    async def destroy(self, machine_id: int) -> None:
        """Cut the power and delete the disk."""
        await self.power_off(machine_id)
        self._droplets.pop(machine_id, None)

    # --- for the lab ---

    def all(self) -> list[tuple[Machine, bool]]:
        """Return all machines, each with whether it runs."""
        return [(droplet.machine, droplet.on) for _, droplet in sorted(self._droplets.items())]

    def runs(self, private_address: str) -> bool:
        """Tell whether a machine with this address in the VPC runs."""
        return any(on and machine.private_address == private_address for machine, on in self.all())

    def _known(self, machine_id: int) -> _Droplet:
        if machine_id not in self._droplets:
            raise HypervisorError(f"there is no Droplet {machine_id}")
        return self._droplets[machine_id]


def gateway_config(user_data: str) -> Config | None:
    """Return the gateway's configuration that a Droplet's user data carries; None when it isn't a gateway's."""
    try:
        files = json.loads(user_data.removeprefix("#cloud-config"))["write_files"]
        (content,) = (entry["content"] for entry in files if entry["path"] == CONFIG_PATH)
        return decode(Config, content.encode())
    except (ValueError, KeyError, TypeError, WireError):
        return None
