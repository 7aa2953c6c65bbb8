"""What a lab Droplet boots with: a script that makes its root, PID 1, `systemctl`, and cloud-init's settings.

`init.py` and `systemctl.py` run inside a Droplet, on the system's python3 alone; nothing here imports them.
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
for device in null zero full random urandom tty; do
    : > "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mkdir -m 1777 dev/shm
if [ ! -e "$disk/formatted" ]; then
    rm -rf etc/systemd/system etc/cloud
    cp -R "$disk/seed/." .
    : > "$disk/formatted"
fi
hostname "$name"
mkdir -p .old
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
exec python3 -I /usr/local/lib/lab/init.py
"""

#: Ubuntu's defaults take 11 s, most of it for modules that a gateway has no use for.
CLOUD_CFG = """\
# The lab's: write_files, runcmd and scripts only.
datasource_list: [NoCloud]
network: {config: disabled}
users: []
disable_root: false
cloud_init_modules: [write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
system_info:
  distro: debian
  paths: {cloud_dir: /var/lib/cloud/, run_dir: /run/cloud-init/, templates_dir: /etc/cloud/templates/}
"""

CLOUD_INIT_STAGES = (
    ("cloud-init", "init", "--local"),
    ("cloud-init", "init"),
    ("cloud-init", "modules", "--mode=config"),
    ("cloud-init", "modules", "--mode=final"),
)
#: Where cloud-init isn't installed, a stand-in takes its place; the console and `lab status` say so.
STAND_IN_STAGES = (("python3", "-I", "/usr/local/lib/lab/stand_in.py"),)
