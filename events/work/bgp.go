package work

import (
	"net/netip"
	"time"
)

// BGP is how a host speaks BGP (RFC 4271), whole: an item that carries one
// replaces what was. It is a function of the log like the rest of the item, so
// it holds no secret: a password is named, and read from the host's own disk.
type BGP struct {
	// ASN is the host's autonomous system (2 or 4 octets, RFC 6793).
	ASN uint32 `json:"asn"`
	// RouterID is the host's own address; its sessions start from there too.
	RouterID netip.Addr `json:"routerId"`
	// Port is where the host listens for sessions, usually 179; 0: nowhere.
	Port uint16 `json:"port,omitempty"`
	// Announce are the host's blocks, and single addresses that live here but
	// belong to another host's block. Sorted by prefix.
	Announce []Announcement `json:"announce,omitempty"`
	// Accept are the networks that may be learned at all: the address pools and
	// the network sets. Anything else that a peer offers is refused, whatever
	// its filters say. Sorted.
	Accept []netip.Prefix `json:"accept,omitempty"`
	// Pools are those of Accept that are address pools: within them only blocks
	// and single addresses are taken, never the pool or more than it.
	Pools []netip.Prefix `json:"pools,omitempty"`
	Peers []BGPPeer      `json:"peers,omitempty"` // sorted by name
	// Drain withdraws gracefully: everything is announced with the community
	// GRACEFUL_SHUTDOWN (RFC 8326) and the lowest preference.
	Drain bool `json:"drain,omitempty"`
}

// Announcement is a prefix with the communities to announce it with, each as
// text: "64512:100" (RFC 1997) or "64512:0:100" (large, RFC 8092).
type Announcement struct {
	Prefix      netip.Prefix `json:"prefix"`
	Communities []string     `json:"communities,omitempty"`
}

// BGPPeer is one session.
type BGPPeer struct {
	// Name is the resource's name, for a session with another host followed by
	// "/" and its name; those of the mesh begin with "mesh/".
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	Port    uint16     `json:"port,omitempty"` // 0: 179
	ASN     uint32     `json:"asn"`
	// Source is the address that the session starts from; absent: RouterID,
	// 0.0.0.0: the kernel chooses.
	Source netip.Addr `json:"source,omitzero"`
	// Password names the file of the TCP MD5 key (RFC 2385) in the host's
	// directory of secrets.
	Password string `json:"password,omitempty"`
	// HoldTime and Keepalive are in nanoseconds; 0: 90 s and a third of the
	// hold time (RFC 4271, 10).
	HoldTime  time.Duration `json:"holdTime,omitempty"`
	Keepalive time.Duration `json:"keepalive,omitempty"`
	// RestartTime is how long the peer keeps our routes while we are away
	// (graceful restart, RFC 4724), in nanoseconds; 0: 120 s.
	RestartTime time.Duration `json:"restartTime,omitempty"`
	// TTLSecurity is the number of hops that the peer may be away (RFC 5082);
	// 0: not checked. Multihop is the TTL of an external session over more
	// than one hop; 0: one hop.
	TTLSecurity uint8 `json:"ttlSecurity,omitempty"`
	Multihop    uint8 `json:"multihop,omitempty"`
	// MaxPrefixes ends the session when the peer offers more; 0: 20,000.
	MaxPrefixes uint32 `json:"maxPrefixes,omitempty"`
	// ClusterID makes this host a route reflector (RFC 4456) and the peer its
	// client.
	ClusterID netip.Addr `json:"clusterId,omitzero"`
	// KeepNextHop leaves the next hop of what is passed on to an external peer
	// as it was learned.
	KeepNextHop bool `json:"keepNextHop,omitempty"`
	// AllowOwnASN is how often the host's own number may be in a path.
	AllowOwnASN uint8 `json:"allowOwnAsn,omitempty"`
	// LocalPref is given to what the peer announces; 0: 100. Of two ways to a
	// prefix the higher wins.
	LocalPref uint32      `json:"localPref,omitempty"`
	Import    []BGPFilter `json:"import,omitempty"` // the first that matches decides; none: accept
	Export    []BGPFilter `json:"export,omitempty"`
}

// BGPFilter accepts or rejects the prefixes that it matches. The zero value of
// a condition does not restrict.
type BGPFilter struct {
	Accept bool         `json:"accept"`
	Prefix netip.Prefix `json:"prefix,omitzero"`
	// Match is how a route's prefix relates to Prefix: "In", "NotIn", "Equal"
	// or "NotEqual".
	Match string `json:"match,omitempty"`
	// MinLength and MaxLength bound the route's prefix length; both 0: any.
	MinLength uint8 `json:"minLength,omitempty"`
	MaxLength uint8 `json:"maxLength,omitempty"`
	// Origin is "RemotePeers" for what was learned from a peer, "" for all.
	Origin string `json:"origin,omitempty"`
	// Filter and Index say which resource's rule this is, for people.
	Filter string `json:"filter"`
	Index  int    `json:"index"`
}
