package scenario

import (
	"reflect"
	"testing"
)

const detail = `Sun Nov 22 15:00:00 2026
	Acct-Session-Id = "s1"
	Acct-Status-Type = Start
	User-Name = "mn@home.example"
	Timestamp = 1795359600

Sun Nov 22 15:00:01 2026
	Acct-Status-Type = Interim-Update
	Acct-Session-Id = "s1"

Sun Nov 22 15:00:02 2026
	Acct-Session-Id = "s2"
	Acct-Status-Type = Start

Sun Nov 22 15:00:03 2026
	Acct-Session-Id = "s2"
	Acct-Status-Type = Start

Sun Nov 22 15:00:04 2026
	Acct-Session-Id = "s1"
	Acct-Status-Type = Stop

`

func TestDetail(t *testing.T) {
	books := map[string]booked{}
	unfinished := "Sun Nov 22 15:00:05 2026\n\tAcct-Session-Id = \"s2\"\n\tAcct-Status-Type = Stop\n"
	if err := parseDetail([]byte(detail+unfinished), books); err != nil {
		t.Fatal(err)
	}
	if want := (map[string]booked{"s1": {1, 1}, "s2": {2, 0}}); !reflect.DeepEqual(books, want) {
		t.Errorf("%+v, expected %+v", books, want)
	}
	if err := parseDetail([]byte("\tAcct-Status-Type = Stop\n\n"), books); err == nil {
		t.Error("a record of no session")
	}
}

func TestOurBooks(t *testing.T) {
	books := map[string]booked{}
	text := `{"kind":"start","number":0,"session":"s1"}
{"kind":"interim","number":1,"session":"s1"}
{"kind":"stop","number":2,"session":"s1"}
{"kind":"start","number":0,"ses`
	if err := parseBooks([]byte(text), books); err != nil {
		t.Fatal(err)
	}
	if want := (map[string]booked{"s1": {1, 1}}); !reflect.DeepEqual(books, want) {
		t.Errorf("%+v, expected %+v", books, want)
	}
	for _, bad := range []string{"{}\n", "nothing\n"} {
		if err := parseBooks([]byte(bad), books); err == nil {
			t.Errorf("%q is a record", bad)
		}
	}
}

func TestBooksOfSessions(t *testing.T) {
	got := flaws(map[string]booked{"good": {1, 1}, "twice": {2, 1}, "lost": {1, 0}, "never": {0, 1}})
	if len(got) != 3 {
		t.Errorf("%q", got)
	}
	if got = flaws(map[string]booked{"good": {1, 1}}); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
