package impair

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

// queueLen is how many frames a device keeps for us, see [Link.Close].
const queueLen = 10000

// openTAP makes a TAP device in a namespace and returns a descriptor that does
// not block. The device lasts as long as the descriptor. Without offloads, the
// kernel computes every checksum before it hands a frame over.
func openTAP(s *space.Space, name string) (fd int, err error) {
	err = s.Do(func() error {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		return nil
	})
	if err == nil {
		if err = setQueueLen(s, name); err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w (is there a /dev/net/tun? try modprobe tun)", err)
	}
	if err != nil {
		return -1, fmt.Errorf("impair: TAP device %s in %s: %w", name, s.Name(), err)
	}
	return fd, nil
}

func setQueueLen(s *space.Space, name string) error {
	l, err := s.Netlink().LinkByName(name)
	if err != nil {
		return err
	}
	return s.Netlink().LinkSetTxQLen(l, queueLen)
}

// overflow is how many frames the device had no room for.
func overflow(s *space.Space, name string) (uint64, error) {
	l, err := s.Netlink().LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("impair: %s in %s: %w", name, s.Name(), err)
	}
	if st := l.Attrs().Statistics; st != nil {
		return st.TxDropped, nil
	}
	return 0, nil
}
