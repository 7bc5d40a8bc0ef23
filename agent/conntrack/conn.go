package conntrack

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/nfnl"
	"golang.org/x/sys/unix"
)

// Conn talks to the connection tracking of the network namespace in which it
// was dialled. It may be used by several goroutines; their calls take turns.
type Conn struct {
	nl *nfnl.Conn
}

// Dial opens a connection in the calling thread's network namespace.
func Dial() (*Conn, error) {
	nl, err := nfnl.Dial()
	if err != nil {
		return nil, fmt.Errorf("connecting to connection tracking: %w", err)
	}
	return &Conn{nl: nl}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.nl.Close() }

// ends are the two ways in which an address can have a part in a connection:
// it sent the first packet, or it answers, also from behind a translated address.
var ends = []end{{attrOrig, filterOrig}, {attrReply, filterReply}}

type end struct{ tuple, flags uint16 }

// Forget removes every connection that one of the addresses has a part in.
func (c *Conn) Forget(addrs ...netip.Addr) error {
	n, err := count()
	if err != nil || n == 0 {
		return err
	}
	if len(addrs) > fewAddresses {
		flows, err := c.Flows(addrs...)
		if err != nil {
			return err
		}
		_, err = c.Cut(flows)
		return err
	}
	for _, a := range addrs {
		for _, e := range ends {
			m, err := message(msgDelete, netlink.Acknowledge, e.filter(a))
			if err != nil {
				return err
			}
			answers, err := c.nl.Do(m)
			if err = errors.Join(append(answers, err)...); err != nil {
				return fmt.Errorf("removing the tracked connections of %s: %w", a, err)
			}
		}
	}
	return nil
}

// number reads a number of the kernel's about connection tracking.
func number(name string) (int, error) {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_" + name)
	if err != nil {
		return 0, fmt.Errorf("reading the %s of tracked connections: %w", name, err)
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 0, fmt.Errorf("reading the %s of tracked connections: %w", name, err)
	}
	return n, nil
}

// count is how many connections are tracked: what a look at all of them costs
// besides a walk of the table's buckets.
func count() (int, error) { return number("count") }

// Usage is how full the table is.
type Usage struct {
	Count, Max int
	// Dropped counts the packets that began a connection and were dropped, since
	// the table had no room or the machine no memory.
	Dropped uint64
}

// Usage looks how full the table is.
func (c *Conn) Usage() (u Usage, err error) {
	if u.Count, err = count(); err != nil {
		return u, err
	}
	if u.Max, err = number("max"); err != nil {
		return u, err
	}
	b, err := os.ReadFile("/proc/net/stat/nf_conntrack")
	if err != nil {
		return u, fmt.Errorf("reading the statistics of tracked connections: %w", err)
	}
	u.Dropped, err = dropped(b)
	return u, err
}

// dropped adds up a column of the statistics: a line of hexadecimal numbers for
// each processor, under their names.
func dropped(b []byte) (n uint64, err error) {
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	at := slices.Index(strings.Fields(string(lines[0])), "drop")
	for _, l := range lines[1:] {
		fields := strings.Fields(string(l))
		if at < 0 || at >= len(fields) {
			return 0, errors.New("the statistics of tracked connections say nothing of drops")
		}
		v, err := strconv.ParseUint(fields[at], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the statistics of tracked connections: %w", err)
		}
		n += v
	}
	return n, nil
}

const (
	// fewAddresses is how many addresses' connections are sooner picked out by
	// the kernel, which walks its table twice for each, than from a list of all.
	fewAddresses = 2
	// fewFlows is how many connections are listed as a whole sooner than picked
	// out: a pick walks the table's buckets, of which there can be far more.
	fewFlows = 20_000
)

// Flows lists the IPv4 connections that one of the addresses has a part in;
// all of them when no address is given. The table changes while it is read, and the
// kernel may show a connection twice.
func (c *Conn) Flows(addrs ...netip.Addr) ([]Flow, error) {
	n, err := count()
	if err != nil || n == 0 {
		return nil, err
	}
	fills := []func(*netlink.AttributeEncoder){nil}
	if len(addrs) > 0 && len(addrs) <= fewAddresses && n > fewFlows {
		fills = nil
		for _, a := range addrs {
			fills = append(fills, ends[0].filter(a), ends[1].filter(a))
		}
	}
	want := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		want[a] = true
	}
	var flows []Flow
	for _, fill := range fills {
		m, err := message(msgGet, 0, fill)
		if err != nil {
			return nil, err
		}
		kept := len(flows)
		err = c.nl.Dump(m, func() { flows = flows[:kept] }, func(data []byte) {
			if f, ok := decode(data); ok && (len(want) == 0 || want[f.Orig.Src] || want[f.Reply.Src]) {
				flows = append(flows, f)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("listing tracked connections: %w", err)
		}
	}
	return flows, nil
}

// Cut removes connections and says how many were still there.
func (c *Conn) Cut(flows []Flow) (n int, err error) {
	const perSend = 64
	var first error
	for len(flows) > 0 {
		batch := flows[:min(len(flows), perSend)]
		flows = flows[len(batch):]
		ms := make([]netlink.Message, len(batch))
		for i, f := range batch {
			if ms[i], err = message(msgDelete, netlink.Acknowledge, f.encode); err != nil {
				return n, err
			}
		}
		answers, err := c.nl.Do(ms...)
		for _, a := range answers {
			switch {
			case err != nil:
			case a == nil:
				n++
			case !errors.Is(a, unix.ENOENT) && first == nil: // else it ended by itself meanwhile
				first = a
			}
		}
		if err != nil && first == nil {
			first = err
		}
	}
	if first != nil {
		return n, fmt.Errorf("removing tracked connections: %w", first)
	}
	return n, nil
}
