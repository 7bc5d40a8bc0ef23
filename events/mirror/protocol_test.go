package mirror

import (
	"strings"
	"testing"
)

func TestProtocolsAreThoseThatHavePorts(t *testing.T) {
	for said, want := range map[string]string{
		"": "tcp", "tcp": "tcp", "udp": "udp", "udp,tcp": "tcp udp", "TCP, tcp": "tcp",
		"http": "tcp", "HTTPS": "tcp", "http,udp": "tcp udp", "sctp": "", "icmp,udp": "udp", "x": "",
	} {
		if got := strings.Join(Protocols(said), " "); got != want {
			t.Errorf("%q is %q, want %q", said, got, want)
		}
	}
	if got := strings.Join(Protocols(), " "); got != "tcp" {
		t.Errorf("of no list %q", got)
	}
	if got := strings.Join(Protocols("udp", "http"), " "); got != "tcp udp" {
		t.Errorf("of a list %q", got)
	}
}
