package daemon

import (
	"context"
	"log/slog"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

const (
	stateReady    = sd.SdNotifyReady
	stateStopping = sd.SdNotifyStopping
	stateWatchdog = sd.SdNotifyWatchdog
)

// notify tells the service manager, if there is one. A service manager that
// cannot be told is no reason to stop serving.
func notify(log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Warn("the service manager could not be told", "state", state, "err", err)
	}
}

// watchdog answers the service manager's watchdog until ctx is done.
func watchdog(ctx context.Context, log *slog.Logger) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager's watchdog is ignored", "err", err)
		return
	}
	if interval <= 0 {
		return
	}
	tick := time.NewTicker(max(interval/2, time.Millisecond))
	defer tick.Stop()
	for {
		notify(log, stateWatchdog)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
