package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"openmpa/internal/config"
	"openmpa/tunnel/flow"
)

// TestClasses: those of the example, without their comment signs.
func TestClasses(t *testing.T) {
	begin, end := strings.Index(example, "#classes:"), strings.Index(example, "# 802.11")
	text := strings.ReplaceAll(example[begin:end], "\n#", "\n")[1:]
	c, err := config.Parse[configuration]("ar.yaml", []byte(example[:begin]+text+example[end:]))
	if err != nil {
		t.Fatal(err)
	}
	want := []flow.Class{
		{Name: "voice", DSCP: []uint8{46}, Handling: flow.HandleBicast, Limits: flow.Limits{MaxAge: 200 * time.Millisecond}},
		{Name: "scavenger", DSCP: []uint8{8}, Handling: flow.HandlePass},
		{Name: "rest"},
	}
	if got := c.classes(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, expected %+v", got, want)
	}
	for name, edit := range map[string][2]string{
		"expected hold":  {"handling: pass", "handling: keep"},
		"0 to 63":        {"[46]", "[64]"},
		"no other class": {"name: scavenger", "name: voice"},
		"takes the rest": {"name: rest,", "name: rest, dscp: [1],"},
		"belongs to":     {"[8]", "[46]"},
		"has no DSCP":    {"dscp: [8], ", ""},
		"unknown key":    {"dscp: [8]", "colour: blue"},
	} {
		if !strings.Contains(text, edit[0]) {
			t.Fatalf("the example has no %q", edit[0])
		}
		bad := example[:begin] + strings.Replace(text, edit[0], edit[1], 1) + example[end:]
		if _, err := config.Parse[configuration]("ar.yaml", []byte(bad)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
