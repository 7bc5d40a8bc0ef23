package scheduler

import (
	"maps"
	"reflect"
	"slices"

	"github.com/taskwall/taskwall/events"
)

// settled reports whether a task's new word makes nothing else of its
// holders' endpoints than the last evaluation did: most words tell of a state
// or a health, which no policy and no host asks for. Where evaluation depends on
// the past, too, it is not settled: an endpoint without an address looks for one
// each time, and one outside its host's blocks has BGP looked at.
func (s *State) settled(old, t *events.Task, holders []string) bool {
	if !sameNeeds(old, t) {
		return false
	}
	any := false
	for _, holder := range holders {
		for _, id := range s.byExecutor[holder] {
			e := s.endpoints[id]
			if e.evaluated <= s.shaped || s.waiting[id] || e.host.speaks && s.strays(e.host, e.address) {
				return false
			}
			any = true
		}
	}
	return any
}

// sameNeeds compares all that derive and evaluate read of a task.
func sameNeeds(a, b *events.Task) bool {
	return a.Framework == b.Framework && a.ID == b.ID && a.Executor == b.Executor && a.Agent == b.Agent &&
		a.Name == b.Name && a.Role == b.Role && a.Containerizer == b.Containerizer &&
		events.Terminal(a.State) == events.Terminal(b.State) &&
		a.Nested == b.Nested && slices.EqualFunc(a.Networks, b.Networks, sameName) && slices.EqualFunc(a.ExecutorNetworks, b.ExecutorNetworks, sameName) &&
		slices.Equal(a.Ports, b.Ports) && sameLabels(a.Labels, b.Labels) && sameLabels(a.ExecutorLabels, b.ExecutorLabels)
}

// sameLabels compares labels, of which events that were read share those of the
// same text.
func sameLabels(a, b map[string]string) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer() || maps.Equal(a, b)
}

func sameName(a, b events.Network) bool { return a.Name == b.Name }

// shapes reports whether an event changes what endpoints are made of beside
// their tasks: what addFacts and networksOf read.
func shapes(k events.Kind) bool {
	switch k {
	case events.HostPut, events.HostGone, events.FrameworkPut, events.FrameworkGone, events.MarathonPut, events.SettingsPut:
		return true
	}
	return false
}
