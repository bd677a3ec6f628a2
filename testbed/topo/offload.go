package topo

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct {
	cmd  uint32
	data uint32
}

// ifreqData is struct ifreq of linux/if.h with its pointer member.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

const ethtoolSetTxChecksum = 0x17 // ETHTOOL_STXCSUM

// checksumsInSoftware has a node compute checksums when it sends. Otherwise
// a veth carries packets whose checksum nobody ever fills in, and whoever
// reads raw packets, a DHCP client for one, takes them for damaged.
func checksumsInSoftware(s *space.Space, ifname string) error {
	err := s.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		value := &ethtoolValue{cmd: ethtoolSetTxChecksum}
		var pin runtime.Pinner
		pin.Pin(value)
		defer pin.Unpin()
		req := &ifreqData{data: unsafe.Pointer(value)}
		copy(req.name[:unix.IFNAMSIZ-1], ifname)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(req)))
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: checksums of %s: %w", s.Name(), ifname, err)
	}
	return nil
}
