package policy

import (
	"strings"

	"github.com/taskwall/taskwall/policy/resource"
)

// Host is a host as the selectors of BGP see it. Its labels are
//
//	taskwall/host              its name
//	taskwall/host/x, x         the attribute x of its Mesos agents
//	taskwall/route-reflector   its cluster id, of a route reflector only
type Host struct {
	Name       string
	Attributes map[string]string
	ClusterID  string
}

// Get is the value of a label, and whether the host has it. No attribute can
// claim to be a fact.
func (h Host) Get(key string) (string, bool) {
	switch key {
	case resource.HostLabel:
		return h.Name, true
	case resource.ReflectorLabel:
		return h.ClusterID, h.ClusterID != ""
	}
	if attribute, ok := strings.CutPrefix(key, resource.HostLabel+"/"); ok {
		key = attribute
	} else if strings.HasPrefix(key, "taskwall/") {
		return "", false
	}
	v, ok := h.Attributes[key]
	return v, ok
}
