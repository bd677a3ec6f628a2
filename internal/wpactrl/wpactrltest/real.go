package wpactrltest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Process is a real hostapd or wpa_supplicant.
type Process struct {
	t   testing.TB
	cmd *exec.Cmd
	log string
}

// Hostapd starts Debian's hostapd with the configuration, and waits for its control socket.
func Hostapd(t testing.TB, config, socket string) *Process {
	t.Helper()
	return start(t, "hostapd", config, socket)
}

// Supplicant starts Debian's wpa_supplicant with a driver that needs no radio ("none" or "wired") on an interface, and waits
// for its control socket. It belongs to the namespace of the calling thread.
func Supplicant(t testing.TB, driver, iface, config, socket string) *Process {
	t.Helper()
	return start(t, "wpa_supplicant", config, socket, "-D"+driver, "-i"+iface, "-c")
}

// start runs program args... file-with-config.
func start(t testing.TB, program, config, socket string, args ...string) *Process {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if path = filepath.Join("/usr/sbin", program); exec.Command("test", "-x", path).Run() != nil {
			missing(t, program)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &Process{t: t, log: filepath.Join(dir, "log"), cmd: exec.Command(path, append(args, file)...)}
	out, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// No death signal: that is sent when the thread ends that started the process, and tests end theirs.
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	t.Cleanup(p.Kill)
	for deadline := time.Now().Add(30 * time.Second); ; {
		if conn, err := net.Dial("unixgram", socket); err == nil { // the file alone may be of one that was killed
			conn.Close()
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s made no control socket %s:\n%s", program, socket, p.Log())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func missing(t testing.TB, program string) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
		t.Fatalf("%s is not installed: apt-get install hostapd wpasupplicant", program)
	}
	t.Skipf("%s is not installed: apt-get install hostapd wpasupplicant", program)
}

// Log returns what the daemon has printed.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	return string(b)
}

// Pause stops the daemon as if it hung; Resume lets it go on.
func (p *Process) Pause()  { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *Process) Resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// Stop ends the daemon in an orderly way and waits: it removes its socket.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// Kill ends it at once and waits: its socket stays.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// HostapdConfig is the configuration of an access point of WPA-Enterprise with its control sockets in dir. Driver "none" needs
// no interface of that name, and the BSSID is then zero; with "wired" it is the interface's address. There is no RADIUS server.
func HostapdConfig(iface, driver, dir string) string {
	return "interface=" + iface + "\ndriver=" + driver + "\nctrl_interface=" + dir + `
ssid=mpa
wpa=2
wpa_key_mgmt=WPA-EAP WPA-EAP-SHA256
rsn_pairwise=CCMP
ieee8021x=1
own_ip_addr=127.0.0.1
auth_server_addr=127.0.0.1
auth_server_shared_secret=test
logger_syslog=0
`
}

// WiredAuthenticator is the configuration of a hostapd that authenticates WiredPeer by 802.1X over a cable.
func WiredAuthenticator(t testing.TB, iface, dir string) string {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte(`"node" MD5 "secret"`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "interface=" + iface + "\ndriver=wired\nctrl_interface=" + dir + "\nieee8021x=1\neap_server=1\nlogger_syslog=0\neap_user_file=" + users + "\n"
}

// WiredPeer is the configuration of a wpa_supplicant at the other end of that cable.
func WiredPeer(dir string) string {
	return "ctrl_interface=" + dir + `
ap_scan=0
network={
 key_mgmt=IEEE8021X
 eap=MD5
 identity="node"
 password="secret"
 eapol_flags=0
}
`
}
