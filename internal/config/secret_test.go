package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSecretFile(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"password", "testing123", "testing123"},
		{"password and line end", "testing123\n", "testing123"},
		{"password and DOS line end", "testing123\r\n", "testing123"},
		{"one line end only", "x\n\n", "x\n\n"}, // not one line of text: taken whole
		{"never guessed", "deadbeef", "deadbeef"},
		{"octets keep their last line feed", "\x00\x01\n", "\x00\x01\n"},
		{"not UTF-8", "\xff\xfe\n", "\xff\xfe\n"},
		{"hex", "hex:00 01\nfe ff\n", "\x00\x01\xfe\xff"},
		{"hex, upper case", "hex:AB", "\xab"},
		{"base64", "base64:AAH+\n/w==\n", "\x00\x01\xfe\xff"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := secretFile(t, tc.text, 0o600).Load()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Clear()
			if !bytes.Equal(s.Bytes(), []byte(tc.want)) {
				t.Errorf("got %q, want %q", s.Bytes(), tc.want)
			}
		})
	}
}

func TestSecretFileRefused(t *testing.T) {
	const content = "do-not-quote-me"
	for _, tc := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"readable by all", content, 0o644, "run chmod 600 "},
		{"writable by all", content, 0o602, "run chmod 600 "},
		{"empty", "", 0o600, "holds no secret"},
		{"one line end", "\n", 0o600, "holds no secret"},
		{"empty hex", "hex:\n", 0o600, "holds no secret"},
		{"odd hex", "hex:0", 0o600, "not hexadecimal"},
		{"bad hex", "hex:" + content, 0o600, "not hexadecimal"},
		{"bad base64", "base64:" + content, 0o600, "not standard base64"},
		{"unpadded base64", "base64:AAE", 0o600, "not standard base64"},
		{"too large", strings.Repeat("x", maxSecret+1), 0o600, "larger than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := secretFile(t, tc.text, tc.mode).Load()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), content) {
				t.Errorf("the error quotes the secret: %v", err)
			}
		})
	}
}

func TestSecretFileForTheGroup(t *testing.T) {
	if _, err := secretFile(t, "x", 0o640).Load(); err != nil {
		t.Error(err)
	}
}

func TestSecretFileOfAnotherKind(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, fifo} {
		if _, err := SecretFile(name).Load(); err == nil || !strings.Contains(err.Error(), "expected a regular file") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := SecretFile("").Load(); err == nil {
		t.Error("no file name: no error")
	}
	if _, err := SecretFile(filepath.Join(dir, "none")).Load(); err == nil {
		t.Error("no file: no error")
	}
}

func secretFile(t *testing.T, text string, mode os.FileMode) SecretFile {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return SecretFile(name)
}
