package scheduler

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/taskwall/taskwall/policy"
)

// block is a part of a pool that one host holds. Its routes and the legacy
// networks' rules cover it as a whole, so addresses come and go without a
// routing change.
type block struct {
	Prefix netip.Prefix `json:"prefix"`
	Pool   string       `json:"pool"`
	Host   string       `json:"host"`
	// Used maps an address in use to its endpoint.
	Used map[netip.Addr]string `json:"used,omitempty"`
	// Freed maps a released address to when it was released: it is held back
	// for a while, because packets and caches outlive a task.
	Freed map[netip.Addr]time.Time `json:"freed,omitempty"`
	// Next is the first address never given out; invalid when all were.
	Next netip.Addr `json:"next,omitzero"`

	before string // the gone host that it was taken over from, until hosts are told
}

// take gives the endpoint an address: one never used before if there is any,
// else the one that was released longest ago and is no longer held back.
func (b *block) take(endpoint string, now time.Time, hold time.Duration) (netip.Addr, bool) {
	var addr netip.Addr
	if b.Next.IsValid() {
		addr = b.Next
		if b.Next = addr.Next(); !b.Prefix.Contains(b.Next) {
			b.Next = netip.Addr{}
		}
	} else {
		var freed time.Time // when addr was
		for a, t := range b.Freed {
			if addr.IsValid() && (t.After(freed) || t.Equal(freed) && addr.Less(a)) || now.Before(t.Add(hold)) {
				continue
			}
			addr, freed = a, t
		}
		if !addr.IsValid() {
			return addr, false
		}
		delete(b.Freed, addr)
	}
	b.Used[addr] = endpoint
	return addr, true
}

// idle reports whether nothing of the block is in use or held back.
func (b *block) idle(now time.Time, hold time.Duration) bool {
	if len(b.Used) > 0 {
		return false
	}
	for _, t := range b.Freed {
		if now.Before(t.Add(hold)) {
			return false
		}
	}
	return true
}

// addresses assigns addresses to endpoints from blocks that belong to hosts.
type addresses struct {
	blocks map[netip.Prefix]*block
	byHost map[string][]*block // sorted by prefix
	// cursor is, per pool CIDR and block size, where the search for a block
	// that was never assigned goes on.
	cursor map[string]netip.Addr
}

func newAddresses() *addresses {
	return &addresses{
		blocks: map[netip.Prefix]*block{},
		byHost: map[string][]*block{},
		cursor: map[string]netip.Addr{},
	}
}

// assign gives an endpoint an address from the first of the pools that has
// one for its host, taking a new block for the host when those it holds are
// full. The block is returned when it is new to the host. gone tells whether a
// host has left the cluster, so that its idle blocks can be taken over.
func (a *addresses) assign(pools []policy.Pool, host, endpoint string, now time.Time, hold time.Duration,
	gone func(host string) bool) (netip.Addr, *block, error) {
	var full []string
	for _, p := range pools {
		for _, b := range a.byHost[host] {
			if b.Pool != p.Name || !p.CIDR.Overlaps(b.Prefix) {
				continue
			}
			if addr, ok := b.take(endpoint, now, hold); ok {
				return addr, nil, nil
			}
		}
		if b := a.newBlock(p, host, now, hold, gone); b != nil {
			if addr, ok := b.take(endpoint, now, hold); ok {
				return addr, b, nil
			}
		}
		full = append(full, fmt.Sprintf("%s (%s)", p.Name, p.CIDR))
	}
	if len(full) == 0 {
		return netip.Addr{}, nil, ErrNoPool
	}
	return netip.Addr{}, nil, fmt.Errorf("pool %s: %w: every block is assigned and those of host %s are full; "+
		"enlarge the pool or add one", strings.Join(full, ", "), ErrPoolFull, host)
}

// newBlock assigns a block of the pool to the host: one never assigned, else
// an idle one of a host that is gone.
func (a *addresses) newBlock(p policy.Pool, host string, now time.Time, hold time.Duration, gone func(string) bool) *block {
	bits := max(p.BlockSize, p.CIDR.Bits())
	key := fmt.Sprintf("%s/%d", p.CIDR, bits)
	next, seen := a.cursor[key]
	if !seen {
		next = p.CIDR.Masked().Addr()
	}
	for next.IsValid() && p.CIDR.Contains(next) {
		prefix := netip.PrefixFrom(next, bits)
		next = addTo(next, 1<<(32-bits))
		a.cursor[key] = next
		if !a.overlaps(prefix) {
			return a.put(&block{Prefix: prefix, Pool: p.Name, Host: host})
		}
	}
	for _, prefix := range sortedPrefixes(a.blocks) {
		b := a.blocks[prefix]
		if b.Pool == p.Name && p.CIDR.Overlaps(prefix) && gone(b.Host) && b.idle(now, hold) {
			a.drop(b)
			return a.put(&block{Prefix: prefix, Pool: p.Name, Host: host, before: b.Host})
		}
	}
	return nil
}

// put enters a block, ready for use, into the indexes.
func (a *addresses) put(b *block) *block {
	if b.Used == nil {
		b.Used = map[netip.Addr]string{}
	}
	if b.Freed == nil {
		b.Freed = map[netip.Addr]time.Time{}
	}
	if !b.Next.IsValid() && len(b.Used) == 0 && len(b.Freed) == 0 {
		b.Next = b.Prefix.Addr()
	}
	a.blocks[b.Prefix] = b
	a.byHost[b.Host] = append(a.byHost[b.Host], b)
	slices.SortFunc(a.byHost[b.Host], func(x, y *block) int { return x.Prefix.Compare(y.Prefix) })
	return b
}

func (a *addresses) drop(b *block) {
	delete(a.blocks, b.Prefix)
	a.byHost[b.Host] = slices.DeleteFunc(a.byHost[b.Host], func(x *block) bool { return x == b })
	if len(a.byHost[b.Host]) == 0 {
		delete(a.byHost, b.Host)
	}
}

// overlaps reports whether any assigned block shares an address with prefix.
// Blocks of one size are found by lookup; a scan is needed only for blocks
// smaller than prefix, which exist when a pool's block size was changed.
func (a *addresses) overlaps(prefix netip.Prefix) bool {
	for bits := prefix.Bits(); bits >= 0; bits-- {
		if p, err := prefix.Addr().Prefix(bits); err == nil && a.blocks[p] != nil {
			return true
		}
	}
	for p := range a.blocks {
		if p.Bits() > prefix.Bits() && prefix.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// releasedBy has no address be released later than a time.
func (a *addresses) releasedBy(now time.Time) {
	for _, b := range a.blocks {
		for addr, t := range b.Freed {
			if t.After(now) {
				b.Freed[addr] = now
			}
		}
	}
}

// release takes an address back from the endpoint; it is held back from now
// on. A release by another than the holder changes nothing: it is late.
func (a *addresses) release(host string, addr netip.Addr, endpoint string, now time.Time) bool {
	for _, b := range a.byHost[host] {
		if b.Prefix.Contains(addr) && b.Used[addr] == endpoint {
			delete(b.Used, addr)
			b.Freed[addr] = now
			return true
		}
	}
	return false
}

// addTo is the IPv4 address n further on; invalid past the last one.
func addTo(a netip.Addr, n uint64) netip.Addr {
	b := a.As4()
	sum := uint64(binary.BigEndian.Uint32(b[:])) + n
	if sum > 1<<32-1 {
		return netip.Addr{}
	}
	binary.BigEndian.PutUint32(b[:], uint32(sum))
	return netip.AddrFrom4(b)
}

func sortedPrefixes[V any](m map[netip.Prefix]V) []netip.Prefix {
	ps := make([]netip.Prefix, 0, len(m))
	for p := range m {
		ps = append(ps, p)
	}
	slices.SortFunc(ps, netip.Prefix.Compare)
	return ps
}

func sortedAddrs[V any](m map[netip.Addr]V) []netip.Addr {
	as := slices.Collect(maps.Keys(m))
	slices.SortFunc(as, netip.Addr.Compare)
	return as
}
