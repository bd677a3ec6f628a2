package main

import (
	"crypto/tls"
	"fmt"
	"time"

	"openmpa/aaa/server"
	"openmpa/internal/config"
)

// configuration is the file's form; example is a complete one.
type configuration struct {
	Node       string          `yaml:"node"`
	Control    config.Path     `yaml:"control"`
	Records    config.Records  `yaml:"records"`
	Listen     config.AddrPort `yaml:"listen"`
	State      config.Path     `yaml:"state"`
	ServerName string          `yaml:"server-name"`
	Clients    []client        `yaml:"clients"`
	TLS        struct {
		Min version `yaml:"min-version"`
		Max version `yaml:"max-version"`
	} `yaml:"tls"`
	SessionTimeout config.Duration `yaml:"session-timeout"`
	Sessions       int             `yaml:"sessions"`
	Diameter       *diameterFront  `yaml:"diameter"`
}

type client struct {
	Prefix     config.Prefix     `yaml:"prefix"`
	SecretFile config.SecretFile `yaml:"secret-file"`
}

const example = `node: aaa                            # name in events and reports
control: /run/openmpa/aaa.sock
records: 8192                        # of the timeline, the last ones
listen: 10.0.5.1:1812                # RADIUS authentication, UDP
state: /var/lib/openmpa/aaa          # certificate authority and server certificate, made on first start
server-name: aaa.home.example        # what nodes check the server's certificate by
clients: [{prefix: 10.0.0.0/8, secret-file: radius.secret}]   # access routers; the longest prefix counts
tls: {min-version: "1.2", max-version: "1.3"}
session-timeout: 1h                  # after which a node has to authenticate again
sessions: 1024                       # authentications under way at once
` + diameterExample

// version is a TLS version in the file.
type version uint16

// number is the version as crypto/tls has it; 0 where the file says none.
func (v version) number() uint16 { return uint16(v) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *version) UnmarshalText(text []byte) error {
	switch string(text) {
	case "1.2":
		*v = tls.VersionTLS12
	case "1.3":
		*v = tls.VersionTLS13
	default:
		return fmt.Errorf("%q is no TLS version we speak: expected \"1.2\" or \"1.3\"", text)
	}
	return nil
}

// radius says whether routers may ask by RADIUS.
func (c configuration) radius() bool { return c.Listen.IsValid() || len(c.Clients) > 0 }

// withDefaults fills in what the file leaves out.
func (c configuration) withDefaults() configuration {
	config.Default(&c.TLS.Min, tls.VersionTLS12)
	config.Default(&c.TLS.Max, tls.VersionTLS13)
	config.Default(&c.SessionTimeout, config.Duration(time.Hour))
	config.Default(&c.Sessions, 1024)
	return c
}

// Check implements the hook of config.Load.
func (c configuration) Check() error {
	full := c.withDefaults()
	switch {
	case c.Node == "":
		return config.Errorf("node", "missing: a name for this server")
	case c.Control == "":
		return config.Errorf("control", "missing: where to make the control socket")
	case !c.radius() && c.Diameter == nil:
		return config.Errorf("listen", "missing, and so is diameter: expected one of them, or nobody could ask")
	case c.radius() && (!c.Listen.IsValid() || c.Listen.Port() == 0):
		return config.Errorf("listen", "expected an address and port such as 10.0.5.1:1812")
	case c.State == "":
		return config.Errorf("state", "missing: the directory of the certificates")
	case c.ServerName == "":
		return config.Errorf("server-name", "missing: the DNS name nodes check the server by")
	case c.radius() && len(c.Clients) == 0:
		return config.Errorf("clients", "missing: at least one prefix of access routers, with its secret")
	case full.TLS.Min > full.TLS.Max:
		return config.Errorf("tls", "min-version is above max-version")
	case c.Sessions < 0:
		return config.Errorf("sessions", "expected a positive number")
	}
	for i, cl := range c.Clients {
		if !cl.Prefix.IsValid() || cl.SecretFile == "" {
			return config.Errorf(fmt.Sprintf("clients[%d]", i), "expected prefix and secret-file")
		}
	}
	return nil
}

// clients loads the secrets.
func (c configuration) clients() ([]server.Client, error) {
	var out []server.Client
	for i, cl := range c.Clients {
		secret, err := cl.SecretFile.Load()
		if err != nil {
			return nil, config.At(fmt.Sprintf("clients[%d].secret-file", i), err)
		}
		out = append(out, server.Client{Prefix: cl.Prefix, Secret: secret})
	}
	return out, nil
}
