package resource

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskwall/taskwall/policy/selector"
	"github.com/taskwall/taskwall/policy/strict"
)

// Bounds on the timers. A hold time of less than 3 s is not possible (RFC 4271,
// 4.2); a restart time has 12 bits (RFC 4724, 3).
const (
	minHoldTime    = 3 * time.Second
	maxHoldTime    = 65535 * time.Second
	maxRestartTime = 4095 * time.Second
)

func (b *BGPConfiguration) check(c *checker) {
	c.header(&b.Header, false)
	hosts, selects := b.Metadata.Annotations[BGPHosts]
	if name := b.Metadata.Name; b.Site() && !selects {
		c.fail(strict.Path{"metadata", "name"}, fmt.Sprintf("no hosts have the BGPConfiguration %q", name),
			"write default for all hosts, node.<host> for one, or the annotation "+BGPHosts+" for those that it selects")
	}
	spec, s := strict.Path{"spec"}, &b.Spec
	switch b.Metadata.Name {
	case defaultBGP:
		c.annotations(&b.Metadata, BGPHosts, ClusterID, Reflectors, HoldTime, Keepalive)
	default:
		if b.Site() {
			c.annotations(&b.Metadata, BGPHosts, ClusterID)
			if s, err := selector.Parse(hosts); err == nil && slices.Contains(s.Keys(), ReflectorLabel) {
				c.fail(strict.Path{"metadata", "annotations", BGPHosts}, "a site's hosts can't depend on which hosts reflect", "write it without "+ReflectorLabel)
			}
		} else {
			c.annotations(&b.Metadata, ClusterID)
		}
		const instead = "write it in the BGPConfiguration default"
		if s.NodeToNodeMeshEnabled != nil {
			c.fail(spec.Under("nodeToNodeMeshEnabled"), "a mesh is of all hosts", instead)
		}
		if s.NodeMeshPassword != nil {
			c.fail(spec.Under("nodeMeshPassword"), "a mesh is of all hosts", instead)
		}
		if s.NodeMeshMaxRestartTime != 0 {
			c.fail(spec.Under("nodeMeshMaxRestartTime"), "a mesh is of all hosts", instead)
		}
	}
	a := b.Metadata.Annotations
	if _, selects := a[Reflectors]; b.Metadata.Name == defaultBGP && selects != (a[ClusterID] != "") {
		given := ClusterID
		if selects {
			given = Reflectors
		}
		c.fail(strict.Path{"metadata", "annotations", given}, "which hosts reflect, and their cluster id, go together", "write both "+Reflectors+" and "+ClusterID)
	}
	if s.ListenPort < 0 || s.ListenPort > 65535 {
		c.fail(spec.Under("listenPort"), fmt.Sprintf("there is no port %d", s.ListenPort), "write 1 to 65535")
	}
	if l := s.LogSeverityScreen; l != "" && l != "Info" {
		c.fail(spec.Under("logSeverityScreen"), "the agent's log is set where it is started", "remove it, and start the agent with --log-level")
	}
	if m := s.BindMode; m != "" && m != "NodeIP" {
		c.fail(spec.Under("bindMode"), "a host listens on its own address only", "write NodeIP, or remove it")
	}
	if s.NodeMeshPassword != nil && s.NodeToNodeMeshEnabled != nil && !*s.NodeToNodeMeshEnabled {
		c.fail(spec.Under("nodeMeshPassword"), "there is no mesh", "remove it, or write nodeToNodeMeshEnabled: true")
	}
	c.password(spec.Under("nodeMeshPassword"), s.NodeMeshPassword)
	c.restartTime(spec.Under("nodeMeshMaxRestartTime"), s.NodeMeshMaxRestartTime)
	named := map[string]bool{}
	for i, m := range s.Communities {
		p := spec.Under("communities", i)
		switch {
		case m.Name == "" || validCommunity(m.Name):
			c.fail(p.Under("name"), fmt.Sprintf("%q is no name for a community", m.Name), "write a word")
		case named[m.Name]:
			c.fail(p.Under("name"), fmt.Sprintf("the community %s is named twice", m.Name), "remove one of them")
		}
		named[m.Name] = true
		if !validCommunity(m.Value) {
			c.fail(p.Under("value"), fmt.Sprintf("%q is no community", m.Value), communityForm)
		}
	}
	for i, adv := range s.PrefixAdvertisements {
		p := spec.Under("prefixAdvertisements", i)
		c.cidr4(p.Under("cidr"), adv.CIDR)
		if len(adv.Communities) == 0 {
			c.fail(p.Under("communities"), "no communities", "write names of spec.communities, or values such as 64512:100")
		}
		for j, m := range adv.Communities {
			if !named[m] && !validCommunity(m) {
				c.fail(p.Under("communities", j), fmt.Sprintf("%q is neither a community nor the name of one", m), communityForm+", or name it in spec.communities")
			}
		}
	}
}

const communityForm = "write 16-bit:16-bit such as 64512:100, or three 32-bit numbers such as 64512:1:100"

// validCommunity says whether a text is a community of RFC 1997 or RFC 8092.
func validCommunity(text string) bool {
	parts := strings.Split(text, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return false
	}
	bits := map[int]int{2: 16, 3: 32}[len(parts)]
	for _, part := range parts {
		if n, err := strconv.ParseUint(part, 10, bits); err != nil || strconv.FormatUint(n, 10) != part {
			return false
		}
	}
	return true
}

func (p *BGPPeer) check(c *checker) {
	c.header(&p.Header, false)
	c.annotations(&p.Metadata, HoldTime, Keepalive, Multihop, MaxPrefixes, LocalPreference)
	if p.Metadata.Name == MeshName {
		c.fail(strict.Path{"metadata", "name"}, "the mesh between hosts has this name", "choose another")
	}
	spec, s := strict.Path{"spec"}, &p.Spec
	if s.Node != "" && s.NodeSelector != "" {
		c.fail(spec.Under("nodeSelector"), "node already says which host", "remove one of them")
	}
	c.hostSelector(spec.Under("nodeSelector"), s.NodeSelector)
	c.hostSelector(spec.Under("peerSelector"), s.PeerSelector)
	switch at, err := parsePeerIP(s.PeerIP); {
	case s.PeerIP == "" && s.PeerSelector == "":
		c.fail(spec.Under("peerIP"), "no peer", "write peerIP: the address of a router, or peerSelector: which hosts")
	case s.PeerIP != "" && s.PeerSelector != "":
		c.fail(spec.Under("peerIP"), "peerSelector already says which hosts to peer with", "remove one of them")
	case s.PeerIP == "" && s.ASNumber != 0:
		c.fail(spec.Under("asNumber"), "the peers are hosts, which have their own AS numbers", "remove it; a host's is in BGPConfiguration node.<host> or default")
	case s.PeerIP != "" && err != nil:
		c.fail(spec.Under("peerIP"), fmt.Sprintf("%q is no address", s.PeerIP), "write one such as 10.0.0.1 or 10.0.0.1:1179")
	case s.PeerIP != "" && !at.Addr().Is4():
		c.fail(spec.Under("peerIP"), "sessions are over IPv4 only", "write the peer's IPv4 address")
	case s.PeerIP != "" && (at.Addr().IsUnspecified() || at.Addr().IsMulticast()):
		c.fail(spec.Under("peerIP"), fmt.Sprintf("%s is nobody's address", at.Addr()), "write the peer's own address")
	case s.PeerIP != "" && s.ASNumber == 0:
		c.fail(spec.Under("asNumber"), "no AS number", "write the peer's")
	}
	if s.SourceAddress != "" {
		c.oneOf(spec.Under("sourceAddress"), s.SourceAddress, "UseNodeIP", "None")
	}
	if n := s.NumAllowedLocalASNumbers; n < 0 || n > 10 {
		c.fail(spec.Under("numAllowedLocalASNumbers"), fmt.Sprintf("%d is out of range", n), "write 0 to 10")
	}
	if n := s.TTLSecurity; n < 0 || n > 254 {
		c.fail(spec.Under("ttlSecurity"), fmt.Sprintf("%d hops", n), "write 1 to 254: how many hops away the peer may be")
	}
	if s.TTLSecurity > 0 && p.Metadata.Annotations[Multihop] != "" {
		c.fail(spec.Under("ttlSecurity"), "it already says how many hops away the peer may be", "remove it, or the annotation "+Multihop)
	}
	c.password(spec.Under("password"), s.Password)
	c.restartTime(spec.Under("maxRestartTime"), s.MaxRestartTime)
	for i, name := range s.Filters {
		if !validName.MatchString(name) {
			c.fail(spec.Under("filters", i), fmt.Sprintf("%q is no name", name), "write the name of a BGPFilter")
		}
		if slices.Contains(s.Filters[:i], name) {
			c.fail(spec.Under("filters", i), name+" is given twice", "remove one of them")
		}
	}
}

func (f *BGPFilter) check(c *checker) {
	c.header(&f.Header, false)
	c.annotations(&f.Metadata)
	for i := range f.Spec.ImportV4 {
		f.Spec.ImportV4[i].check(c, strict.Path{"spec", "importV4", i})
	}
	for i := range f.Spec.ExportV4 {
		f.Spec.ExportV4[i].check(c, strict.Path{"spec", "exportV4", i})
	}
}

func (r *BGPFilterRule) check(c *checker, p strict.Path) {
	if r.Action == "" {
		c.fail(p.Under("action"), "no action", "write Accept or Reject")
	} else {
		c.oneOf(p.Under("action"), r.Action, "Accept", "Reject")
	}
	if r.Source != "" {
		c.oneOf(p.Under("source"), r.Source, "RemotePeers")
	}
	switch {
	case r.CIDR != "" && r.MatchOperator == "":
		c.fail(p.Under("matchOperator"), "no matchOperator beside cidr", "write In, NotIn, Equal or NotEqual")
	case r.CIDR == "" && r.MatchOperator != "":
		c.fail(p.Under("cidr"), "no cidr beside matchOperator", "write a network such as 10.8.0.0/16")
	case r.MatchOperator != "":
		c.oneOf(p.Under("matchOperator"), r.MatchOperator, "Equal", "NotEqual", "In", "NotIn")
	}
	bits := 0
	if r.CIDR != "" {
		bits = c.cidr4(p.Under("cidr"), r.CIDR)
	}
	if r.PrefixLength == nil {
		return
	}
	p = p.Under("prefixLength")
	if r.MatchOperator != "In" {
		c.fail(p, "lengths are bounded within a network only", "write cidr: and matchOperator: In beside it")
		return
	}
	low, high := r.Lengths()
	if low < bits || high > 32 || low > high {
		c.fail(p, fmt.Sprintf("no prefix in %s is of length %d to %d", r.CIDR, low, high), fmt.Sprintf("write min and max from %d to 32", bits))
	}
}

// Lengths bound the prefix length of the routes that the rule matches; only
// meant for a rule with a PrefixLength.
func (r *BGPFilterRule) Lengths() (low, high int) {
	high = 32
	if net, err := netip.ParsePrefix(r.CIDR); err == nil {
		low = net.Bits()
	}
	if r.PrefixLength != nil && r.PrefixLength.Min != nil {
		low = *r.PrefixLength.Min
	}
	if r.PrefixLength != nil && r.PrefixLength.Max != nil {
		high = *r.PrefixLength.Max
	}
	return low, high
}

// cidr4 checks an IPv4 network and returns its prefix length.
func (c *checker) cidr4(p strict.Path, text string) int {
	net, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		c.fail(p, fmt.Sprintf("%q is no network", text), "write one such as 10.8.0.0/16")
		return 0
	case !net.Addr().Is4():
		c.fail(p, "endpoints have IPv4 addresses only", "write an IPv4 network")
	case net != net.Masked():
		c.fail(p, "the address has bits beyond the prefix length", "write "+net.Masked().String())
	}
	return net.Bits()
}

// annotations checks those under our own prefix: others are for people.
func (c *checker) annotations(m *Metadata, known ...string) {
	for _, name := range sortedKeys(m.Annotations) {
		p, value := strict.Path{"metadata", "annotations", name}, m.Annotations[name]
		switch {
		case !strings.HasPrefix(name, "taskwall/"):
		case !slices.Contains(known, name):
			instead := "remove it: there are none for this"
			if len(known) > 0 {
				instead = strict.DidYouMean(name, known)
			}
			c.fail(p, "unknown annotation", instead)
		case name == BGPHosts || name == Reflectors:
			if c.hostSelector(p, value); value == "" {
				c.fail(p, "no selector", "write one such as rack == 'r1', or all()")
			}
			if s, err := selector.Parse(value); err == nil && name == Reflectors && slices.Contains(s.Keys(), ReflectorLabel) {
				c.fail(p, "which hosts reflect can't depend on which hosts reflect", "write it without "+ReflectorLabel)
			}
		case name == ClusterID:
			if a, err := netip.ParseAddr(value); err != nil || !a.Is4() || a.IsUnspecified() {
				c.fail(p, fmt.Sprintf("%q is no cluster id", value), "write one in the form of an IPv4 address, such as 10.0.0.1")
			}
		case name == HoldTime || name == Keepalive:
			low := minHoldTime
			if name == Keepalive {
				low = time.Second
			}
			if d, err := time.ParseDuration(value); err != nil || d < low || d > maxHoldTime || d%time.Second != 0 {
				c.fail(p, fmt.Sprintf("%q is no time for it", value), fmt.Sprintf("write whole seconds from %s to %s, such as 9s", low, maxHoldTime))
			}
		case name == Multihop:
			c.number(p, value, 2, 255)
		case name == MaxPrefixes, name == LocalPreference:
			c.number(p, value, 1, 1<<32-1)
		}
	}
	hold, alive := m.Time(HoldTime), m.Time(Keepalive)
	if hold == 0 {
		hold = 90 * time.Second
	}
	if alive > hold/2 {
		c.fail(strict.Path{"metadata", "annotations", Keepalive}, fmt.Sprintf("one lost message in %s would end the session", hold), "write at most half of "+HoldTime+", better a third")
	}
}

func (c *checker) number(p strict.Path, text string, low, high uint64) {
	if n, err := strconv.ParseUint(text, 10, 64); err != nil || n < low || n > high {
		c.fail(p, fmt.Sprintf("%q is out of range", text), fmt.Sprintf("write %d to %d in quotes", low, high))
	}
}

// hostSelector checks a selector over hosts; a host is in no namespace.
func (c *checker) hostSelector(p strict.Path, text string) {
	if text == "" {
		return
	}
	if s := c.selector(p, text); s != nil && slices.Contains(s.Keys(), selector.Namespace) {
		c.fail(p, "a host is in no environment", "select by "+HostLabel+" or by the Mesos agent's attributes")
	}
}

// The labels of a host that are facts.
const (
	HostLabel      = "taskwall/host"            // its name; HostLabel/x is the attribute x
	ReflectorLabel = "taskwall/route-reflector" // its cluster id
)

var validSecretKey = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}$`)

func (c *checker) password(p strict.Path, w *BGPPassword) {
	if w == nil {
		return
	}
	ref := w.SecretKeyRef
	if ref == nil {
		c.fail(p.Under("secretKeyRef"), "no secretKeyRef", "write the name and key of a file name.key with the password on the host, never the password")
		return
	}
	p = p.Under("secretKeyRef")
	if !validName.MatchString(ref.Name) {
		c.fail(p.Under("name"), fmt.Sprintf("%q is no name", ref.Name), "write the first part of the name of a file with the password on the host: name.key")
	}
	if !validSecretKey.MatchString(ref.Key) {
		c.fail(p.Under("key"), fmt.Sprintf("%q is no key", ref.Key), "write the last part of the name of a file with the password on the host: name.key")
	}
}

func (c *checker) restartTime(p strict.Path, d Duration) {
	if t := time.Duration(d); t != 0 && (t < time.Second || t > maxRestartTime || t%time.Second != 0) {
		c.fail(p, fmt.Sprintf("%s is no restart time", t), fmt.Sprintf("write whole seconds, at most %s", maxRestartTime))
	}
}
