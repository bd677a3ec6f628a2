//go:build panakeylog

// This file is for debugging: with it, whoever reads the key file reads all that the
// nodes and routers of this build say to one another.

package keys

import (
	"fmt"
	"os"
	"sync"
)

// KeyLogFile is the environment variable that names the key file; without it nothing is written.
const KeyLogFile = "PANAKEYLOGFILE"

// keyLog is the file, opened with the first key; it stays open until the process ends.
var keyLog = sync.OnceValues(func() (*os.File, error) {
	name := os.Getenv(KeyLogFile)
	if name == "" {
		return nil, nil
	}
	return os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
})

// Export writes a key of the session sid to the key file, a line that docs/pana.lua reads:
//
//	LABEL session-identifier key-id key    all in hexadecimal
func Export(label KeyLog, sid, keyID uint32, key *Secret) {
	f, err := keyLog()
	if err == nil && f != nil {
		_, err = fmt.Fprintf(f, "%s %08x %08x %x\n", label, sid, keyID, key.Bytes())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "keys: key file: %v\n", err)
	}
}

// export writes the keys under which messages are sealed.
func (k *SessionKeys) export() {
	for _, of := range []struct {
		label KeyLog
		key   *Secret
		dir   Direction
	}{
		{LogCAToRouter, k.MNCA, ToRouter},
		{LogCAToNode, k.MNCA, ToNode},
		{LogARToRouter, k.MNAR, ToRouter},
		{LogARToNode, k.MNAR, ToNode},
	} {
		s := NewSecret(sealKey(of.key, of.dir))
		Export(of.label, k.sid, k.keyID, s)
		s.Clear()
	}
}
