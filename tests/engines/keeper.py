"""Keep a server while standard input is open; then end it and remove its folder. Runs as a script.

A line on standard input crashes the server and starts it again, on what it left on disk; the answer is a line.

Standard input is a pipe from the tests' process, which closes however that one ends. Should this process be killed as
well, the kernel sends the server the same signal.

Arguments: the folder, the signal that ends the server at once, the command.
"""

import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

STOP_SECONDS = 20


def main() -> None:
    """Run the command until nobody wants it any more, or until it ends."""
    folder, ends, *command = Path(sys.argv[1]), signal.Signals[f"SIG{sys.argv[2]}"], *sys.argv[3:]
    with (folder / "log").open("wb") as log:
        server = _start(folder, ends, command, log)
        while True:
            if select.select([sys.stdin], [], [], 0.2)[0]:
                wanted = sys.stdin.readline()
                _end(server, ends)
                if not wanted:
                    break
                server = _start(folder, ends, command, log)
                print(flush=True)  # noqa: T201  # the answer
            elif server.poll() is not None:
                # By itself: its log says why.
                sys.exit(1)
    shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, ends: signal.Signals, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", ends.name.removeprefix("SIG"), *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )


def _end(server: subprocess.Popen[bytes], ends: signal.Signals) -> None:
    server.send_signal(ends)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(STOP_SECONDS)


if __name__ == "__main__":
    main()
