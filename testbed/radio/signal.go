package radio

import (
	"fmt"
	"os"
	"path/filepath"
)

// debug is where the kernel's debugging files are mounted.
const debug = "/sys/kernel/debug"

// SetSignal says how loud a simulated radio is where it is heard, in dBm, -100 to -1. It needs debugfs.
func (p Phy) SetSignal(dBm int) error {
	if dBm < -100 || dBm > -1 {
		return fmt.Errorf("radio: %d dBm: expected -100 to -1", dBm)
	}
	file := filepath.Join(debug, "ieee80211", p.Name, "hwsim", "rx_rssi")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%d", uint64(int64(dBm))), 0o600); err != nil {
		return fmt.Errorf("radio: signal of %s: %w: is debugfs mounted at %s?", p.Name, err, debug)
	}
	return nil
}
