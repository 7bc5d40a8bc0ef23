package history_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/oracle"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/history/historytest"
	"github.com/taskwall/taskwall/scheduler/proof"
)

// Whatever moment of a generated history is asked about, from a snapshot before it,
// the answers are the oracle's: of apps and pods, on hosts of both ways to route.
func TestAnswersOfAGeneratedHistoryAreTheOracles(t *testing.T) {
	t.Parallel()
	const last = 4000
	dir := t.TempDir() + "/copy"
	if _, err := historytest.Write(t.Context(), dir, historytest.Options{Seed: 8, Events: last, Hosts: 5, Apps: 8, Instances: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Index(t.Context(), dir, history.CopyOptions{Every: 700}); err != nil {
		t.Fatal(err)
	}
	h, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()                    //nolint:errcheck // only read
	rnd := rand.New(rand.NewPCG(8, 9)) //nolint:gosec // not for secrets
	allowed, pods, drained := 0, 0, 0
	for range 12 {
		s, err := h.StateAt(t.Context(), 300+rnd.Uint64N(last-300))
		if err != nil {
			t.Fatal(err)
		}
		parties := []policy.Party{{Address: netip.MustParseAddr("192.0.2.1")}}
		var addressed []policy.Endpoint
		for _, e := range s.Endpoints() {
			if !e.Address.IsValid() {
				continue
			}
			addressed = append(addressed, e)
			parties = append(parties, policy.Party{Endpoint: e.ID, Address: e.Address})
			if len(s.Tasks(e.ID)) > 1 {
				pods++
			}
		}
		for _, host := range s.View().Hosts {
			if host.Drain != nil {
				drained++
			}
		}
		truth, err := oracle.New(s.Resources(), addressed)
		if err != nil {
			t.Fatal(err)
		}
		w := explain.Of(s.Resolver(), s.Endpoints(), s.Commits())
		for _, from := range parties {
			for _, to := range parties {
				for _, text := range []string{"http", "9999"} {
					port, err := w.ParsePort(text, to)
					if err != nil {
						continue // it has no such port
					}
					answer := w.Answer(from, to, port, false)
					if want := truth.Allowed(port.Packet(from, to)); answer.Allowed != want {
						t.Fatalf("after record %d: %v -> %v %s is told as %v, the oracle says %v", s.Seq(), from, to, text, answer.Allowed, want)
					}
					if answer.Allowed {
						allowed++
					}
				}
			}
		}
	}
	if allowed == 0 || pods == 0 || drained == 0 {
		t.Errorf("%d flows were allowed, %d pods and %d drained hosts seen: too little", allowed, pods, drained)
	}
	v, err := proof.New(t.Context(), h, proof.Options{}, historytest.Trust)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := v.Run(t.Context())
	if err != nil || !rep.OK() {
		t.Fatalf("verified: %+v, %v", rep, err)
	}
	said := 0
	for e, err := range h.Entries(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Event.Kind {
		case events.AgentJoin, events.EndpointState, events.BGPSession, events.BGPRefused:
			said++
		}
	}
	if rep.Hosts.Words != said {
		t.Errorf("%d of %d words of hosts are among their reports", rep.Hosts.Words, said)
	}
}
