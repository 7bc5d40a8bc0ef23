package agent_test

import (
	"net"
	"testing"

	"github.com/taskwall/taskwall/agent/internal/netlab"
)

// answers listens for datagrams at an address of a namespace until the test
// ends, and answers each with what says returns of it and its sender; "" is no
// answer.
func answers(t *testing.T, n *netlab.Namespace, addr string, says func(said string, from net.IP) string) {
	t.Helper()
	n.Do(func() error {
		pc, err := net.ListenPacket("udp4", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { pc.Close() })
		go func() {
			b := make([]byte, 100)
			for {
				n, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				if answer := says(string(b[:n]), from.(*net.UDPAddr).IP); answer != "" {
					pc.WriteTo([]byte(answer), from) //nolint:errcheck // its sender sees that
				}
			}
		}()
		return nil
	})
}
