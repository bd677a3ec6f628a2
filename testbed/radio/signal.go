package radio

import (
	"fmt"
	"os"
	"path/filepath"
)

// debug is where the kernel's debugging files are mounted.
const debug = "/sys/kernel/debug"

// power is what a simulated radio sends with, dBm: the signal it is heard at is that much above what the driver is told.
const power = 20

// SetSignal says how loud a simulated radio is where it is heard, in dBm, -80 to -21. It needs debugfs.
func (p Phy) SetSignal(dBm int) error {
	told := dBm - power
	if dBm < -80 || dBm > -21 {
		return fmt.Errorf("radio: a signal of %d dBm: expected -80 to -21", dBm)
	}
	file := filepath.Join(debug, "ieee80211", p.Name, "hwsim", "rx_rssi")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%d", uint64(int64(told))), 0o600); err != nil {
		return fmt.Errorf("radio: signal of %s: %w: is debugfs mounted at %s?", p.Name, err, debug)
	}
	return nil
}
