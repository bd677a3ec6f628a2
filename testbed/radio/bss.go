package radio

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"openmpa/internal/wpactrl"
)

// Forget has the BSS behind a control socket forget a station, and every key
// that it has for later: an access point is not told of a station that left,
// and would be in the way of its return.
func Forget(ctx context.Context, socket string, station wpactrl.MAC) error {
	_, err := ask(ctx, socket, fmt.Sprintf("DEAUTHENTICATE %v tx=0", station))
	if err != nil && !errors.Is(err, wpactrl.ErrFail) { // which is for a station that is not known
		return err
	}
	return ForgetKeys(ctx, socket)
}

// ForgetKeys has it forget the keys only; who is connected stays so.
func ForgetKeys(ctx context.Context, socket string) error {
	_, err := ask(ctx, socket, "PMKSA_FLUSH")
	return err
}

// Disable takes a radio, with all of its BSSes, off the air. hostapd gives
// itself two seconds for that when it ends, which with several of them may be too
// little.
func Disable(ctx context.Context, socket string) error {
	_, err := ask(ctx, socket, "DISABLE")
	return err
}

// Authorized says whether the BSS behind a control socket lets a station's
// frames pass: it does so a moment after the station is connected.
func Authorized(ctx context.Context, socket string, station wpactrl.MAC) (bool, error) {
	answer, err := ask(ctx, socket, "STA "+station.String())
	if errors.Is(err, wpactrl.ErrFail) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	st, err := wpactrl.ParseStation(answer)
	return slices.Contains(st.Flags, "AUTHORIZED"), err
}
