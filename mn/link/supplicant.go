package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/host"
	"openmpa/internal/state"
	"openmpa/internal/wpactrl"
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
	Rekey     time.Duration    // that an association may be without a handshake before we ask for one; default: 300 ms to 2 s, by those seen
	Interface string           // to watch
	Net       host.Tables      // to watch it
	State     state.Store      // what is to be undone after a crash; nil: nothing is
	Log       *slog.Logger     // default: none
}

// Supplicant moves a wireless interface by wpa_supplicant. Safe for use by several goroutines; attachments go one after another.
//
//	Ready     to another ESS           SET_NETWORK n bssid; point not seen lately: a scan
//	Go        within the present ESS   ROAM <BSSID>; not seen yet: one scan, and again
//	          to another ESS           SELECT_NETWORK n
//	          returns                  at CTRL-EVENT-CONNECTED, which follows the 4-way handshake
//	Done      to another ESS           bssid any, a priority above the others', and they may be used again
//	Attach    Ready, Go and Done
//	Watch     down                     the kernel says so, or wpa_supplicant is associated with another one and has no keys yet
//	          up                       the kernel says operational, and wpa_supplicant COMPLETED
//
// Measured on mac80211_hwsim, command to connected: some 20 ms with a key installed before, 150 ms with full EAP-TLS and a
// server at no distance.
type Supplicant struct {
	cfg     SupplicantConfig
	names   map[wpactrl.MAC]string
	learned atomic.Pointer[map[string]Place] // by BSSID; nil: none
	client  *wpactrl.Client
	log     *slog.Logger
	turn    chan struct{} // holds one token: whose turn it is to move, or to look
	looking atomic.Bool   // whoever has the turn
	landed  atomic.Pointer[landing]
	wg      sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
	once    sync.Once
	end     error // of Close

	preferring sync.Mutex
	preferred  preference // guarded by preferring

	mu       sync.Mutex
	held     map[wpactrl.MAC]*held
	channels map[wpactrl.MAC]int // MHz, of neighbour reports
	sighted  sighting            // the last
}

var (
	_ Keyer   = (*Supplicant)(nil)
	_ Meter   = (*Supplicant)(nil)
	_ Strayer = (*Supplicant)(nil)
	_ Mover   = (*Supplicant)(nil)
	_ Rekeyer = (*Supplicant)(nil)
)

// NewSupplicant makes an adapter; wpa_supplicant need not run yet.
func NewSupplicant(cfg SupplicantConfig) (*Supplicant, error) {
	if cfg.Timeout < 0 || cfg.Rekey < 0 {
		return nil, fmt.Errorf("link: timeout %v, rekey %v: expected more than 0", cfg.Timeout, cfg.Rekey)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultAttach
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
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
	s := &Supplicant{
		cfg: cfg, names: names, client: client, log: cfg.Log.With("socket", cfg.Socket), turn: make(chan struct{}, 1),
		preferred: preference{network: anyNetwork}, held: make(map[wpactrl.MAC]*held), channels: make(map[wpactrl.MAC]int),
	}
	s.turn <- struct{}{}
	s.landed.Store(&landing{network: anyNetwork})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	sub, err := client.Subscribe(tended...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("link: %w", err), client.Close())
	}
	s.wg.Go(func() { s.tend(s.ctx, sub) })
	return s, nil
}

// Close takes our keys and preference, ends attachments under way and watches, and waits for the latter. The link stays as it is.
func (s *Supplicant) Close() error {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(s.ctx, forgetting)
		if err := s.RemoveKeys(ctx); err != nil {
			s.log.Warn("keys are left in wpa_supplicant until they end", "err", err)
		}
		if err := s.preferNone(ctx); err != nil {
			s.log.Warn("wpa_supplicant prefers the present network until it is started anew", "err", err)
		} else if err := s.part(); err != nil {
			s.log.Warn("networks of wpa_supplicant", "err", err)
		}
		cancel()
		s.cancel()
		s.end = s.client.Close()
		s.wg.Wait()
	})
	return s.end
}

// place finds a point: by name, or as a BSSID.
func (s *Supplicant) place(poa string) (Place, error) {
	if p, ok := s.cfg.Points[poa]; ok {
		return p, nil
	}
	mac, err := wpactrl.ParseMAC(poa)
	if err != nil || mac.IsZero() || mac.IsGroup() {
		return Place{}, fmt.Errorf("link: point %.80q: neither the name of a point in the configuration nor a BSSID like 02:00:00:00:01:00", poa)
	}
	if name, ok := s.names[mac]; ok {
		return s.cfg.Points[name], nil
	}
	if learned := s.learned.Load(); learned != nil {
		if p, ok := (*learned)[mac.String()]; ok {
			return p, nil
		}
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

// Associated implements Rekeyer.
func (s *Supplicant) Associated(ctx context.Context) (string, error) {
	st, err := s.status(ctx)
	if err != nil || !st.Associated() {
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

// network finds the id of a place's ESS; st is the present state. It returns the list of networks, too, if it has asked for it.
func (s *Supplicant) network(ctx context.Context, p Place, st wpactrl.Status) (int, []wpactrl.Network, error) {
	switch {
	case p.Network != AnyNetwork:
		return p.Network, nil, nil
	case p.SSID == "" && st.Network >= 0, p.SSID != "" && p.SSID == st.SSID && st.Network >= 0:
		return st.Network, nil, nil
	}
	list, err := s.networks(ctx)
	if err != nil {
		return 0, nil, err
	}
	if p.SSID == "" && len(list) == 1 {
		return list[0].ID, list, nil
	}
	for _, n := range list {
		if n.SSID == p.SSID && p.SSID != "" {
			return n.ID, list, nil
		}
	}
	if p.SSID == "" {
		return 0, nil, fmt.Errorf("link: not attached, and wpa_supplicant has %d networks: say the point's ssid or network in the configuration", len(list))
	}
	return 0, nil, fmt.Errorf("link: wpa_supplicant on %s has no network %q: add it to its configuration", s.cfg.Socket, p.SSID)
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

// listen subscribes to wpa_supplicant's events of some names and returns when they will come.
func (s *Supplicant) listen(ctx context.Context, names ...string) (*wpactrl.Subscription, error) {
	sub, err := s.client.Subscribe(names...)
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
