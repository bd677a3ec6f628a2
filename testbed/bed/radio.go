package bed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	"openmpa/internal/wpactrl"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/proc"
	"openmpa/testbed/radio"
	"openmpa/testbed/topo"
)

// StationName is the mobile node's wpa_supplicant among the children.
const StationName = "sta"

// APName is the name of a point's hostapd among the children.
func APName(point string) string { return "ap-" + point }

// Wifi has points of attachment that are radios; see Options.Wifi.
type Wifi struct {
	// Plan changes the topology before it is built; nil: nobody does.
	Plan func(*topo.Plan)
	// Decision is the section of that name in mpa-mn's configuration; empty: it moves when it is told.
	Decision string
	// Adjust changes the configuration of the radios before it is written; nil: nobody does.
	Adjust func(*Radio)
}

// A Radio is how a lab is wireless.
type Radio struct {
	APs     []*AccessPoint // in the order of topo.Antennas
	Station radio.Station  // the mobile node's
	// Address is the station's.
	Address wpactrl.MAC

	// Control talks to the station's wpa_supplicant.
	Control *wpactrl.Client

	sub *wpactrl.Subscription
	wg  sync.WaitGroup
}

// An AccessPoint is a point of attachment that is a radio.
type AccessPoint struct {
	topo.Antenna
	Phy   radio.Phy
	BSSID wpactrl.MAC // of the first BSS: the one where our nodes come
	AP    radio.AP
	// Control talks to its hostapd.
	Control *wpactrl.Client
}

// AP finds the access point of a point of attachment, nil when there is none.
func (r *Radio) AP(point string) *AccessPoint {
	for _, a := range r.APs {
		if a.Point == point {
			return a
		}
	}
	return nil
}

// Point names the access point with a BSSID, or says the BSSID.
func (r *Radio) Point(bssid wpactrl.MAC) string {
	for _, a := range r.APs {
		if a.BSSID == bssid {
			return a.Point
		}
	}
	return bssid.String()
}

// interfaceNames are the mobile node's interfaces towards its points of attachment.
func (b *Bed) interfaceNames() []string {
	switch {
	case b.opt.Wifi != nil:
		return []string{topo.WirelessIf}
	case b.opt.Second != "":
		return []string{topo.MNIf, topo.SecondIf}
	}
	return []string{topo.MNIf}
}

// giveRadios moves simulated radios to the access points and to the mobile node.
func (b *Bed) giveRadios(ctx context.Context) error {
	antennas := topo.Antennas()
	phys, err := radio.Phys()
	if err != nil {
		return err
	}
	if want := len(antennas) + 1; len(phys) < want {
		return fmt.Errorf("bed: there are %d simulated radios, and a lab by 802.11 needs %d: run it as `sudo ./testbed/lab wifi ...`, whose virtual machine has them, or modprobe mac80211_hwsim radios=%d", len(phys), want, want)
	}
	b.Radio = &Radio{}
	for i, a := range antennas {
		if err := phys[i].Move(ctx, b.Top.Space(a.Node), a.Interface); err != nil {
			return err
		}
		b.Radio.APs = append(b.Radio.APs, &AccessPoint{Antenna: a, Phy: phys[i], BSSID: wpactrl.MAC(phys[i].Address)})
	}
	own := phys[len(antennas)]
	b.Radio.Address = wpactrl.MAC(own.Address)
	return own.Move(ctx, b.Top.Space(topo.MN), topo.WirelessIf)
}

// startRadio starts the access points and the station, which are at rest until somebody tells it where to go.
func (b *Bed) startRadio(ctx context.Context) error {
	if b.Radio == nil {
		return nil
	}
	b.opt.say("starting %d access points and the station", len(b.Radio.APs))
	secret, err := os.ReadFile(b.Run.File(radiusSecret))
	if err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	var networks []radio.ESS
	for _, a := range b.Radio.APs {
		a.AP = radio.AP{
			Dir: b.Run.Path, Name: APName(a.Point), Interface: a.Interface, Channel: a.Channel,
			BSSes: []radio.BSS{{
				SSID: a.SSID, Bridge: a.Bridge, Own: a.Address, Server: netip.AddrPortFrom(topo.AAAServer, aaaPort),
				Secret: string(bytes.TrimSpace(secret)), NASID: a.Point,
			}},
		}
		freq := radio.Frequency(a.Channel)
		if n := len(networks); n > 0 && networks[n-1].SSID == a.SSID {
			networks[n-1].Freqs = append(networks[n-1].Freqs, freq)
		} else {
			networks = append(networks, radio.ESS{SSID: a.SSID, Freqs: []int{freq}, Disabled: n > 0})
		}
	}
	b.Radio.Station = radio.Station{
		Dir: b.Run.Path, Name: StationName, Interface: topo.WirelessIf, Networks: networks, Identity: MNIdentity,
		CA: b.Run.File("mn", "ca.pem"), Certificate: b.Run.File("mn", "mn.pem"), Key: b.Run.File("mn", "mn.key"), ServerName: ServerName,
	}
	if b.opt.Wifi.Adjust != nil {
		b.opt.Wifi.Adjust(b.Radio)
	}
	for _, a := range b.Radio.APs {
		command, err := a.AP.Command()
		if err != nil {
			return err
		}
		if err := b.run(ctx, proc.Spec{Name: a.AP.Name, Space: b.Top.Space(a.Node), Command: command, Answers: a.AP.Answers}); err != nil {
			return err
		}
	}
	command, err := b.Radio.Station.Command()
	if err != nil {
		return err
	}
	err = b.run(ctx, proc.Spec{Name: StationName, Space: b.Top.Space(topo.MN), Command: command, Answers: b.Radio.Station.Answers})
	if err != nil {
		return err
	}
	return errors.Join(b.watchRadio(), b.listen())
}

// watchRadio opens the daemons' control sockets, and tells OnMove of the station's moves by wpa_supplicant's word.
func (b *Bed) watchRadio() (err error) {
	r := b.Radio
	for _, a := range r.APs {
		if a.Control, err = wpactrl.Open(wpactrl.Config{Socket: a.AP.Socket(0), Dir: b.Run.Path}); err != nil {
			return fmt.Errorf("bed: %w", err)
		}
	}
	if r.Control, err = wpactrl.Open(wpactrl.Config{Socket: r.Station.Socket(), Dir: b.Run.Path}); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	if r.sub, err = r.Control.Subscribe(); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	r.wg.Go(func() {
		var m linkctl.Move // under way when Lost is set
		var at string
		begin := func(e wpactrl.Event) {
			if m.Lost.IsZero() {
				m = linkctl.Move{From: at, Lost: e.At}
				b.moved(m)
			}
		}
		for e := range r.sub.C {
			switch {
			case e.Name == "SME:" && strings.HasPrefix(e.Rest, "Trying to authenticate"), e.Name == wpactrl.EventDisconnected:
				begin(e)
			case e.Name == wpactrl.EventConnected && !m.Lost.IsZero():
				at = r.Point(e.Peer())
				m.To, m.Up = at, e.At
				b.moved(m)
				m = linkctl.Move{}
			}
		}
	})
	return nil
}

// close ends the watch of the station and of the air.
func (r *Radio) close() error {
	var errs []error
	if r.sub != nil {
		r.sub.Close()
	}
	if r.Control != nil {
		errs = append(errs, r.Control.Close())
	}
	for _, a := range r.APs {
		if a.Control != nil {
			errs = append(errs, a.Control.Close())
		}
	}
	r.wg.Wait()
	return errors.Join(errs...)
}

// wirelessPoint is a point in mpa-mn's configuration.
func (a *AccessPoint) wirelessPoint() string {
	return fmt.Sprintf("{name: %s, bssid: %v, ssid: %s, freq: %d}", a.Point, a.BSSID, a.SSID, radio.Frequency(a.Channel))
}

// StopNode ends mpa-mn in order; its wpa_supplicant stays.
func (b *Bed) StopNode() error { return b.stop(topo.MN) }

// StartNode starts mpa-mn again and waits until it is attached: where its link is, or to network b.
func (b *Bed) StartNode(ctx context.Context) error {
	if err := b.start(ctx, topo.MN, topo.MN, "mpa-mn", b.configMN()); err != nil {
		return err
	}
	if err := b.Attached(ctx); err != nil {
		return err
	}
	return b.awaitSite(ctx)
}
