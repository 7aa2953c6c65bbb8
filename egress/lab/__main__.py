"""`python -m egress.lab --config FILE`: the first process of the lab's own namespaces, and the daemon below it."""

import argparse
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from .config import LabConfig, load
from .errors import LabError
from .launch import lab_command


def main() -> int:
    """Run the lab; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m egress.lab", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    path = parser.parse_args().config
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        config = load(path)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if config.recording:
        from .daemon import serve  # noqa: PLC0415 - the first process of a lab with packets stays small

        return serve(config)
    if os.getpid() != 1:
        sys.stderr.write(f"the lab needs namespaces of its own: start it with {' '.join(lab_command(path))}\n")
        return 2
    return _be_init(config)


def _be_init(config: LabConfig) -> int:
    """Run the daemon as a child and reap what it leaves behind; when it ends, this ends, and so all of the lab."""
    signals = {signal.SIGTERM, signal.SIGINT}
    # Blocked until the child is there to hand them to: the first process gets only signals that it handles.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        from .daemon import serve  # noqa: PLC0415 - the first process stays small

        os._exit(_flushed(serve(config)))

    def forward(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in signals:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status) & 0xFF


def _flushed(code: int) -> int:
    logging.shutdown()
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
