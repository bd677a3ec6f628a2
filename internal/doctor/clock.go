package doctor

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// soon is when the end of a certificate is worth a warning.
const soon = 14 * 24 * time.Hour

const clockRemedy = "run: timedatectl set-ntp true   or set up chrony; date says what the clock is now"

// clock asks the kernel whether somebody keeps its clock right.
func (p *patient) clock() {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return // a kernel that does not tell is no finding
	}
	if t.Status&unix.STA_UNSYNC != 0 {
		p.warn("clock", "nothing keeps this clock right: certificates and registrations depend on it (7 s by default)", clockRemedy)
		return
	}
	p.ok("clock", "the clock is kept right")
}

// certificates compares those of a node with the clock.
func (p *patient) certificates() {
	if p.c.EAP.Certificate != "" { // a node with a password needs none
		p.certificate("the node's certificate", p.c.EAP.Certificate.String(), "get a new one: mpa-aaa cert issue")
	}
	p.certificate("the authority's certificate", p.c.EAP.CA.String(), "get the present ca.pem of the AAA server")
}

// authority compares what mpa-aaa has with the clock. It makes both at its start.
func (p *patient) authority() {
	dir := p.c.State.String()
	for what, file := range map[string]string{"the authority's certificate": "ca.pem", "the server's certificate": "server.pem"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			p.certificate(what, filepath.Join(dir, file), "restart mpa-aaa: it renews what it can, and says what not")
		}
	}
}

func (p *patient) certificate(what, file, renew string) {
	c, err := readCertificate(file)
	now := p.Now()
	switch {
	case err != nil:
		p.fail("certificate", fmt.Sprintf("%s: %v", what, err), renew)
	case now.Before(c.NotBefore):
		p.fail("certificate", fmt.Sprintf("%s is valid from %s, and the clock says %s: it is slow, or that of the issuer was fast", what, stamp(c.NotBefore), stamp(now)), clockRemedy)
	case now.After(c.NotAfter):
		p.fail("certificate", fmt.Sprintf("%s was valid until %s, and the clock says %s", what, stamp(c.NotAfter), stamp(now)), renew+"; if the date is wrong, "+clockRemedy)
	case c.NotAfter.Sub(now) < soon:
		p.warn("certificate", fmt.Sprintf("%s is valid until %s only", what, stamp(c.NotAfter)), renew)
	default:
		p.ok("certificate", fmt.Sprintf("%s is valid until %s", what, stamp(c.NotAfter)))
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func readCertificate(file string) (*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New(file + " holds no certificate in PEM form")
	}
	return x509.ParseCertificate(block.Bytes)
}
