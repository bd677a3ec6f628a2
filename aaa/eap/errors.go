package eap

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Reasons for which a certificate is refused; a CertificateError wraps one.
var (
	ErrUnknownCA      = errors.New("issuer is not among the trusted CA certificates")
	ErrExpired        = errors.New("certificate has expired")
	ErrNotYetValid    = errors.New("certificate is not valid yet")
	ErrWrongName      = errors.New("certificate is for another name")
	ErrWrongUsage     = errors.New("certificate is not meant for this use")
	ErrBadCertificate = errors.New("certificate is not acceptable")
	ErrNoCertificate  = errors.New("no certificate was sent")
	ErrNotAuthorized  = errors.New("certificate does not authorize this identity")
)

var errFlightTooLong = fmt.Errorf("eap: TLS flight longer than %d octets", maxMessage)

// CertificateError says why this side refused the other side's certificate.
type CertificateError struct {
	Whose   string // "server" or "client"
	Reason  error  // one of the Err values above
	Subject string // of the certificate refused, empty without one
	Detail  string // what was found and what to do
	Err     error  // what crypto/x509 or crypto/tls said

	chain []*x509.Certificate // that were sent, if they can be read
}

// Error implements error in one line.
func (e *CertificateError) Error() string {
	s := "eap: " + e.Whose + " certificate"
	if e.Subject != "" {
		s += " " + e.Subject
	}
	s += " refused: " + e.Reason.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap gives errors.Is both the reason and the cause.
func (e *CertificateError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}

// AlertError is a TLS alert the other side ended the handshake with.
type AlertError struct {
	By   string // "server" or "client"
	Code uint8  // RFC 8446 section 6
}

// Error implements error in one line.
func (e *AlertError) Error() string {
	s := fmt.Sprintf("eap: %s refused by TLS alert %d (%s)", e.By, e.Code, alertText(e.Code))
	ours := "server"
	if e.By == "server" {
		ours = "client"
	}
	switch e.Code {
	case 42, 43, 46:
		s += ": it does not accept our " + ours + " certificate"
	case 44:
		s += ": our " + ours + " certificate was revoked"
	case 45:
		s += ": our " + ours + " certificate has expired; issue a new one"
	case 48:
		s += ": it does not trust the CA that issued our " + ours + " certificate"
	case 40, 70, 71:
		s += ": no TLS version or cipher suite in common; compare min-version and max-version"
	case 116:
		s += ": it wants a client certificate"
	}
	return s
}

func alertText(code uint8) string {
	return strings.TrimPrefix(tls.AlertError(code).Error(), "tls: ")
}

// ProtocolError says how a packet broke EAP or EAP-TLS.
type ProtocolError struct {
	Detail string
}

// Error implements error in one line.
func (e *ProtocolError) Error() string { return "eap: " + e.Detail }

// RejectedError says that the conversation ended with EAP-Failure, or with a
// refusal of the lower layer, without a reason known to this side.
type RejectedError struct {
	Stage string // how far it came
}

// Error implements error in one line.
func (e *RejectedError) Error() string { return "eap: refused by the authentication server " + e.Stage }

// PasswordError says that the server refused a user or the password; which of both it
// does not say.
type PasswordError struct {
	User   string // who authenticates, inside
	Method string // such as "EAP-TTLS/PAP"
	Code   int    // of RFC 2759 section 6; 0: none came
	Text   string // the server's own words, if any
}

// Error implements error in one line.
func (e *PasswordError) Error() string {
	s := fmt.Sprintf("eap: the server refused user %s by %s: ", quoteName(e.User), e.Method)
	switch e.Code {
	case chapErrHours:
		s += "not allowed to log on at this hour"
	case chapErrDisabled:
		s += "the account is disabled"
	case chapErrExpired:
		s += "the password has expired; set a new one there"
	case chapErrDialin:
		s += "the account may not do this"
	case 0, chapErrFailed:
		s += "wrong password, or no such user"
	default:
		s += fmt.Sprintf("error %d of MS-CHAPv2", e.Code)
	}
	if e.Text != "" {
		s += "; it says " + quoteName(e.Text)
	}
	return s
}

// explain types what crypto/tls returned. them is the other side, "server" or "client".
func explain(err error, them string) error {
	var typed *CertificateError
	if errors.As(err, &typed) {
		return typed
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		for code := range 256 {
			if op.Err.Error() == tls.AlertError(code).Error() {
				return &AlertError{By: them, Code: uint8(code)}
			}
		}
	}
	var verify *tls.CertificateVerificationError
	if errors.As(err, &verify) {
		e := &CertificateError{Whose: them, Reason: ErrBadCertificate, Err: verify.Err, Detail: verify.Err.Error(), chain: verify.UnverifiedCertificates}
		var leaf *x509.Certificate
		if len(verify.UnverifiedCertificates) > 0 {
			leaf = verify.UnverifiedCertificates[0]
			e.Subject = quoteName(leaf.Subject.String())
		}
		e.classify(leaf)
		return e
	}
	// crypto/tls has no type for this one.
	if strings.HasSuffix(err.Error(), "client didn't provide a certificate") {
		return &CertificateError{Whose: them, Reason: ErrNoCertificate, Err: err}
	}
	return fmt.Errorf("eap: TLS handshake: %w", err)
}

func (e *CertificateError) classify(leaf *x509.Certificate) {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(e.Err, &host):
		e.Reason = ErrWrongName
		names := "none"
		if leaf != nil && len(leaf.DNSNames) > 0 {
			names = quoteName(strings.Join(leaf.DNSNames, ", "))
		}
		e.Detail = fmt.Sprintf("expected %s, it names %s", quoteName(host.Host), names)
	case errors.As(e.Err, &authority):
		e.Reason = ErrUnknownCA
		e.Detail = ""
		if leaf != nil {
			e.Detail = "issued by " + quoteName(leaf.Issuer.String())
		}
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.Expired:
		e.Reason = ErrExpired
		e.Detail = ""
		cert := invalid.Cert
		if cert == nil {
			cert = leaf
		}
		if cert == nil {
			return
		}
		whose := ""
		if leaf != nil && !cert.Equal(leaf) {
			whose = "that of its CA, " + quoteName(cert.Subject.String()) + ", is "
		}
		e.Detail = whose + "valid until " + stamp(cert.NotAfter)
		if strings.Contains(invalid.Detail, "is before") {
			e.Reason = ErrNotYetValid
			e.Detail = whose + "valid from " + stamp(cert.NotBefore) + "; is the clock right?"
		}
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		e.Reason = ErrWrongUsage
		e.Detail = "its extended key usage lacks " + e.Whose + " authentication"
	}
}

// quoteName makes a name that came from the network printable in one line and bounded.
func quoteName(s string) string {
	const limit = 120
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return fmt.Sprintf("%q", s)
}
