package scheduler

import (
	"bytes"
	"encoding/json"
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
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		n := rapid.IntRange(1, 40).Draw(t, "events")
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
				log[i] = logged(t, events.Entry{Seq: uint64(i + 1), Event: step(t, &now)})
				live.Apply(log[i])
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
		checkAnswers(t, past)
	})
}

// logged is an entry as the log gives it back.
func logged(t *rapid.T, e events.Entry) events.Entry {
	again := events.Entry{Seq: e.Seq}
	if err := json.Unmarshal(encode(t, e.Event), &again.Event); err != nil {
		t.Fatal(err)
	}
	return again
}

func checkAnswers(t *rapid.T, s *State) {
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
				for _, end := range []*explain.End{answer.Egress, answer.Ingress} {
					if end != nil && end.Allowed && (end.Rule == nil || end.Rule.Origin == nil || end.Rule.Origin.Author != "ann") {
						t.Fatalf("%v -> %v %s is allowed by nobody's change: %+v", from, to, text, end)
					}
				}
			}
		}
	}
}
