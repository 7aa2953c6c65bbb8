"""Carry out the cloud's accepted requests in the background, by way of the hypervisor."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from egress.lab.hypervisor import Hypervisor, HypervisorError, Machine

from .faults import Fault
from .state import Action, CloudState, Droplet, DropletStatus

logger = logging.getLogger(__name__)

DESTROY_ATTEMPTS = 3

_Step = Callable[[Hypervisor, Machine], Coroutine[Any, Any, None]]

#: What each action asks of the hypervisor, and the Droplet's status after it.
_STEPS: dict[str, tuple[_Step, DropletStatus]] = {
    "create": (lambda hypervisor, machine: hypervisor.boot(machine), "active"),
    "power_off": (lambda hypervisor, machine: hypervisor.power_off(machine.id), "off"),
    "power_on": (lambda hypervisor, machine: hypervisor.power_on(machine), "active"),
    "power_cycle": (lambda hypervisor, machine: hypervisor.power_cycle(machine), "active"),
    "shutdown": (lambda hypervisor, machine: hypervisor.shutdown(machine.id), "off"),
    "reboot": (lambda hypervisor, machine: hypervisor.reboot(machine), "active"),
    "rebuild": (lambda hypervisor, machine: hypervisor.rebuild(machine), "active"),
}


class CloudWork:
    """The running actions and destructions. `timeout_seconds` bounds each of them."""

    def __init__(
        self, state: CloudState, hypervisor: Hypervisor, *, clock: Callable[[], float], timeout_seconds: float
    ) -> None:
        self._state = state
        self._hypervisor = hypervisor
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, action: Action, droplet: Droplet, fault: Fault | None = None) -> None:
        """Begin to carry out `action`, struck by `fault`; its end is seen in its status."""
        self.spawn(self._run(action, droplet, fault))

    def destroy(self, droplet: Droplet) -> None:
        """Begin to destroy a Droplet that was removed; its addresses become free when it is gone."""
        self.spawn(self._destroy(droplet))

    @property
    def busy(self) -> bool:
        """Say whether anything is still to be done, late requests and destructions included."""
        return bool(self._tasks)

    async def close(self) -> None:
        """Cancel what is running and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` go on in the background, until `close` at the latest."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, action: Action, droplet: Droplet, fault: Fault | None) -> None:
        step, status = _STEPS[action.type]
        if fault is not None and fault.kind == "slow_work":
            await asyncio.sleep(fault.delay_seconds)
        what = f"{action.type} of Droplet {droplet.id} ({droplet.name})"
        if await self._attempt(what, self._carry_out(step, droplet, fault)):
            droplet.status = status
            self._state.finish(action, "completed", self._clock())
        else:
            self._state.finish(action, "errored", self._clock())

    async def _carry_out(self, step: _Step, droplet: Droplet, fault: Fault | None) -> None:
        kind = fault.kind if fault is not None else None
        if kind == "stuck":
            # Until the time allowed is over.
            await asyncio.Event().wait()
        # From here on the API shows the addresses: before, a new Droplet has none, as in the real cloud.
        droplet.addressed = True
        machine = _machine(droplet)
        await step(self._hypervisor, replace(machine, user_data="") if kind == "dead_boot" else machine)

    async def _destroy(self, droplet: Droplet) -> None:
        what = f"destruction of Droplet {droplet.id} ({droplet.name})"
        for _ in range(DESTROY_ATTEMPTS):
            if await self._attempt(what, self._hypervisor.destroy(droplet.id)):
                self._state.release(droplet)
                return
        logger.error("%s given up: its addresses stay out of use until the lab restarts", what)

    async def _attempt(self, what: str, work: Coroutine[Any, Any, None]) -> bool:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await work
        except HypervisorError as error:
            logger.warning("%s failed: %s", what, error)
        except TimeoutError:
            logger.warning("%s failed: not done after %s s", what, self._timeout_seconds)
        except Exception:
            # A bug below must end the action, too: one that stays in progress blocks its Droplet for ever.
            logger.exception("%s failed", what)
        else:
            return True
        return False


def _machine(droplet: Droplet) -> Machine:
    return Machine(
        id=droplet.id,
        name=droplet.name,
        user_data=droplet.user_data,
        image=droplet.image,
        public_address=droplet.public_address,
        private_address=droplet.private_address,
    )
