"""The lab's stand-in for cloud-init where that isn't installed: write_files and runcmd, at the first boot only.

It is not cloud-init: it reads only cloud-configs that are JSON below their first line, as a gateway's is, and refuses
keys that it doesn't know.
"""

import base64
import gzip
import json
import subprocess
import sys
from pathlib import Path

USER_DATA = Path("/var/lib/cloud/seed/nocloud/user-data")
DONE = Path("/var/lib/lab-stand-in-done")
RUN_SECONDS = 120


def main() -> int:
    """Carry the cloud-config out; return 1 when a command failed, as cloud-init's final stage does."""
    if DONE.exists():
        return 0
    print("the lab's stand-in for cloud-init: write_files and runcmd only", flush=True)  # noqa: T201 - the console
    config = json.loads(USER_DATA.read_text().removeprefix("#cloud-config"))
    unknown = sorted(config.keys() - {"write_files", "runcmd"})
    if unknown:
        print(f"unknown keys in the user data: {', '.join(unknown)}", flush=True)  # noqa: T201 - the console
        return 1
    for entry in config.get("write_files", []):
        write_file(entry)
    codes = [
        subprocess.run(command, shell=isinstance(command, str), check=False, timeout=RUN_SECONDS).returncode
        for command in config.get("runcmd", [])
    ]
    DONE.touch()
    return 1 if any(codes) else 0


def write_file(entry: dict[str, str]) -> None:
    """Write one entry of write_files."""
    path = Path(entry["path"])
    content = entry.get("content", "").encode()
    encoding = entry.get("encoding", "")
    if encoding in {"b64", "base64", "gz+b64", "gz+base64", "gzip+base64"}:
        content = base64.b64decode(content)
    if encoding.startswith("gz"):
        content = gzip.decompress(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(int(entry.get("permissions", "0644"), 8))
    path.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
