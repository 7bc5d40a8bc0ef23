package work

import (
	"net/netip"
	"time"
)

// Item is one step for one host. It is a function of the log alone: folding
// the log again gives the same bytes. Applying an item twice changes nothing.
//
// A host applies the parts of an item in the order of the fields, so that what
// is referred to exists before what refers to it, and leaves in reverse:
// grants come before what needs them, and removals last.
type Item struct {
	Host string `json:"host"`
	// Rev is the host's revision that this item makes: 1, 2, 3… without gaps.
	Rev uint64 `json:"rev"`
	// Cause is the log sequence of the event that made the item.
	Cause uint64    `json:"cause"`
	Time  time.Time `json:"time"` // the event's
	// Snapshot marks an item that holds the host's whole picture: what it does
	// not name is not wanted. It has no Members, and its Delete names only the
	// endpoints whose end the controller has not yet heard of: the host answers
	// each with a Detached report, also when it no longer knows it.
	Snapshot bool `json:"snapshot,omitempty"`

	Sets      []Set      `json:"sets,omitempty"`      // to create, or to make equal to
	Members   []SetEdit  `json:"members,omitempty"`   // additions come now, removals after Endpoints
	Programs  []Program  `json:"programs,omitempty"`  // to create or replace
	Endpoints []Endpoint `json:"endpoints,omitempty"` // to create or replace
	// Routes are static ones, to create or replace: the way to the blocks of
	// every other host or, between two hosts that both speak BGP, none. A host
	// that begins to speak BGP is told by a snapshot without these routes: it
	// keeps what the kernel has until it has learned the same network by BGP.
	Routes []Route `json:"routes,omitempty"`
	// BGP replaces how the host speaks BGP; absent, that stays as it is. In a
	// snapshot, absent means that the host speaks none: its routes are static.
	BGP    *BGP       `json:"bgp,omitempty"`
	Delete *Deletions `json:"delete,omitempty"`
}

// Key is the item's own.
func (it *Item) Key() Key { return Key{it.Host, it.Rev, it.Cause} }

// Deletions are the keys of what the host no longer needs.
type Deletions struct {
	Routes    []netip.Prefix `json:"routes,omitempty"`
	Endpoints []string       `json:"endpoints,omitempty"`
	Programs  []string       `json:"programs,omitempty"`
	Sets      []string       `json:"sets,omitempty"`
}

// SetType says what a set's members are.
type SetType string

// The types of set. Members are written as text:
//
//	nets   "10.1.2.3" (one address) or "10.8.0.0/16"
//	ports  "10.1.2.3,tcp:8080" (address, protocol, port)
const (
	Nets  SetType = "nets"
	Ports SetType = "ports"
)

// Set is a set of addresses that rules refer to. Its ID is derived from what
// it stands for (a selector, a list of networks), so equal needs share a set.
type Set struct {
	ID      string   `json:"id"` // [a-z0-9], at most 24 characters
	Type    SetType  `json:"type"`
	Origin  string   `json:"origin,omitempty"` // the selector or list, for people
	Members []string `json:"members"`          // sorted
}

// SetEdit adds members to a set that the host has and removes others.
type SetEdit struct {
	ID     string   `json:"id"`
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// Program is what a posture (the set of policies that apply to an endpoint)
// allows. Its ID names the posture and stays when a policy's rules change.
//
// A packet walks the tiers in order; within a tier the first rule that decides
// ends the walk, "pass" goes on to the next tier, and so does a tier that ends
// without a decision. After the last tier a packet is denied: a direction
// without tiers is closed.
type Program struct {
	ID       string   `json:"id"`       // [a-z0-9], at most 16 characters
	Policies []string `json:"policies"` // the posture's policies in order, for people
	Ingress  []Tier   `json:"ingress,omitempty"`
	Egress   []Tier   `json:"egress,omitempty"`
}

// Tier is a program's rules of one tier, with the tier's default action
// already written as its last rule when that is Deny.
type Tier struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"`
}

// Action is what a rule does with a packet that it matches.
type Action string

// The actions, with Calico's meaning.
const (
	Allow Action = "allow"
	Deny  Action = "deny"
	Pass  Action = "pass"
	Log   Action = "log" // logs, and goes on with the next rule
)

// Rule matches a packet when all of its conditions hold. The zero value of a
// condition does not restrict.
type Rule struct {
	Action      Action `json:"action"`
	Protocol    int    `json:"protocol,omitempty"` // IANA number; 0: any
	NotProtocol int    `json:"notProtocol,omitempty"`
	ICMP        *ICMP  `json:"icmp,omitempty"`
	NotICMP     *ICMP  `json:"notIcmp,omitempty"`
	Source      Match  `json:"source,omitzero"`
	Dest        Match  `json:"dest,omitzero"`
	// Policy and Index say where the rule comes from: the resource's key as
	// text and the rule's place (from 0) in its list. A tier's default action
	// has Index -1 and the tier's name.
	Policy string `json:"policy"`
	Index  int    `json:"index"`
}

// ICMP is a type with, optionally, a code.
type ICMP struct {
	Type int  `json:"type"`
	Code *int `json:"code,omitempty"`
}

// Match restricts one side of a packet.
type Match struct {
	Sets    []string `json:"sets,omitempty"`    // the address is in every one
	NotSets []string `json:"notSets,omitempty"` // and in none of these
	// Ports and PortSets are alternatives to each other: the port is in one of
	// the ranges, or (address, protocol, port) is in one of the sets.
	Ports       []PortRange `json:"ports,omitempty"`
	PortSets    []string    `json:"portSets,omitempty"`
	NotPorts    []PortRange `json:"notPorts,omitempty"`
	NotPortSets []string    `json:"notPortSets,omitempty"`
}

// PortRange is First to Last, both included.
type PortRange struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// Endpoint is one network identity on the host.
type Endpoint struct {
	ID      string `json:"id"` // see EndpointID
	Network string `json:"network"`
	// Docker says that the Docker containerizer runs the task: Mesos calls no
	// CNI for it, and the host attaches it by its process.
	Docker  bool       `json:"docker,omitempty"`
	Address netip.Addr `json:"address,omitzero"` // absent when Refused
	// Posture is the ID of the program that governs the endpoint; "" closes it.
	Posture string `json:"posture,omitempty"`
	// Refused says, in words for the task's owner, why the endpoint gets no
	// address; an attach then fails with it at once.
	Refused string `json:"refused,omitempty"`
	App     string `json:"app,omitempty"`  // for people
	Task    string `json:"task,omitempty"` // for people: the first task's id
}

// Route sends a block of addresses to the host that holds it. Via is absent
// for the host's own block, which must not leave the host.
type Route struct {
	Prefix netip.Prefix `json:"prefix"`
	Via    netip.Addr   `json:"via,omitzero"`
	Host   string       `json:"host,omitempty"` // for people
}
