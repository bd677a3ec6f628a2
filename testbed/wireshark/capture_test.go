package wireshark

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const script = "../../docs/pana.lua"

// tshark dissects a capture and returns what it prints, a line each. It fails at any
// error of the script.
func tshark(t *testing.T, capture string, args ...string) []string {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is missing: apt-get install --no-install-recommends tshark")
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-X", "lua_script:" + script, "-r", capture}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // nobody's settings
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("tshark: %v\n%s", err, errs.String())
	}
	for line := range strings.Lines(out.String() + errs.String()) {
		if strings.Contains(line, "Lua Error") || strings.Contains(line, "Lua:") {
			t.Fatalf("the script failed: %s", line)
		}
	}
	return strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
}

// columns has tshark print fields of each PANA message.
func columns(t *testing.T, capture string, fields []string, options ...string) [][]string {
	t.Helper()
	args := append([]string{"-Y", "mpana", "-T", "fields", "-E", "separator=|", "-E", "aggregator= "}, options...)
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var rows [][]string
	for _, line := range tshark(t, capture, args...) {
		rows = append(rows, strings.Split(line, "|"))
	}
	return rows
}

// datagram is one PANA message on its way.
type datagram struct {
	from, to netip.AddrPort
	data     []byte
}

var (
	node   = netip.MustParseAddrPort("10.1.0.100:40000")
	router = netip.MustParseAddrPort("10.2.0.1:716")
)

// write makes a capture of datagrams in IPv4, checksums zero.
func write(t *testing.T, list []datagram) string {
	t.Helper()
	var packets [][]byte
	for _, d := range list {
		b := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(28+len(d.data)))
		b = append(b, 0, 0, 0, 0, 64, 17, 0, 0)
		for _, a := range []netip.Addr{d.from.Addr(), d.to.Addr()} {
			ip := a.As4()
			b = append(b, ip[:]...)
		}
		b = binary.BigEndian.AppendUint16(b, d.from.Port())
		b = binary.BigEndian.AppendUint16(b, d.to.Port())
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(d.data)))
		b = append(b, 0, 0)
		packets = append(packets, append(b, d.data...))
	}
	return writePackets(t, packets)
}

// writePackets makes a capture of IP packets (LINKTYPE_RAW), a second apart.
func writePackets(t *testing.T, packets [][]byte) string {
	t.Helper()
	le := binary.LittleEndian
	var b []byte
	for _, v := range []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, 65535, 101} {
		b = le.AppendUint32(b, v)
	}
	at := time.Unix(1_700_000_000, 0)
	for i, p := range packets {
		b = le.AppendUint32(b, uint32(at.Unix())+uint32(i))
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, uint32(len(p)))
		b = le.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	name := filepath.Join(t.TempDir(), "capture.pcap")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
