package server

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// locked runs f while no other process looks at or makes files in the directory.
func (s *State) locked(f func() error) error {
	lock, err := os.OpenFile(filepath.Join(s.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("server: lock the state directory: %w", err)
	}
	defer lock.Close() // and with it the lock
	for {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("server: lock the state directory: %w", err)
	}
	return f()
}

// loadPair reads a certificate and its key; errors.Is(err, fs.ErrNotExist) if the
// certificate or the key is not there.
func loadPair(certPath, keyPath string) (pair tls.Certificate, certPEM []byte, err error) {
	if certPEM, err = os.ReadFile(certPath); err != nil {
		return pair, nil, fmt.Errorf("server: %w", err)
	}
	st, err := os.Stat(keyPath)
	if err != nil {
		return pair, nil, fmt.Errorf("server: %w", err)
	}
	if perm := st.Mode().Perm(); perm&0o077 != 0 {
		return pair, nil, fmt.Errorf("server: %s is open to other users (mode %#o): run chmod 600 %s", keyPath, perm, keyPath)
	}
	keyPEM, err := os.ReadFile(keyPath)
	if err != nil {
		return pair, nil, fmt.Errorf("server: %w", err)
	}
	defer clear(keyPEM)
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return pair, nil, fmt.Errorf("server: %s with %s: %w", certPath, keyPath, err)
	}
	return pair, certPEM, nil
}

// writePair writes the key first: a certificate is never there without one.
func writePair(dir, certName, keyName string, certPEM, keyPEM []byte) error {
	defer clear(keyPEM)
	if err := writeFile(dir, keyName, 0o600, keyPEM); err != nil {
		return err
	}
	return writeFile(dir, certName, 0o644, certPEM)
}

// writeFile makes the file whole or not at all, and replaces one that is there.
func writeFile(dir, name string, mode os.FileMode, content []byte) error {
	tmp, err := os.CreateTemp(dir, "."+name+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("server: write %s: %w", name, err)
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("server: write %s: %w", filepath.Join(dir, name), err)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("server: write %s: %w", name, err)
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil {
		return fmt.Errorf("server: write %s: %w", name, err)
	}
	return nil
}
