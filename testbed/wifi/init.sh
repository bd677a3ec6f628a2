#!/bin/sh
# The guest's first program, in the initramfs: modules, the root, and on to the lab.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r m; do insmod "/mods/$m" || echo "init: insmod $m failed"; done </mods/order
p9=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o ro,$p9,cache=loose host /host || echo "init: no host"
mount -t 9p -o ro,$p9,cache=loose tools /tools || echo "init: no tools"
mount -t tmpfs tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/tools:/host,upperdir=/over/upper,workdir=/over/work overlay /new || echo "init: no overlay"
mkdir -p /new/proc /new/sys /new/dev /new/run /new/tmp /new/shared /new/lib/modules
mount -t proc proc /new/proc
mount -t sysfs sysfs /new/sys
mount -t devtmpfs dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts devpts /new/dev/pts
mount -t tmpfs shm /new/dev/shm
mount -t tmpfs run /new/run
mount -t tmpfs tmp /new/tmp
mount -t 9p -o ro,$p9,cache=loose modules /new/lib/modules || echo "init: no modules"
mount -t 9p -o rw,$p9 shared /new/shared || echo "init: nothing shared"
mount -t 9p -o ro,$p9,cache=loose bin /new/shared/bin || echo "init: no programs"
exec switch_root /new /shared/bin/mpa-lab guest
