package conntrack

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conn talks to the connection tracking of the network namespace in which it
// was dialled. It may be used by several goroutines; their calls take turns.
type Conn struct {
	mu sync.Mutex
	nl *netlink.Conn
}

// Dial opens a connection in the calling thread's network namespace.
func Dial() (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket for connection tracking: %w", err)
	}
	if err := nl.SetReadBuffer(4 << 20); err != nil { // for a dump of a large table
		nl.Close()
		return nil, fmt.Errorf("sizing the netlink socket for connection tracking: %w", err)
	}
	return &Conn{nl: nl}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.nl.Close() }

// ends are the two ways in which an address can have a part in a connection:
// it sent the first packet, or it answers, also from behind a translated address.
var ends = []end{{attrOrig, filterOrig}, {attrReply, filterReply}}

type end struct{ tuple, flags uint16 }

// fewAddresses is how many addresses' connections are sooner picked out by the
// kernel, which walks its table twice for each, than from a list of all.
const fewAddresses = 2

// Forget removes every connection that one of the addresses has a part in.
func (c *Conn) Forget(addrs ...netip.Addr) error {
	if n, err := Count(); err != nil || n == 0 {
		return err
	}
	if len(addrs) > fewAddresses {
		return c.forgetMany(addrs)
	}
	for _, a := range addrs {
		for _, e := range ends {
			m, err := message(msgDelete, netlink.Acknowledge, e.filter(a))
			if err != nil {
				return err
			}
			if _, err := c.execute(m); err != nil {
				return fmt.Errorf("removing the tracked connections of %s: %w", a, err)
			}
		}
	}
	return nil
}

func (c *Conn) forgetMany(addrs []netip.Addr) error {
	all, err := c.Flows(netip.Addr{})
	if err != nil {
		return err
	}
	of := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		of[a] = true
	}
	_, err = c.Cut(slices.DeleteFunc(all, func(f Flow) bool { return !of[f.Orig.Src] && !of[f.Reply.Src] }))
	return err
}

// Count is how many connections are tracked: what a look at all of them costs
// besides a walk of the table's buckets.
func Count() (int, error) {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return 0, fmt.Errorf("counting tracked connections: %w", err)
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 0, fmt.Errorf("counting tracked connections: %w", err)
	}
	return n, nil
}

// Flows lists the IPv4 connections that the address has a part in, or all of
// them for the zero address.
func (c *Conn) Flows(a netip.Addr) ([]Flow, error) {
	fills := []func(*netlink.AttributeEncoder){nil}
	if a.IsValid() {
		fills = []func(*netlink.AttributeEncoder){ends[0].filter(a), ends[1].filter(a)}
	}
	var flows []Flow
	for _, fill := range fills {
		m, err := message(msgGet, netlink.Dump, fill)
		if err != nil {
			return nil, err
		}
		replies, err := c.execute(m)
		if err != nil {
			return nil, fmt.Errorf("listing tracked connections: %w", err)
		}
		for _, r := range replies {
			if f, ok := decode(r.Data); ok {
				flows = append(flows, f)
			}
		}
	}
	return flows, nil
}

// Cut removes connections and says how many were still there.
func (c *Conn) Cut(flows []Flow) (n int, err error) {
	const perSend = 64
	for len(flows) > 0 {
		batch := flows[:min(len(flows), perSend)]
		flows = flows[len(batch):]
		ms := make([]netlink.Message, len(batch))
		for i, f := range batch {
			if ms[i], err = message(msgDelete, netlink.Acknowledge, f.encode); err != nil {
				return n, err
			}
		}
		k, err := c.send(ms)
		n += k
		if err != nil {
			return n, fmt.Errorf("removing tracked connections: %w", err)
		}
	}
	return n, nil
}

func (c *Conn) execute(m netlink.Message) ([]netlink.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nl.Execute(m)
}

// send sends a batch and counts the messages that the kernel found something
// for; an entry that ended by itself meanwhile is no error.
func (c *Conn) send(ms []netlink.Message) (n int, first error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.nl.SendMessages(ms); err != nil {
		return 0, err
	}
	for range ms {
		switch _, err := c.nl.Receive(); {
		case err == nil:
			n++
		case !errors.Is(err, unix.ENOENT) && first == nil:
			first = err
		}
	}
	return n, first
}
