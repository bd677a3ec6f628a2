package server

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"openmpa/aaa/eap"
)

// methodTypes are the types of Methods.
var methodTypes = map[string]eap.Type{"tls": eap.TypeTLS, "ttls": eap.TypeTTLS, "peap": eap.TypePEAP}

func methodName(t eap.Type) string {
	for name, kind := range methodTypes {
		if kind == t {
			return name
		}
	}
	return t.String()
}

// method is the configuration for a node that calls itself by that name: the methods in
// the order in which it is likely to want them.
func (s *Server) method(identity string) eap.ServerConfig {
	cfg := s.cfg.TLS
	cfg.Methods = s.methods(identity)
	cfg.Sessions = s.resumable
	cfg.Accounts = func(kind eap.Type, user string) (eap.Account, error) { return s.account(identity, kind, user) }
	cfg.Authorize = func(cert *x509.Certificate) error { return s.authorize(identity, eap.Identities(cert)) }
	return cfg
}

// methods are those of the server, or if it knows the user those of them that it may
// use: first what takes a password, where it has one.
func (s *Server) methods(identity string) []eap.Type {
	var out []eap.Type
	u, known := s.cfg.Users.Find(identity)
	for _, name := range s.cfg.Methods {
		if !known || u.Blocked || u.allows(name) {
			out = append(out, methodTypes[name])
		}
	}
	if known && u.Password != "" {
		if i := slices.Index(out, eap.TypeTLS); i >= 0 {
			out = append(slices.Delete(out, i, i+1), eap.TypeTLS)
		}
	}
	if len(out) == 0 { // it will be told by one of them
		return []eap.Type{methodTypes[s.cfg.Methods[0]]}
	}
	return out
}

// find is the user of that name, or of that name in the realm that the node has said
// outside of the tunnel.
func (s *Server) find(outer, user string) (User, bool) {
	u, ok := s.cfg.Users.Find(user)
	if _, realm, has := strings.Cut(outer, "@"); !ok && has && !strings.Contains(user, "@") {
		u, ok = s.cfg.Users.Find(user + "@" + realm)
	}
	return u, ok
}

// account finds who has a password.
func (s *Server) account(outer string, kind eap.Type, user string) (eap.Account, error) {
	u, ok := s.find(outer, user)
	switch {
	case !ok:
		return eap.Account{}, errors.New("there is no such user")
	case u.Blocked:
		return eap.Account{}, errBlocked
	case !u.allows(methodName(kind)):
		return eap.Account{}, fmt.Errorf("it may not use %v", kind)
	case u.Password == "":
		return eap.Account{}, errors.New("it has no password here")
	}
	a := u.Password.account()
	a.Name, a.Version = u.Name, u.Password.version()
	return a, nil
}

var errBlocked = errors.New("it is blocked in the file of users")

// authorize checks the identity the peer gave against the names of its certificate, and
// whether one of them is blocked.
func (s *Server) authorize(claimed string, names []string) error {
	if err := authorize(claimed, names); err != nil {
		return err
	}
	for _, name := range names {
		switch u, ok := s.cfg.Users.Find(name); {
		case ok && u.Blocked:
			return fmt.Errorf("%s: %w", name, errBlocked)
		case ok && !u.allows("tls"):
			return fmt.Errorf("%s may not use EAP-TLS", name)
		}
	}
	return nil
}

// authorize checks the identity the peer gave against the names of its certificate:
// one of them, or none but the realm of one (RFC 9190 section 2.1.8).
func authorize(claimed string, names []string) error {
	user, realm, _ := strings.Cut(claimed, "@")
	for _, name := range names {
		u, r, _ := strings.Cut(name, "@")
		if strings.EqualFold(r, realm) && (u == user || realm != "" && (user == "" || user == "anonymous")) {
			return nil
		}
	}
	if len(names) == 0 {
		return errors.New("it names nobody")
	}
	list := slices.Clone(names[:min(len(names), 3)])
	return fmt.Errorf("the peer says it is %q, its certificate is for %q", claimed, strings.Join(list, ", "))
}
