package keys

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"
)

// material for the redaction tests, and every form in which it must not appear.
const leak = "hunter2-hunter2-hunter2"

func leaks(text string) bool {
	for _, form := range []string{
		leak, fmt.Sprintf("%x", leak), fmt.Sprintf("%X", leak), fmt.Sprintf("% x", leak),
		strings.Trim(fmt.Sprint([]byte(leak)), "[]"), fmt.Sprintf("%#v", []byte(leak))[7:40], "aHVudGVyMi1odW50ZXIyLWh1bnRlcjI",
	} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func TestLeaksSeesEveryForm(t *testing.T) {
	for _, form := range []string{"%s", "%x", "%X", "% x", "%q", "%v", "%d", "%#v"} {
		if text := fmt.Sprintf(form, []byte(leak)); !leaks(text) {
			t.Errorf("%s of the octets is not recognised: %s", form, text)
		}
	}
	text, err := json.Marshal([]byte(leak))
	if err != nil || !leaks(string(text)) {
		t.Errorf("JSON of the octets is not recognised: %s, %v", text, err)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	s := NewSecret([]byte(leak))
	type exported struct {
		Key   *Secret
		Value Secret
		Map   map[string]*Secret
		List  []*Secret
	}
	type hidden struct {
		key   *Secret
		value Secret
		list  []Secret
	}
	values := map[string]any{
		"pointer": s, "value": *s, "slice": []*Secret{s}, "values": []Secret{*s},
		"exported":  exported{s, *s, map[string]*Secret{"k": s}, []*Secret{s}},
		"&exported": &exported{Key: s, Value: *s}, "hidden": hidden{s, *s, []Secret{*s}}, "&hidden": &hidden{key: s, value: *s},
		"session": &SessionKeys{MNCA: s, MNAR: s}, "esp": ESPKeys{s, s}, "any": []any{s, *s},
	}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "% x", "%#x", "%q", "%#q", "%d", "%o", "%b", "%c", "%U", "%p", "%t", "%e", "%10.3s"} {
			if text := fmt.Sprintf(verb, v); leaks(text) {
				t.Errorf("%s by %s: %s", name, verb, text)
			}
		}
		text, err := json.Marshal(v)
		if err != nil || leaks(string(text)) {
			t.Errorf("%s by JSON: %s, %v", name, text, err)
		}
		for kind, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var out bytes.Buffer
			slog.New(handler(&out)).With("with", v).Info("m", "key", v, slog.Group("g", "inner", v))
			if leaks(out.String()) {
				t.Errorf("%s by slog %s: %s", name, kind, out.String())
			}
		}
	}
}

func TestSecretPrintsRedacted(t *testing.T) {
	s := NewSecret([]byte(leak))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		for _, v := range []any{s, *s} {
			if got := fmt.Sprintf(verb, v); got != "[redacted]" {
				t.Errorf("%s of %T: want [redacted], got %s", verb, v, got)
			}
		}
	}
	if s.String() != "[redacted]" || s.GoString() != "[redacted]" {
		t.Errorf("String and GoString: got %s and %s", s.String(), s.GoString())
	}
	if text, err := json.Marshal(map[string]*Secret{"k": s}); err != nil || string(text) != `{"k":"[redacted]"}` {
		t.Errorf("JSON: got %s, %v", text, err)
	}
	if y, err := s.MarshalYAML(); err != nil || y != "[redacted]" {
		t.Errorf("YAML: got %v, %v", y, err)
	}
	if text, err := s.MarshalText(); err != nil || string(text) != "[redacted]" {
		t.Errorf("text: got %s, %v", text, err)
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "key", s)
	if !strings.Contains(out.String(), "[redacted]") {
		t.Errorf("slog: got %s", out.String())
	}
}

func TestNilSecret(t *testing.T) {
	var s *Secret
	s.Clear()
	if s.Len() != 0 || s.Bytes() != nil || !s.Equal(NewSecret(nil)) || s.Clone().Len() != 0 {
		t.Error("a nil secret is not empty")
	}
	if got := fmt.Sprintf("%v %s", s, s); got != "<nil> <nil>" {
		t.Errorf("nil prints as %s", got)
	}
}

func TestNewSecretTakesTheOctets(t *testing.T) {
	in := []byte("0123456789")
	s := NewSecret(in)
	if !bytes.Equal(in, make([]byte, 10)) {
		t.Errorf("the caller's copy is not wiped: %q", in)
	}
	if string(s.Bytes()) != "0123456789" || s.Len() != 10 {
		t.Errorf("got %q, %d", s.Bytes(), s.Len())
	}
}

func TestClear(t *testing.T) {
	s := NewSecret([]byte("0123456789"))
	b := s.Bytes()
	c := s.Clone()
	s.Clear()
	s.Clear()
	if !bytes.Equal(b, make([]byte, 10)) || s.Len() != 0 || s.Bytes() != nil {
		t.Errorf("after Clear: %q, %d", b, s.Len())
	}
	if string(c.Bytes()) != "0123456789" {
		t.Errorf("the clone went too: %q", c.Bytes())
	}
}

func TestEqual(t *testing.T) {
	a, b, c := NewSecret([]byte("same")), NewSecret([]byte("same")), NewSecret([]byte("sane"))
	if !a.Equal(b) || a.Equal(c) || a.Equal(NewSecret([]byte("sam"))) || a.Equal(nil) {
		t.Error("Equal is wrong")
	}
}

// waitFor collects garbage until done, and fails after some seconds without.
func waitFor(t *testing.T, what string, done <-chan []byte) []byte {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		runtime.GC()
		select {
		case b := <-done:
			return b
		case <-limit:
			t.Fatalf("%s never happened", what)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestCollectorClears(t *testing.T) {
	done := make(chan []byte, 1)
	marker := []byte("collect me, I am a secret key")
	size := max(len(marker), minBlock)
	hook := func(block []byte) {
		if len(block) == size {
			select {
			case done <- bytes.Clone(block):
			default:
			}
		}
	}
	onFinalClear.Store(&hook)
	t.Cleanup(func() { onFinalClear.Store(nil) })
	func() {
		s := NewSecret(bytes.Clone(marker))
		if s.Len() != len(marker) {
			t.Fatal("not stored")
		}
	}()
	if block := waitFor(t, "clearing", done); !bytes.Equal(block, make([]byte, size)) {
		t.Errorf("not cleared: %q", block)
	}
}

// The trap this type avoids: key := NewSecret(x).Bytes() must stay valid although
// the Secret itself is garbage.
func TestBytesStayValidWithoutTheSecret(t *testing.T) {
	b := NewSecret([]byte("still in use by a cipher's key schedule")).Bytes()
	want := bytes.Clone(b)
	for range 5 {
		runtime.GC()
		time.Sleep(time.Millisecond) // lets finalizers run; nothing is asserted about time
	}
	if !bytes.Equal(b, want) {
		t.Errorf("cleared while in use: %q", b)
	}
}
