// Package wifi boots a virtual machine with simulated 802.11 radios and runs the lab in it.
//
//	host                                              guest: Debian's kernel, mac80211_hwsim
//	/var/cache/openmpa/wifi-VERSION                   / = overlay of
//	    kernel/    unpacked, once             9p ro ->    the host's root, read-only
//	    tools/     hostapd, iw, ...           9p ro ->    the tools
//	/run/openmpa-lab/ID
//	    initrd.img made for each boot                 init.sh: modules, mounts, then
//	    console.log                       <- serial   the kernel's messages
//	    shared/    job and results            9p rw -> /shared
//	the lab's programs                        9p ro -> /shared/bin
//	standard output and error         <- virtio ports  mpa-lab guest (process 1): mpa-lab run ...
//
// The kernel and the tools are packages of the host's distribution, fetched by apt-get and unpacked without being
// installed. Machine emulates processors; the host's KVM is used only when asked for.
//
// A machine ends with the process that started it, however that ends: qemu gets a signal from the kernel then, and the
// next lab removes the folder in /run.
package wifi
