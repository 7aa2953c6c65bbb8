"""Tell whether the whole machine goes down, or only the agent is started again."""

import subprocess

#: Probes come once a second at least; so each node hears of it before the agent ends.
LEAVE_SECONDS = 1.5
_PATIENCE_SECONDS = 2


def machine_goes_down() -> bool:
    """Ask the service manager, whose word for it is "stopping". A manager that doesn't answer says nothing."""
    try:
        done = subprocess.run(
            ["systemctl", "is-system-running"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.strip() == "stopping"
