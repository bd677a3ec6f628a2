package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"openmpa/internal/config"
	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
	"openmpa/par/apctl"
)

// akm is a suite, by the name that hostapd gives it.
type akm keys.AKM

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *akm) UnmarshalText(text []byte) error {
	for _, k := range []keys.AKM{keys.AKM8021X, keys.AKM8021XSHA256} {
		if string(text) == k.String() {
			*a = akm(k)
			return nil
		}
	}
	return fmt.Errorf("%.40q: expected %v or %v: keys for other suites cannot come from outside", text, keys.AKM8021X, keys.AKM8021XSHA256)
}

// pointID says which access point it is.
type pointID struct {
	Name  string      `yaml:"name"`
	BSSID wpactrl.MAC `yaml:"bssid"`
	AKM   akm         `yaml:"akm"`
}

func (p pointID) info() apctl.Info {
	config.Default(&p.AKM, akm(keys.AKM8021X))
	return apctl.Info{Name: p.Name, BSSID: p.BSSID, AKM: keys.AKM(p.AKM)}
}

func (p pointID) check() error {
	switch {
	case p.Name == "":
		return config.Errorf("name", "missing: a name for the access point")
	case p.BSSID.IsZero() || p.BSSID.IsGroup():
		return config.Errorf("bssid", "expected the access point's address, such as 02:00:00:00:01:00: its keys are bound to it")
	}
	return nil
}

// differ says whether the points have a name or BSSID twice, and whether there are too many.
func differ(key string, points []pointID) error {
	if len(points) > apctl.MaxPoints {
		return config.Errorf(key, "%d access points: expected at most %d", len(points), apctl.MaxPoints)
	}
	names, bssids := map[string]bool{}, map[wpactrl.MAC]bool{}
	for i, p := range points {
		if names[p.Name] || bssids[p.BSSID] {
			return config.Errorf(fmt.Sprintf("%s[%d]", key, i), "%s, BSSID %v: another one has the same name or BSSID", p.Name, p.BSSID)
		}
		names[p.Name], bssids[p.BSSID] = true, true
	}
	return nil
}

// point is an access point of the router's: hostapd on this machine, or an agent beside it on another.
type point struct {
	ID          pointID     `yaml:",inline"`
	Socket      config.Path `yaml:"socket"`
	Agent       string      `yaml:"agent"`
	Identity    string      `yaml:"identity"`
	CA          config.File `yaml:"ca"`
	Certificate config.File `yaml:"certificate"`
	Key         config.File `yaml:"key"`
}

// Check implements the hook of package config.
func (p *point) Check() error {
	if err := p.ID.check(); err != nil {
		return err
	}
	switch {
	case (p.Socket == "") == (p.Agent == ""):
		return errors.New("expected one of socket (hostapd's control socket on this machine, as /run/hostapd/wlan0) and agent (host:port of mpa-ar ap-agent beside hostapd on another)")
	case p.Socket != "" && (p.Identity != "" || p.CA != "" || p.Certificate != "" || p.Key != ""):
		return errors.New("identity, ca, certificate and key are for an agent on another machine: leave them out with socket")
	case p.Agent != "" && (p.Identity == "" || p.CA == "" || p.Certificate == "" || p.Key == ""):
		return errors.New("expected with agent: identity (the DNS name in its certificate), ca (who signs agents' certificates), certificate and key (this router's)")
	}
	return nil
}

// credentials are what both ends of the channel to an agent show and trust.
func credentials(ca, certificate, key config.File) (tls.Certificate, *x509.CertPool, error) {
	pair, err := tls.LoadX509KeyPair(certificate.String(), key.String())
	if err != nil {
		return pair, nil, config.At("certificate", err)
	}
	text, err := os.ReadFile(ca.String())
	if err != nil {
		return pair, nil, config.At("ca", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return pair, nil, config.Errorf("ca", "%s has no certificate in PEM form", ca)
	}
	return pair, roots, nil
}

// openPoints begins to look after the access points. One that is not there is looked for from then on.
func openPoints(ctx context.Context, c configuration, log *slog.Logger) (control *apctl.Controller, err error) {
	var opened []apctl.Point
	defer func() {
		if control == nil {
			for _, p := range opened {
				err = errors.Join(err, p.Close())
			}
		}
	}()
	for i, p := range c.Points {
		one, err := p.open(ctx, filepath.Dir(c.Control.String()), log)
		if err != nil {
			return nil, config.At(fmt.Sprintf("access-points[%d]", i), err)
		}
		opened = append(opened, one)
		if s := one.Status(); p.Socket != "" && !s.Up {
			log.Warn("access point not reached yet", "point", s.Name, "err", s.Why)
		}
	}
	return apctl.NewController(opened...)
}

func (p point) open(ctx context.Context, dir string, log *slog.Logger) (apctl.Point, error) {
	if p.Socket != "" {
		return apctl.OpenLocal(ctx, apctl.LocalConfig{Info: p.ID.info(), Socket: p.Socket.String(), Dir: dir, Log: log})
	}
	pair, roots, err := credentials(p.CA, p.Certificate, p.Key)
	if err != nil {
		return nil, err
	}
	return apctl.OpenRemote(apctl.RemoteConfig{
		Info: p.ID.info(), Address: p.Agent, Agent: p.Identity, Certificate: pair, Roots: roots, Log: log,
	})
}
