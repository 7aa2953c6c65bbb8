"""What a lab Droplet boots with: a script that makes its root, PID 1, `systemctl`, and cloud-init's settings.

The modules beside this one run inside a Droplet, on the system's python3 alone; the lab only copies them there.
"""

from pathlib import Path

HERE = Path(__file__).parent

#: Arguments: the disk's folder and the host name. Runs in new mount, process and host-name namespaces.
#: System software is the host's, below an overlay; the host's own data (/var, /home, /root, /srv …) isn't there.
BOOT = r"""
set -e
disk=$1 name=$2
cd "$disk/root"
mount --bind . .
cd "$disk/root"
for part in usr etc; do
    mount -t overlay overlay -o "lowerdir=/$part,upperdir=$disk/$part,workdir=$disk/$part.work" "$part"
done
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755,size=64m run run
mount -t tmpfs -o mode=1777,size=64m tmp tmp
mount -t tmpfs -o mode=755,size=1m dev dev
for device in null zero full random urandom; do
    : > "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mkdir -m 1777 dev/shm
if [ ! -e "$disk/formatted" ]; then
    rm -rf etc/systemd/system etc/cloud etc/sysctl.d
    cp -R "$disk/seed/." .
    : > "$disk/formatted"
fi
hostname "$(printf %.63s "$name")"
mkdir -p .old
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
exec python3 -I /usr/local/lib/lab
"""

#: Ubuntu's defaults take 11 s, most of it for modules that a gateway has no use for.
CLOUD_CFG = """\
# The lab's: write_files, runcmd and scripts only.
datasource_list: [NoCloud]
network: {config: disabled}
users: []
disable_root: false
cloud_init_modules: [write-files]
cloud_config_modules: []
cloud_final_modules: [runcmd, scripts-user]
log_cfgs:
  - |
    [loggers]
    keys=root
    [handlers]
    keys=console
    [formatters]
    keys=line
    [logger_root]
    level=WARNING
    handlers=console
    [handler_console]
    class=StreamHandler
    level=WARNING
    formatter=line
    args=(sys.stderr,)
    [formatter_line]
    format=cloud-init %(levelname)s: %(message)s
system_info:
  distro: debian
  paths: {cloud_dir: /var/lib/cloud/, run_dir: /run/cloud-init/, templates_dir: /etc/cloud/templates/}
"""

#: The stages that have something to do: the search for local data sources before the network and the stage
#: "config" would each cost as much again.
CLOUD_INIT_STAGES = (("cloud-init", "init"), ("cloud-init", "modules", "--mode=final"))
#: Where cloud-init isn't installed, a stand-in takes its place; the console and `lab status` say so.
STAND_IN_STAGES = (("python3", "-I", "/usr/local/lib/lab/image/stand_in.py"),)


def files() -> dict[str, str]:
    """Return what the lab adds to a Droplet's software: contents by path from the root."""
    folder = "usr/local/lib/lab"
    modules = ("init", "services", "units", "stand_in")
    return {
        "etc/cloud/cloud.cfg": CLOUD_CFG,
        "usr/bin/systemctl": "#!/usr/bin/env -S python3 -I\n" + (HERE / "systemctl.py").read_text(),
        f"{folder}/__main__.py": "from image.init import Manager\n\nManager().run()\n",
        f"{folder}/image/__init__.py": "",
        **{f"{folder}/image/{name}.py": (HERE / f"{name}.py").read_text() for name in modules},
    }
