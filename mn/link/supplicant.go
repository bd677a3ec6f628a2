package link

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"openmpa/internal/host"
	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

const defaultAttach = 10 * time.Second

// AnyNetwork as a Place's Network: the one whose SSID it is.
const AnyNetwork = -1

// Place is where a point of attachment is.
type Place struct {
	BSSID wpactrl.MAC
	// Network is wpa_supplicant's id of the network block (ESS) the point is in, or AnyNetwork.
	Network int
	// SSID finds the block when Network is AnyNetwork; "": the present one.
	SSID string
	// Freq is the channel in MHz: where to look for the point when it has not been seen. 0: on all channels, which takes
	// seconds, and longer than Timeout on a slow radio.
	Freq int
}

// SupplicantConfig says which wpa_supplicant to use.
type SupplicantConfig struct {
	Socket    string           // its control socket: ctrl_interface/interface
	Dir       string           // for our own sockets: see wpactrl.Config
	Points    map[string]Place // by name. A point that is not here is named by its BSSID
	Timeout   time.Duration    // for an attachment, 802.1X included; default 10 s. ctx may end it earlier
	Interface string           // to watch
	Net       host.Tables      // to watch it
	Log       *slog.Logger     // default: none
}

// Supplicant moves a wireless interface by wpa_supplicant. Safe for use by several goroutines; attachments go one after another.
//
//	Attach    within the present ESS   ROAM <BSSID>; not seen yet: one scan, and again
//	          to another ESS           SET_NETWORK n bssid, SELECT_NETWORK n; then bssid any, and the others may be used again
//	          returns                  at CTRL-EVENT-CONNECTED, which follows the 4-way handshake
//	Watch     up                       the kernel says operational, and wpa_supplicant COMPLETED
//
// Measured on mac80211_hwsim, command to connected: some 20 ms with a key installed before, 150 ms with full EAP-TLS and a
// server at no distance.
type Supplicant struct {
	cfg    SupplicantConfig
	names  map[wpactrl.MAC]string
	client *wpactrl.Client
	turn   chan struct{} // holds one token: whose turn it is to move
	wg     sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc
}

var (
	_ Keyer   = (*Supplicant)(nil)
	_ Scanner = (*Supplicant)(nil)
)

// NewSupplicant makes an adapter; wpa_supplicant need not run yet.
func NewSupplicant(cfg SupplicantConfig) (*Supplicant, error) {
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("link: timeout %v: expected more than 0", cfg.Timeout)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultAttach
	}
	names := make(map[wpactrl.MAC]string)
	for name, p := range cfg.Points {
		if err := CheckPoint(name); err != nil {
			return nil, err
		}
		if other, ok := names[p.BSSID]; ok || p.BSSID.IsZero() || p.BSSID.IsGroup() {
			return nil, fmt.Errorf("link: point %s: BSSID %v: expected the address of one access point, which no other point has %s", name, p.BSSID, other)
		}
		if p.Network < AnyNetwork {
			return nil, fmt.Errorf("link: point %s: network %d: expected an id, or %d", name, p.Network, AnyNetwork)
		}
		names[p.BSSID] = name
	}
	client, err := wpactrl.Open(wpactrl.Config{Socket: cfg.Socket, Dir: cfg.Dir, Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	s := &Supplicant{cfg: cfg, names: names, client: client, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close ends attachments under way and watches, and waits for the latter. The link stays as it is.
func (s *Supplicant) Close() error {
	s.cancel()
	err := s.client.Close()
	s.wg.Wait()
	return err
}

// place finds a point: by name, or as a BSSID.
func (s *Supplicant) place(poa string) (Place, error) {
	if p, ok := s.cfg.Points[poa]; ok {
		return p, nil
	}
	mac, err := wpactrl.ParseMAC(poa)
	if err != nil || mac.IsZero() || mac.IsGroup() {
		return Place{}, fmt.Errorf("link: point %.80q: neither a name of link.points nor a BSSID like 02:00:00:00:01:00", poa)
	}
	return Place{BSSID: mac, Network: AnyNetwork}, nil
}

// name is what a BSSID is called.
func (s *Supplicant) name(bssid wpactrl.MAC) string {
	if name, ok := s.names[bssid]; ok {
		return name
	}
	return bssid.String()
}

func (s *Supplicant) status(ctx context.Context) (wpactrl.Status, error) {
	answer, err := s.client.Command(ctx, "STATUS")
	if err != nil {
		return wpactrl.Status{}, fmt.Errorf("link: %w", err)
	}
	st, err := wpactrl.ParseStatus(answer)
	if err != nil {
		return st, fmt.Errorf("link: %w", err)
	}
	return st, nil
}

// Current implements Adapter: a point counts from the end of the 4-way handshake.
func (s *Supplicant) Current(ctx context.Context) (string, error) {
	st, err := s.status(ctx)
	if err != nil || st.State != wpactrl.StateCompleted || st.BSSID.IsZero() {
		return "", err
	}
	return s.name(st.BSSID), nil
}

// Station implements Keyer.
func (s *Supplicant) Station(ctx context.Context) (wpactrl.MAC, error) {
	st, err := s.status(ctx)
	if err == nil && st.Address.IsZero() {
		err = fmt.Errorf("link: wpa_supplicant on %s does not say our own address", s.cfg.Socket)
	}
	return st.Address, err
}

// network finds the id of a place's ESS; st is the present state.
func (s *Supplicant) network(ctx context.Context, p Place, st wpactrl.Status) (int, error) {
	switch {
	case p.Network != AnyNetwork:
		return p.Network, nil
	case p.SSID == "" && st.Network >= 0, p.SSID != "" && p.SSID == st.SSID && st.Network >= 0:
		return st.Network, nil
	}
	list, err := s.networks(ctx)
	if err != nil {
		return 0, err
	}
	if p.SSID == "" && len(list) == 1 {
		return list[0].ID, nil
	}
	for _, n := range list {
		if n.SSID == p.SSID && p.SSID != "" {
			return n.ID, nil
		}
	}
	if p.SSID == "" {
		return 0, fmt.Errorf("link: not attached, and wpa_supplicant has %d networks: say the point's ssid or network in the configuration", len(list))
	}
	return 0, fmt.Errorf("link: wpa_supplicant on %s has no network %q: add it to its configuration", s.cfg.Socket, p.SSID)
}

func (s *Supplicant) networks(ctx context.Context) ([]wpactrl.Network, error) {
	answer, err := s.client.Command(ctx, "LIST_NETWORKS")
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	list, err := wpactrl.ParseNetworks(answer)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return list, nil
}

// InstallKey implements Keyer.
func (s *Supplicant) InstallKey(ctx context.Context, poa string, k Key) error {
	if seconds := k.Lifetime / time.Second; seconds < 1 || seconds > 1<<31-1 {
		return fmt.Errorf("link: key of %s: lifetime %v: expected a second or more", poa, k.Lifetime)
	}
	return s.setKey(ctx, poa, k)
}

// RemoveKey implements Keyer: a key nobody has, which ends within a second; then wpa_supplicant authenticates in full if the
// point is the present one, which it does not leave. PMKSA_FLUSH would take all.
func (s *Supplicant) RemoveKey(ctx context.Context, poa string) error {
	b := make([]byte, keys.PMKLen)
	_, _ = rand.Read(b) // never fails
	nobodys := keys.NewSecret(b)
	defer nobodys.Clear()
	return s.setKey(ctx, poa, Key{PMK: nobodys, AKM: keys.AKM8021X, Lifetime: time.Second})
}

// setKey gives wpa_supplicant a key. At the end of a key it authenticates in full, at the point where it then is: the time for
// that cannot be behind the end.
func (s *Supplicant) setKey(ctx context.Context, poa string, k Key) error {
	p, err := s.place(poa)
	if err != nil {
		return err
	}
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	network, err := s.network(ctx, p, st)
	if err != nil {
		return err
	}
	id, err := keys.PMKID(k.AKM, k.PMK, p.BSSID, st.Address)
	if err != nil {
		return fmt.Errorf("link: key of %s: %w", poa, err)
	}
	seconds := int(k.Lifetime / time.Second)
	err = s.client.Do(ctx, fmt.Sprintf("PMKSA_ADD %d %v %x ? %d %d %d 0", network, p.BSSID, id, seconds, seconds,
		wpactrl.KeyMgmt(k.AKM)), k.PMK)
	if err != nil {
		return fmt.Errorf("link: key of %s: %w", poa, err)
	}
	return nil
}

// Scan implements Scanner.
func (s *Supplicant) Scan(ctx context.Context, freqs ...int) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	sub, err := s.listen(ctx)
	if err != nil {
		return err
	}
	defer sub.Close()
	return s.scan(ctx, sub, freqs)
}

// scan asks for a scan and waits for its end, or for that of one that is under way.
func (s *Supplicant) scan(ctx context.Context, sub *wpactrl.Subscription, freqs []int) error {
	command, sep := "SCAN", " freq="
	for _, f := range freqs {
		command += sep + strconv.Itoa(f)
		sep = ","
	}
	err := s.client.Do(ctx, command)
	if err != nil && !strings.Contains(err.Error(), "FAIL-BUSY") {
		return fmt.Errorf("link: scan: %w", err)
	}
	for {
		e, err := next(ctx, sub)
		switch {
		case err != nil:
			return fmt.Errorf("link: scan: %w", err)
		case e.Name == wpactrl.EventScanResults, e.Missed > 0:
			return nil
		case e.Name == wpactrl.EventScanFailed:
			return fmt.Errorf("link: scan: the driver fails: %s", wpactrl.Printable(e.Rest))
		}
	}
}

// Seen implements Scanner.
func (s *Supplicant) Seen(ctx context.Context) ([]Sighting, error) {
	answer, err := s.client.Command(ctx, "SCAN_RESULTS")
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	list, err := wpactrl.ParseScanResults(answer)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	out := make([]Sighting, len(list))
	for i, b := range list {
		out[i] = Sighting{Point: s.name(b.BSSID), BSSID: b.BSSID, SSID: b.SSID, Freq: b.Freq, Signal: b.Signal}
	}
	return out, nil
}

// Signal implements Scanner.
func (s *Supplicant) Signal(ctx context.Context) (int, error) {
	answer, err := s.client.Command(ctx, "SIGNAL_POLL")
	if err != nil {
		return 0, fmt.Errorf("link: signal: %w", err)
	}
	sig, err := wpactrl.ParseSignalPoll(answer)
	if err != nil {
		return 0, fmt.Errorf("link: %w", err)
	}
	return sig.RSSI, nil
}

// listen subscribes to wpa_supplicant's events and returns when they will come.
func (s *Supplicant) listen(ctx context.Context) (*wpactrl.Subscription, error) {
	sub, err := s.client.Subscribe()
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	if _, err := next(ctx, sub); err != nil {
		sub.Close()
		return nil, fmt.Errorf("link: %w", err)
	}
	return sub, nil
}

// next returns the next event; that wpa_supplicant went away is an error.
func next(ctx context.Context, sub *wpactrl.Subscription) (wpactrl.Event, error) {
	select {
	case e, ok := <-sub.C:
		switch {
		case !ok:
			return e, wpactrl.ErrClosed
		case e.Kind == wpactrl.Gone:
			return e, errors.New(e.Rest)
		}
		return e, nil
	case <-ctx.Done():
		return wpactrl.Event{}, ctx.Err()
	}
}
