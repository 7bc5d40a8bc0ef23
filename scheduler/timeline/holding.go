package timeline

import (
	"iter"
	"net/netip"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/scheduler"
)

// Holding is an address in the hands of one endpoint, from when it got it until
// its host said that nothing of it is left.
type Holding struct {
	Address netip.Addr             `json:"address"`
	Holder  scheduler.EndpointView `json:"holder"`
	From    Place                  `json:"from"`
	// Known is false when the endpoint held the address already where the story
	// begins: From is that place.
	Known bool `json:"known"`
	// Until is absent while it still holds the address where the story ends.
	Until *Place `json:"until,omitempty"`
}

// Place is a place in the log.
type Place struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"` // when the entry was received
}

// Holdings are the holdings of an address, in order, from a state on, which is
// folded along. Holders are as they were known after the entry at; those that
// ended before as they were last known, those that began later as they began.
// The log is read until a holding has ended after the entry at, which is the
// one of that entry, or the first one after it.
func Holdings(s *scheduler.State, a netip.Addr, at uint64, log iter.Seq2[events.Entry, error]) ([]Holding, error) {
	var list []Holding
	var now *Holding
	look := func(received time.Time, known bool) {
		id, held := s.Holder(a)
		if now != nil && (!held || id != now.Holder.ID) {
			now.Until = &Place{s.Seq(), received}
			list = append(list, *now)
			now = nil
		}
		if !held {
			return
		}
		fresh := now == nil
		if fresh {
			now = &Holding{Address: a, Holder: scheduler.EndpointView{ID: id, Task: taskOf(id), Address: a}, From: Place{s.Seq(), received}, Known: known}
		}
		if e, live := s.Endpoint(id); live && (fresh || s.Seq() <= at) {
			now.Holder = e
		}
	}
	look(s.Now(), false)
	for e, err := range log {
		if err != nil {
			return nil, err
		}
		s.Apply(e)
		look(e.Event.Received, true)
		if n := len(list); n > 0 && list[n-1].Until.Seq > at {
			return list, nil
		}
	}
	if now != nil {
		list = append(list, *now)
	}
	return list, nil
}

// At is the holding at a place of the log, nil when nobody held the address.
func At(list []Holding, seq uint64) *Holding {
	for i := range list {
		if h := &list[i]; h.From.Seq <= seq && (h.Until == nil || seq < h.Until.Seq) {
			return h
		}
	}
	return nil
}
