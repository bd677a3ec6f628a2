package main

import (
	"strings"
	"testing"

	"openmpa/internal/config"
	"openmpa/paa/keys"
)

// pointsExample is the part of the example that is commented out.
func pointsExample(t *testing.T) string {
	t.Helper()
	_, text, ok := strings.Cut(example, "#access-points:\n")
	if !ok {
		t.Fatal("the example has no access points")
	}
	return strings.Replace(example, "#access-points:\n"+text, "access-points:\n"+strings.ReplaceAll("\n"+text, "\n#", "\n")[1:], 1)
}

func TestPoints(t *testing.T) {
	c, err := config.Parse[configuration]("ar.yaml", []byte(pointsExample(t)))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Points) != 2 || c.Points[0].Socket != "/run/hostapd/wlan0" || c.Points[1].Agent != "10.2.0.5:7160" {
		t.Fatalf("%+v", c.Points)
	}
	if i := c.Points[1].ID.info(); i.Name != "poa-a2" || i.BSSID.String() != "02:00:00:00:01:01" || i.AKM != keys.AKM8021X {
		t.Errorf("%+v", i)
	}
}

func TestPointMistakes(t *testing.T) {
	good := pointsExample(t)
	for name, edit := range map[string][2]string{
		"name: missing":             {"name: poa-a1, ", ""},
		"bssid: expected":           {"bssid: \"02:00:00:00:01:00\", ", ""},
		"expected an address like":  {"02:00:00:00:01:00", "02:00:00"},
		"expected the access point": {"02:00:00:00:01:00", "ff:ff:ff:ff:ff:ff"},
		"expected WPA-EAP":          {"akm: WPA-EAP", "akm: SAE"},
		"expected one of socket":    {", socket: /run/hostapd/wlan0", ""},
		"expected one of socket ":   {"agent: \"10.2.0.5:7160\"", "agent: \"10.2.0.5:7160\", socket: /run/hostapd/wlan1"},
		"leave them out":            {"socket: /run/hostapd/wlan0", "socket: /run/hostapd/wlan0, key: ar.key"},
		"expected with agent":       {"identity: ap2.a.example,", ""},
		"same name or BSSID":        {"poa-a2", "poa-a1"},
		"another one has":           {"02:00:00:00:01:01", "02:00:00:00:01:00"},
	} {
		text := strings.Replace(good, edit[0], edit[1], 1)
		if text == good {
			t.Fatalf("%s: the example does not contain %q", name, edit[0])
		}
		_, err := config.Parse[configuration]("ar.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(name)) || !strings.Contains(err.Error(), "ar.yaml:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAgentExample(t *testing.T) {
	c, err := config.Parse[agentConfiguration]("ap-agent.yaml", []byte(agentExample))
	if err != nil || len(c.Points) != 1 || c.Points[0].ID.info().AKM != keys.AKM8021X {
		t.Fatalf("%+v, %v", c, err)
	}
	for name, edit := range map[string][2]string{
		"control: missing":       {"control: /run/openmpa/ap-agent.sock", "control: ''"},
		"listen: missing":        {"listen: 10.2.0.5:7160                # TCP, for the router\n", ""},
		"expected ca":            {"ca: ca.pem", "ca: ''"},
		"routers: missing":       {"[ar.a.example]", "[]"},
		"hold":                   {"hold: 1m", "hold: -1m"},
		"socket: missing":        {", socket: /run/hostapd/wlan0", ""},
		"access-points: missing": {agentExample[strings.Index(agentExample, "access-points:"):], "access-points: []\n"},
	} {
		text := strings.Replace(agentExample, edit[0], edit[1], 1)
		if text == agentExample {
			t.Fatalf("%s: the example does not contain %q", name, edit[0])
		}
		_, err := config.Parse[agentConfiguration]("ap-agent.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
