// Package freeport finds ports on loopback for servers of tests that are stopped
// and started again on them.
//
// A port that the kernel itself chose is one of those that it also gives to
// outgoing connections: another process gets it sooner or later, while the server
// is down or before it was up. These are others.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

// lowest is above the ports on which services usually listen.
const lowest = 10_000

var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Address is one on 127.0.0.1 that was free a moment ago, and that this process
// was not given before.
func Address() (string, error) {
	end, err := ephemeral()
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	mu.Lock()
	defer mu.Unlock()
	for range 1000 {
		port := lowest + rand.IntN(end-lowest) //nolint:gosec // not for secrets
		if given[port] {
			continue
		}
		given[port] = true
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		return l.Addr().String(), l.Close()
	}
	return "", errors.New("finding a free port: none is")
}

// ephemeral is the first of the ports that the kernel gives to connections.
func ephemeral() (int, error) {
	const file = "/proc/sys/net/ipv4/ip_local_port_range"
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var first int
	if _, err := fmt.Sscan(string(text), &first); err != nil {
		return 0, fmt.Errorf("reading %s: %w", file, err)
	}
	if first < lowest+1000 {
		return 0, fmt.Errorf("%s begins with %d: no ports are left before it", file, first)
	}
	return first, nil
}
