package bus

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"pgregory.net/rapid"
)

func TestTokenNamesHosts(t *testing.T) {
	for host, want := range map[string]string{
		"node-1":             "node-1",
		"node-1.example.com": "node-1_2eexample_2ecom",
		"a_b":                "a_5fb",
		"10.0.0.1":           "10_2e0_2e0_2e1",
		">":                  "_3e",
		"*":                  "_2a",
		"höst":               "h_c3_b6st",
	} {
		if got := Token(host); got != want {
			t.Errorf("Token(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := string(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "host"))
		subject := WorkSubject(host)
		if !server.IsValidLiteralSubject(subject) {
			t.Fatalf("%q is not a literal subject", subject)
		}
		for _, s := range []string{subject, LiveSubject(host), CatchupSubject(host), ReportsSubject(host)} {
			if got, err := HostOf(s); err != nil || got != host {
				t.Fatalf("HostOf(%q) = %q, %v; want %q", s, got, err, host)
			}
		}
	})
}

// A host has one token only: what Token never writes is refused, or a host
// could report under two subjects.
func TestHostNameRefusesOtherSpellings(t *testing.T) {
	for _, token := range []string{"", "a_", "a_2", "a_2E", "a_61", "a_2d", "a.b", "a b", "_zz", "ä"} {
		if host, err := HostName(token); err == nil {
			t.Errorf("HostName(%q) = %q, want an error", token, host)
		}
	}
	for _, subject := range []string{"WORK.", "WORKFENCE", "taskwall.events", "", "REPORTS.a.b"} {
		if host, err := HostOf(subject); err == nil {
			t.Errorf("HostOf(%q) = %q, want an error", subject, host)
		}
	}
}
