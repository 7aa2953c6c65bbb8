"""What a lab Droplet boots with: a script that makes its root, PID 1, `systemctl`, and cloud-init's settings.

The modules beside this one run inside a Droplet, on the system's python3 alone; the lab only copies them there.
"""

from pathlib import Path

HERE = Path(__file__).parent

#: Folders of the host's /etc that a Droplet has for itself alone.
OWN_FOLDERS = ("etc/systemd/system", "etc/cloud", "etc/sysctl.d")
#: In a user namespace the host's folders belong to nobody, and nothing can be added to them. These are laid over with
#: folders of the Droplet's own, beside /etc and /usr themselves and wherever the lab puts files.
WRITABLE_FOLDERS = (
    "usr/local/bin",
    "usr/local/sbin",
    "usr/local/lib",
    "usr/local/share",
    "etc/default",
    "etc/systemd",
    "etc/apt/apt.conf.d",
)

#: Arguments: the disk's folder and the host name. Runs in new mount, process and host-name namespaces.
#: System software is the host's, below an overlay; the host's own data (/var, /home, /root, /srv …) isn't there.
BOOT = r"""
set -e
disk=$1 name=$2
cd "$disk/root"
mount --bind . .
cd "$disk/root"
# An overlay keeps its notes in attributes that only root outside all user namespaces may write, unless told otherwise.
read -r _ _ ids < /proc/self/uid_map
notes=
[ "$ids" = 4294967295 ] || notes=,userxattr
for part in usr etc; do
    mount -t overlay overlay -o "lowerdir=/$part,upperdir=$disk/$part,workdir=$disk/$part.work$notes" "$part"
done
for part in {own_folders}; do
    mount --bind "$disk/own/$part" "$part"
done
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755,size=64m run run
# The kernel is the host's; what tells one boot from the next is the Droplet's own.
cat proc/sys/kernel/random/uuid > run/boot_id
mount --bind run/boot_id proc/sys/kernel/random/boot_id
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
hostname "$(printf %.63s "$name")"
mkdir -p .old
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
exec python3 -I /usr/local/lib/lab
""".replace("{own_folders}", " ".join(OWN_FOLDERS))

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
