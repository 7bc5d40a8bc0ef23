package scheduler

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/oracle"
)

// TestAnyMomentOfAnyHistory draws a history and asks of any moment of it: the
// state made anew, from a snapshot taken before the moment and the entries after
// that, is the one that the live fold had then, its endpoints and holders are
// those that were told, and its answers are the oracle's.
func TestAnyMomentOfAnyHistory(t *testing.T) {
	runs, met := 0, map[string]int{} // in how many histories
	rapid.Check(t, func(t *rapid.T) {
		runs++
		seen := map[string]bool{}
		defer func() {
			for what := range seen {
				met[what]++
			}
		}()
		holders := map[netip.Addr]string{}
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		all := history(t, &now, 40)
		n := len(all)
		at := rapid.IntRange(0, n).Draw(t, "at")
		from := rapid.IntRange(0, at).Draw(t, "snapshot at")
		live, past := NewState(), NewState()
		log := make([]events.Entry, n)
		var snapshot, was []byte
		for i := range n + 1 { // i entries are folded
			if i == from {
				snapshot = encode(t, live)
			}
			if i == at {
				was = encode(t, live)
			}
			if i < n {
				log[i] = logged(t, events.Entry{Seq: uint64(i + 1), Event: all[i]})
				had := len(live.endpoints)
				live.Apply(log[i])
				switch log[i].Event.Kind {
				case events.PolicyApply:
					seen["a policy change with tasks"] = seen["a policy change with tasks"] || had > 0
				case events.HostGone:
					seen["a host lost with tasks"] = seen["a host lost with tasks"] || len(live.endpoints) < had
				}
				for id, e := range live.endpoints {
					if before, held := holders[e.address]; e.address.IsValid() {
						seen["an address used again"] = seen["an address used again"] || held && before != id
						holders[e.address] = id
					}
					seen["a pod"] = seen["a pod"] || id == "fw/pod"
				}
			}
		}
		if err := past.UnmarshalJSON(snapshot); err != nil {
			t.Fatal(err)
		}
		for _, e := range log[from:at] {
			past.Apply(e)
		}
		if got := encode(t, past); !bytes.Equal(got, was) {
			t.Fatalf("at %d, from a snapshot at %d:\n%s\nthe live fold had\n%s", at, from, got, was)
		}
		seen["a flow between tasks"] = checkAnswers(t, past) > 0
		maps.DeleteFunc(seen, func(_ string, is bool) bool { return !is })
	})
	// It must be of something: each of these is in a fifth of them and more.
	for _, what := range []string{"a policy change with tasks", "a host lost with tasks", "an address used again", "a pod", "a flow between tasks"} {
		if runs >= 100 && met[what] == 0 {
			t.Errorf("none of %d histories has %s", runs, what)
		}
	}
}

// logged is an entry as the log gives it back.
func logged(t *rapid.T, e events.Entry) events.Entry {
	again := events.Entry{Seq: e.Seq}
	if err := json.Unmarshal(encode(t, e.Event), &again.Event); err != nil {
		t.Fatal(err)
	}
	return again
}

// checkAnswers gives the number of flows that are allowed between tasks.
func checkAnswers(t *rapid.T, s *State) (flows int) {
	endpoints := s.Endpoints()
	if len(endpoints) != len(s.endpoints) {
		t.Fatalf("%d endpoints are told, there are %d", len(endpoints), len(s.endpoints))
	}
	parties := []policy.Party{{Address: netip.MustParseAddr("192.0.2.1")}}
	var addressed []policy.Endpoint // the oracle knows a packet by its addresses
	for _, e := range endpoints {
		view, known := s.Endpoint(e.ID)
		if !known || view.Address != e.Address {
			t.Fatalf("endpoint %s is told as %+v", e.ID, view)
		}
		if !e.Address.IsValid() {
			continue
		}
		if holder, _ := s.Holder(e.Address); holder != e.ID {
			t.Fatalf("%s has %s, whose holder is %q", e.ID, e.Address, holder)
		}
		addressed = append(addressed, e)
		parties = append(parties, policy.Party{Endpoint: e.ID, Address: e.Address})
	}
	truth, err := oracle.New(s.Resources(), addressed)
	if err != nil {
		t.Fatal(err)
	}
	w := explain.Of(s.Resolver(), endpoints, s.Commits())
	for _, from := range parties {
		for _, to := range parties {
			for _, text := range []string{"5432", "80"} {
				port, err := w.ParsePort(text, to)
				if err != nil {
					t.Fatal(err)
				}
				answer := w.Answer(from, to, port, false)
				if want := truth.Allowed(port.Packet(from, to)); answer.Allowed != want {
					t.Fatalf("%v -> %v %s is told as %v, the oracle says %v", from, to, text, answer.Allowed, want)
				}
				if answer.Allowed && from.Endpoint != "" && to.Endpoint != "" {
					flows++
				}
				for _, end := range []*explain.End{answer.Egress, answer.Ingress} {
					if end != nil && end.Allowed && (end.Rule == nil || end.Rule.Origin == nil || end.Rule.Origin.Author != "ann") {
						t.Fatalf("%v -> %v %s is allowed by nobody's change: %+v", from, to, text, end)
					}
				}
			}
		}
	}
	return flows
}
