package freeport

import (
	"net"
	"testing"
)

func TestAddress(t *testing.T) {
	end, err := ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for range 50 {
		addr, err := Address()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close() //nolint:errcheck // it never accepted anything
		if seen[port] || port >= end {
			t.Errorf("port %d: given before %v, the kernel's begin at %d", port, seen[port], end)
		}
		seen[port] = true
	}
}
