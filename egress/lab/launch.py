"""How to start the lab from outside."""

import os
import sys
from pathlib import Path


def lab_command(config: Path) -> list[str]:
    """Return the command that runs a lab from the file `config`; needs root, or capabilities in a user namespace.

    The lab lives in mount, process and network namespaces of its own, under this command's process. However that
    process ends, all of the lab ends with it. To end it in order, let its process group have SIGTERM (`unshare` itself
    blocks that signal, so one to its id alone does nothing), or call `LabClient.stop`.
    """
    unshare = ["unshare", *(["--user", "--map-root-user"] if os.geteuid() else []), "--mount", "--pid", "--net", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
    return [*unshare, "--propagation", "private", sys.executable, "-m", "egress.lab", "--config", str(config)]
