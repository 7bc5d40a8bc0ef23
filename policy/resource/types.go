package resource

import (
	"net/netip"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy/strict"
)

// Problem is one thing that is wrong with a file or a resource.
type Problem = strict.Problem

// Problems is a list of problems as an error.
type Problems = strict.Problems

// The API versions that are read.
const (
	CalicoVersion = "projectcalico.org/v3"
	guardVersion  = "taskwall/v1" // for LabelGuard; Calico's is accepted too
)

// The kinds.
const (
	KindTier                              = "Tier"
	KindGlobalNetworkPolicy               = "GlobalNetworkPolicy"
	KindNetworkPolicy                     = "NetworkPolicy"
	KindStagedGlobalNetworkPolicy         = "StagedGlobalNetworkPolicy"
	KindStagedNetworkPolicy               = "StagedNetworkPolicy"
	KindGlobalNetworkSet                  = "GlobalNetworkSet"
	KindNetworkSet                        = "NetworkSet"
	KindIPPool                            = "IPPool"
	KindLabelGuard                        = "LabelGuard"
	KindBGPConfiguration                  = "BGPConfiguration"
	KindBGPPeer                           = "BGPPeer"
	KindBGPFilter                         = "BGPFilter"
	DefaultTier                           = "default"
	DefaultTierOrder              float64 = 1_000_000 // as in Calico
)

// PoolSelector is the annotation of an IPPool that says which endpoints draw
// from it.
const PoolSelector = "taskwall/selector"

// Typed is a checked resource: *Policy, *Tier, *Set, *Pool, *Guard,
// *BGPConfiguration, *BGPPeer or *BGPFilter.
type Typed interface {
	Key() events.ResourceKey
	check(*checker)
}

// Header is what every resource begins with.
type Header struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
}

// Metadata names a resource.
type Metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"` // the environment
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Key names the resource.
func (h *Header) Key() events.ResourceKey {
	return events.ResourceKey{Kind: h.Kind, Namespace: h.Metadata.Namespace, Name: h.Metadata.Name}
}

// Tier groups policies. Lower orders come first; no order comes last; equal
// orders go by name.
type Tier struct {
	Header
	Spec TierSpec `json:"spec"`
}

// TierSpec is a tier's own part.
type TierSpec struct {
	Order         *float64 `json:"order,omitempty"`
	DefaultAction string   `json:"defaultAction,omitempty"` // "Deny" (also when empty) or "Pass"
}

// Policy is a GlobalNetworkPolicy, a NetworkPolicy or a staged form of them.
type Policy struct {
	Header
	Spec PolicySpec `json:"spec"`
}

// PolicySpec is a policy's own part.
type PolicySpec struct {
	StagedAction      string   `json:"stagedAction,omitempty"` // staged kinds: "Set" (also when empty), "Delete" or "Ignore"
	Tier              string   `json:"tier,omitempty"`         // "" is "default"
	Order             *float64 `json:"order,omitempty"`        // no order comes last
	Selector          string   `json:"selector,omitempty"`     // "" selects all
	NamespaceSelector string   `json:"namespaceSelector,omitempty"`
	Types             []string `json:"types,omitempty"` // see Policy.Directions
	Ingress           []Rule   `json:"ingress,omitempty"`
	Egress            []Rule   `json:"egress,omitempty"`
}

// Rule is one rule of a policy; what is absent does not restrict.
type Rule struct {
	Metadata    *RuleMetadata `json:"metadata,omitempty"`
	Action      string        `json:"action"` // "Allow", "Deny", "Log" or "Pass"
	IPVersion   int           `json:"ipVersion,omitempty"`
	Protocol    Protocol      `json:"protocol,omitempty"`
	NotProtocol Protocol      `json:"notProtocol,omitempty"`
	ICMP        *ICMP         `json:"icmp,omitempty"`
	NotICMP     *ICMP         `json:"notICMP,omitempty"`
	Source      Entity        `json:"source,omitzero"`
	Destination Entity        `json:"destination,omitzero"`
}

// RuleMetadata carries notes for people.
type RuleMetadata struct {
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ICMP is a type with, optionally, a code.
type ICMP struct {
	Type *int `json:"type,omitempty"`
	Code *int `json:"code,omitempty"`
}

// Entity restricts one side of a packet.
type Entity struct {
	Nets              []string `json:"nets,omitempty"`
	NotNets           []string `json:"notNets,omitempty"`
	Selector          string   `json:"selector,omitempty"`
	NotSelector       string   `json:"notSelector,omitempty"`
	NamespaceSelector string   `json:"namespaceSelector,omitempty"`
	Ports             []Port   `json:"ports,omitempty"`
	NotPorts          []Port   `json:"notPorts,omitempty"`
}

// Set is a GlobalNetworkSet or a NetworkSet: networks with labels.
type Set struct {
	Header
	Spec SetSpec `json:"spec"`
}

// SetSpec is a set's own part.
type SetSpec struct {
	Nets []string `json:"nets,omitempty"`
}

// Pool is an IPPool: addresses for endpoints.
type Pool struct {
	Header
	Spec PoolSpec `json:"spec"`
}

// PoolSpec is a pool's own part.
type PoolSpec struct {
	CIDR      string `json:"cidr"`
	BlockSize int    `json:"blockSize,omitempty"` // prefix length of a host's block; 0 is 26
	Disabled  bool   `json:"disabled,omitempty"`  // no new addresses
	// These are accepted with the one value that says what is done anyway.
	IPIPMode         string   `json:"ipipMode,omitempty"`
	VXLANMode        string   `json:"vxlanMode,omitempty"`
	NATOutgoing      bool     `json:"natOutgoing,omitempty"`
	DisableBGPExport bool     `json:"disableBGPExport,omitempty"`
	NodeSelector     string   `json:"nodeSelector,omitempty"`
	AllowedUses      []string `json:"allowedUses,omitempty"`
	AssignmentMode   string   `json:"assignmentMode,omitempty"`
}

// Prefix is the pool's network; only valid of a checked pool.
func (p *Pool) Prefix() netip.Prefix { return netip.MustParsePrefix(p.Spec.CIDR) }

// Guard is a LabelGuard: it says which apps may carry a label. A claim by
// another app is ignored and reported.
type Guard struct {
	Header
	Spec GuardSpec `json:"spec"`
}

// GuardSpec is a guard's own part. An app may make the claim if it is one of
// Apps or lies in one of Groups, at whatever depth. Where several guards cover
// a claim, every one of them must let it pass.
type GuardSpec struct {
	Label  string   `json:"label"`
	Values []string `json:"values,omitempty"` // the guarded values; none means every value
	Apps   []string `json:"apps,omitempty"`   // e.g. /shop/pay
	Groups []string `json:"groups,omitempty"` // e.g. /shop
}
