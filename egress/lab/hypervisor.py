"""The port between the lab's cloud API and what its Droplets are made of."""

from dataclasses import dataclass, field
from typing import Protocol


class HypervisorError(Exception):
    """A machine couldn't be made, switched or destroyed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One Droplet as its hypervisor needs to know it.

    `public_address` lies in 203.0.113.0/24 and `private_address` in the VPC 10.110.0.0/20; both are plain
    addresses without a prefix length. `user_data` may be "" and is kept out of the repr, since it carries secrets.
    """

    id: int
    name: str
    user_data: str = field(repr=False)
    image: str
    public_address: str
    private_address: str


class Hypervisor(Protocol):
    """Run machines. Every method raises HypervisorError when the machine isn't then as asked.

    Calls for one machine are carried out one after another; those for different machines overlap. For a machine that
    was never booted or is destroyed, all but `boot`, `power_off` and `destroy` raise HypervisorError.
    """

    async def boot(self, machine: Machine) -> None:
        """Boot from a fresh disk; return when the machine's init runs, not when cloud-init is done."""

    async def power_off(self, machine_id: int) -> None:
        """Cut the power; the disk stays. A no-op for a machine that is off or unknown."""

    async def power_on(self, machine: Machine) -> None:
        """Boot from the disk that is there; a no-op for a machine that runs."""

    async def power_cycle(self, machine: Machine) -> None:
        """Cut the power and boot from the disk that is there."""

    async def shutdown(self, machine_id: int) -> None:
        """Let the machine stop its services, then switch it off; cut the power if it takes too long."""

    async def reboot(self, machine: Machine) -> None:
        """Shut down and boot from the disk that is there."""

    async def rebuild(self, machine: Machine) -> None:
        """Throw the disk away and boot as new, with the same addresses."""

    async def destroy(self, machine_id: int) -> None:
        """Cut the power and delete the disk; a no-op for an unknown machine."""
