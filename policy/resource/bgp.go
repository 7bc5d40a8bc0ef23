package resource

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The annotations of the BGP kinds: what Calico has no field for.
const (
	// BGPHosts, of the BGPConfiguration "default", selects the hosts that speak
	// BGP by their labels; without it all do. Of a site's it selects the site's
	// hosts. A host with a BGPConfiguration of its own or of its site always speaks.
	BGPHosts = "taskwall/hosts"
	// ClusterID makes hosts route reflectors with this cluster id (RFC 4456), an
	// IPv4 address: those that Reflectors selects, or, of "node.<host>" or a
	// site, that host or the site's.
	ClusterID = "taskwall/route-reflector-cluster-id"
	// Reflectors, of "default", selects the hosts that reflect.
	Reflectors = "taskwall/route-reflectors"
	// HoldTime and Keepalive are the timers of a peer's sessions; of a
	// BGPConfiguration, those of the mesh.
	HoldTime  = "taskwall/hold-time"
	Keepalive = "taskwall/keepalive"
	// Multihop lets a peer in another AS be this many hops away.
	Multihop = "taskwall/multihop"
	// MaxPrefixes ends a session when the peer offers more prefixes.
	MaxPrefixes = "taskwall/maximum-prefixes"
	// LocalPreference is given to what the peer announces.
	LocalPreference = "taskwall/local-preference"
)

// defaultBGP is the name of the BGPConfiguration of all hosts, and nodeBGP
// begins the name of one host's.
const (
	defaultBGP = "default"
	nodeBGP    = "node."
)

// MeshName begins the names of the mesh's sessions; no BGPPeer has it.
const MeshName = "mesh"

// The defaults, which are Calico's.
const (
	DefaultASN  ASNumber = 64512
	DefaultPort int      = 179
)

// BGPConfiguration says how hosts speak BGP: "default" all, "node.<host>" one,
// and one with any other name those of a site, which its annotation BGPHosts
// selects. What is given for fewer hosts counts for them instead; of two sites
// that select the same host, the first by name.
type BGPConfiguration struct {
	Header
	Spec BGPConfigurationSpec `json:"spec"`
}

// BGPConfigurationSpec is a BGPConfiguration's own part.
type BGPConfigurationSpec struct {
	ASNumber               ASNumber              `json:"asNumber,omitempty"`              // 0: DefaultASN
	NodeToNodeMeshEnabled  *bool                 `json:"nodeToNodeMeshEnabled,omitempty"` // nil: true; of "default" only
	ListenPort             int                   `json:"listenPort,omitempty"`            // 0: DefaultPort
	Communities            []Community           `json:"communities,omitempty"`
	PrefixAdvertisements   []PrefixAdvertisement `json:"prefixAdvertisements,omitempty"`
	NodeMeshPassword       *BGPPassword          `json:"nodeMeshPassword,omitempty"`
	NodeMeshMaxRestartTime Duration              `json:"nodeMeshMaxRestartTime,omitempty"`
	// These are accepted with the one value that says what is done anyway.
	LogSeverityScreen string `json:"logSeverityScreen,omitempty"`
	BindMode          string `json:"bindMode,omitempty"`
}

// Community gives a community value a name.
type Community struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// PrefixAdvertisement says which communities the blocks within a network are
// announced with: names of Communities, or values.
type PrefixAdvertisement struct {
	CIDR        string   `json:"cidr"`
	Communities []string `json:"communities"`
}

// BGPPassword says where a password is; it is never written itself.
type BGPPassword struct {
	SecretKeyRef *SecretKeyRef `json:"secretKeyRef"`
}

// SecretKeyRef names a file on the host: <name>.<key> in the agent's directory
// of secrets.
type SecretKeyRef struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// File is the name of the password's file in the agent's directory of secrets;
// "" for none.
func (p *BGPPassword) File() string {
	if p == nil || p.SecretKeyRef == nil {
		return ""
	}
	return p.SecretKeyRef.Name + "." + p.SecretKeyRef.Key
}

// BGPPeer says which hosts have sessions with whom: with a router, or with the
// hosts that PeerSelector selects.
type BGPPeer struct {
	Header
	Spec BGPPeerSpec `json:"spec"`
}

// BGPPeerSpec is a BGPPeer's own part.
type BGPPeerSpec struct {
	Node                     string       `json:"node,omitempty"`         // this host only
	NodeSelector             string       `json:"nodeSelector,omitempty"` // with neither: all hosts
	PeerIP                   string       `json:"peerIP,omitempty"`       // with or without ":port"
	ASNumber                 ASNumber     `json:"asNumber,omitempty"`     // of PeerIP
	PeerSelector             string       `json:"peerSelector,omitempty"`
	KeepOriginalNextHop      bool         `json:"keepOriginalNextHop,omitempty"`
	Password                 *BGPPassword `json:"password,omitempty"`
	SourceAddress            string       `json:"sourceAddress,omitempty"` // "UseNodeIP" (also when empty) or "None"
	MaxRestartTime           Duration     `json:"maxRestartTime,omitempty"`
	NumAllowedLocalASNumbers int          `json:"numAllowedLocalASNumbers,omitempty"`
	TTLSecurity              int          `json:"ttlSecurity,omitempty"` // hops
	Filters                  []string     `json:"filters,omitempty"`     // names of BGPFilters
}

// BGPFilter says which routes are taken from a peer and given to it. The first
// rule that matches decides; a route that none matches is accepted.
type BGPFilter struct {
	Header
	Spec BGPFilterSpec `json:"spec"`
}

// BGPFilterSpec is a BGPFilter's own part.
type BGPFilterSpec struct {
	ImportV4 []BGPFilterRule `json:"importV4,omitempty"`
	ExportV4 []BGPFilterRule `json:"exportV4,omitempty"`
}

// BGPFilterRule is one rule; what is absent does not restrict.
type BGPFilterRule struct {
	Action        string        `json:"action"` // "Accept" or "Reject"
	CIDR          string        `json:"cidr,omitempty"`
	MatchOperator string        `json:"matchOperator,omitempty"` // "Equal", "NotEqual", "In" or "NotIn"
	PrefixLength  *PrefixLength `json:"prefixLength,omitempty"`  // with "In"
	Source        string        `json:"source,omitempty"`        // "RemotePeers"
}

// PrefixLength bounds the length of a route's prefix.
type PrefixLength struct {
	Min *int `json:"min,omitempty"` // nil: that of CIDR
	Max *int `json:"max,omitempty"` // nil: 32
}

// Site says whether the BGPConfiguration is for the hosts that it selects.
func (b *BGPConfiguration) Site() bool { return b.Metadata.Name != defaultBGP && b.Host() == "" }

// Host is the host that the BGPConfiguration is for; "" for several.
func (b *BGPConfiguration) Host() string {
	host, _ := strings.CutPrefix(b.Metadata.Name, nodeBGP)
	if host == b.Metadata.Name {
		return ""
	}
	return host
}

// Peer is the address and port of PeerIP; only valid of a checked peer that has
// one. A port of 0 was not given.
func (p *BGPPeer) Peer() netip.AddrPort {
	at, err := parsePeerIP(p.Spec.PeerIP)
	if err != nil {
		panic("resource: an unchecked BGPPeer: " + err.Error())
	}
	return at
}

func parsePeerIP(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	return netip.ParseAddrPort(text)
}

// Time is a duration annotation of a checked resource; 0 when it is absent.
func (m *Metadata) Time(annotation string) time.Duration {
	d, _ := time.ParseDuration(m.Annotations[annotation])
	return d
}

// Number is a number annotation of a checked resource; 0 when it is absent.
func (m *Metadata) Number(annotation string) uint64 {
	n, _ := strconv.ParseUint(m.Annotations[annotation], 10, 64)
	return n
}
