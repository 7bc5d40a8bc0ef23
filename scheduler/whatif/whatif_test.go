package whatif

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/policytest"
	"github.com/taskwall/taskwall/policy/reach"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/pasttest"
)

// run replays a past, from a time on, against resources given as JSON.
func run(t *testing.T, p *pasttest.Past, from time.Time, texts ...string) *Report {
	t.Helper()
	o := Options{From: from, To: p.Now, State: scheduler.NewState(), Reports: p.Reports(t.Context(), 0)}
	for _, text := range texts {
		o.Resources = append(o.Resources, pasttest.Resource(t, text))
	}
	entries := func(yield func(events.Entry, error) bool) {
		for r := range p.Records(t.Context(), 0) {
			if e, err := r.Entry(); !yield(e, err) {
				return
			}
		}
	}
	for e := range iter.Seq2[events.Entry, error](entries) {
		if e.Event.Received.After(from) {
			break
		}
		o.State.Apply(e)
	}
	o.Log = entries
	rep, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestTheSamePoliciesChangeNothing(t *testing.T) {
	t.Parallel()
	rep := run(t, pasttest.Shop(t), pasttest.Begin, pasttest.Pool, pasttest.WebToDB, pasttest.DBFromWeb)
	// The shop's own policies came a second after its beginning.
	if len(rep.Packets) > 0 || len(rep.Flows) > 0 {
		t.Errorf("found %+v", rep)
	}
}

// In the shop, db.1 runs from 12:00:06 on, web.1 from 12:00:07 to 14:00:09, web.2
// from 13:00:08 on.
func TestTellsForHowLongFlowsWouldHaveBeenLost(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	for _, l := range []work.Logged{
		{Action: work.Log, Policy: "GlobalNetworkPolicy db", Source: netip.MustParseAddr("10.8.0.16"), Dest: netip.MustParseAddr("10.8.0.0"), Protocol: 6, Port: 5432, Count: 7},
		{Action: work.Deny, Policy: "default", Index: -1, Source: netip.MustParseAddr("10.8.0.0"), Dest: netip.MustParseAddr("192.0.2.7"), Protocol: 6, Port: 443, Count: 3},
	} {
		l.Source, l.Dest = address(t, p, l.Source), address(t, p, l.Dest)
		p.Report(work.Report{Host: "h1", Logged: &l})
	}
	p.Now = p.Now.Add(time.Second)
	toAll := `{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"out"},"spec":{"selector":"app == 'db'","types":["Egress"],"egress":[{"action":"Allow","protocol":"TCP","destination":{"ports":[443]}}]}}`
	rep := run(t, p, pasttest.Begin, pasttest.Pool, pasttest.WebToDB, toAll)
	var got []string
	for _, f := range rep.Flows {
		got = append(got, fmt.Sprintf("%s %s > %s %s %s %.3f %d", f.Change, f.From, f.To, f.Ports, f.Lasted, f.PairHours, f.MostPairs))
	}
	end := p.Now
	dbs, webs := end.Sub(pasttest.Begin.Add(6*time.Second)), end.Sub(pasttest.Begin.Add(7*time.Second))
	both := webs.Hours() + end.Sub(pasttest.Begin.Add(time.Hour+8*time.Second)).Hours() - end.Sub(pasttest.Begin.Add(2*time.Hour+9*time.Second)).Hours()
	want := []string{
		fmt.Sprintf("denied marathon:web > marathon:db tcp 5432 %s %.3f 2", webs, both),
		fmt.Sprintf("allowed marathon:db > any other address tcp 443 %s %.3f 1", dbs, dbs.Hours()),
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("flows\n%s\nwant\n%s", a, b)
	}
	got = nil
	for _, f := range rep.Packets {
		got = append(got, fmt.Sprintf("%s %s > %s %s %d", f.Change, f.From, f.To, f.Port, f.Count))
	}
	want = []string{"denied marathon:web > marathon:db 5432/tcp 7", "allowed marathon:db > 192.0.2.7 443/tcp 3"}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("packets\n%s\nwant\n%s", a, b)
	}
	var text bytes.Buffer
	if err := rep.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"DENIED", "GlobalNetworkPolicy db rule 0", "denied, would be ALLOWED", "the default of tier default"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text has no %q:\n%s", want, &text)
		}
	}
}

// address is the address that a task of the shop has: those of a test are given
// as the first of each host's block.
func address(t *testing.T, p *pasttest.Past, a netip.Addr) netip.Addr {
	t.Helper()
	for _, e := range p.State().Endpoints() {
		if e.ID == "marathon/db.1" && a == netip.MustParseAddr("10.8.0.0") || e.ID == "marathon/web.2" && a == netip.MustParseAddr("10.8.0.16") {
			return e.Address
		}
	}
	return a
}

// A packet to try at every moment.
type try struct {
	protocol int
	port     uint16
}

var tries = []try{{6, 80}, {6, 443}, {6, 5432}, {6, 8080}, {6, 1}, {6, 65535}, {17, 53}, {17, 80}, {1, 8}, {132, 80}}

// sources are where the random rules' ranges of source ports begin and end.
var sources = []uint16{0, 80, 81, 443, 444, 8080, 8081, 9000, 9001, 40000, 65535}

// passes says whether it passes from any source port.
func (s try) passes(r *policy.Resolver, from, to string) bool {
	p := policy.Packet{From: policy.Party{Endpoint: from}, To: policy.Party{Endpoint: to}, Protocol: s.protocol, DstPort: s.port}
	if s.protocol == 1 {
		p.ICMPType, p.DstPort = int(s.port), 0
		return r.Verdict(p).Allowed
	}
	for _, p.SrcPort = range sources {
		if r.Verdict(p).Allowed {
			return true
		}
	}
	return false
}

func (s try) in(spans []reach.Span) bool {
	number := s.port
	if s.protocol == 1 {
		number <<= 8
	}
	for _, p := range spans {
		if int(p.Protocol) == s.protocol && p.First <= number && number <= p.Last {
			return true
		}
		if p.Protocol == reach.Other && s.protocol == 132 && !slices.Contains(p.Not, 132) {
			return true
		}
	}
	return false
}

// TestPairHoursAreThoseOfEveryPairAtEveryMoment replays random clusters against
// random other policies, and asks for every pair of tasks, in every stretch
// between two events, what either world says.
func TestPairHoursAreThoseOfEveryPairAtEveryMoment(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		g := policytest.Seeded(seed)
		was, is := g.Cluster(8, 5), g.Cluster(8, 5)
		now := pasttest.Begin
		r := newReplay(Options{From: now, State: scheduler.NewState()})
		live := map[string]policy.Endpoint{}
		r.resolved = func(id string) (policy.Endpoint, bool) { e, ok := live[id]; return e, ok }
		a, b := policy.NewResolver(), policy.NewResolver()
		for _, x := range []struct {
			r *policy.Resolver
			c []events.Resource
		}{{r.was.r, was.Resources}, {r.is.r, is.Resources}, {a, was.Resources}, {b, is.Resources}} {
			if err := x.r.Apply(x.c, nil); err != nil {
				t.Fatal(err)
			}
		}
		type key struct {
			change   Change
			from, to string
			try      try
		}
		want := map[key]float64{}
		var order []policy.Endpoint
		r.update(map[string]bool{}, true)
		for step := range 12 {
			e := was.Endpoints[g.Pick(len(was.Endpoints))]
			policies := false
			switch g.Pick(5) {
			case 0:
				delete(live, e.ID)
				a.DeleteEndpoint(e.ID)
				b.DeleteEndpoint(e.ID)
			case 1: // the policies that are in force change
				more := g.Policy(100 + step)
				if r.was.r.Apply([]events.Resource{more}, nil) == nil {
					if err := a.Apply([]events.Resource{more}, nil); err != nil {
						t.Fatal(err)
					}
					policies = true
				}
			default:
				live[e.ID] = e
				a.PutEndpoint(e)
				b.PutEndpoint(e)
			}
			r.update(map[string]bool{e.ID: true}, policies)
			order = order[:0]
			for _, e := range was.Endpoints {
				if _, ok := live[e.ID]; ok {
					order = append(order, e)
				}
			}
			took := time.Duration(1+g.Pick(100)) * time.Minute
			for _, from := range order {
				for _, to := range order {
					for _, s := range tries {
						if from.ID == to.ID {
							continue
						}
						before, after := s.passes(a, from.ID, to.ID), s.passes(b, from.ID, to.ID)
						if before == after {
							continue
						}
						k := key{Lost, appOf(from), appOf(to), s}
						if after {
							k.change = Gained
						}
						want[k] += took.Hours()
					}
				}
			}
			now = now.Add(took)
			r.now = now
		}
		r.report()
		got := map[key]float64{}
		for _, f := range r.flows {
			for _, s := range tries {
				if f.From.Network == "" && f.To.Network == "" && s.in(f.spans) && f.PairHours > 0 {
					got[key{f.Change, f.From.String(), f.To.String(), s}] += f.PairHours
				}
			}
		}
		for k, hours := range want {
			if math.Abs(got[k]-hours) > 1e-6 {
				t.Errorf("seed %d: %+v: %.3f pair hours, want %.3f", seed, k, got[k], hours)
			}
			delete(got, k)
		}
		for k, hours := range got {
			t.Errorf("seed %d: %+v: %.3f pair hours, want none", seed, k, hours)
		}
		if t.Failed() {
			return
		}
	}
}

func appOf(e policy.Endpoint) string {
	app := e.Labels["taskwall/app"]
	if app == "" {
		app = e.ID
	}
	return Party{App: app, Environment: e.Environment}.String()
}

func TestOtherPoliciesThatAreWrongAreRefused(t *testing.T) {
	t.Parallel()
	_, err := Run(context.Background(), Options{State: scheduler.NewState(), Resources: []events.Resource{
		{ResourceKey: events.ResourceKey{Kind: "GlobalNetworkPolicy", Name: "x"}, Body: json.RawMessage(`{"spec":1}`)},
	}})
	if err == nil {
		t.Error("they were taken")
	}
}
