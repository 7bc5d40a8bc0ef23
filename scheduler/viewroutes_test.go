package scheduler

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
)

func (w *world) session(host, peer, state string) {
	w.say(events.Event{Kind: events.BGPSession, Session: &events.Session{Host: host, Peer: peer, State: state, Flaps: 1}})
}

// routes are the ways from a host to one prefix, as people read them.
func (w *world) ways(from, to string) (all []string) {
	w.t.Helper()
	routes, known := w.state.Routes(from)
	if !known {
		w.t.Fatalf("no host %s", from)
	}
	i := slices.IndexFunc(routes, func(r RouteView) bool { return r.Host == to })
	if i < 0 {
		w.t.Fatalf("no route to %s among %+v", to, routes)
	}
	for _, p := range routes[i].Paths {
		mark := " "
		if p.Chosen {
			mark = "*"
		}
		next := ""
		if p.NextHop.IsValid() {
			next = " " + p.NextHop.String()
		}
		all = append(all, mark+p.Via+next+": "+p.Why)
	}
	return all
}

func TestRoutesSayWhichWayAndWhy(t *testing.T) {
	w := newWorld(t)
	w.apply(pool("main", "10.8.0.0/24", 28, ""))
	for i, h := range []string{"h1", "h2", "h3", "h4"} {
		w.host(h)
		w.task(string(rune('a'+i)), h, "TASK_RUNNING", "app=web")
	}
	check := func(what, from, to string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, w.ways(from, to)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	check("without BGP", "h3", "h4", "*static 192.168.50.4: neither host speaks BGP")
	w.apply(reflectors, toReflectors)
	check("the host's own", "h3", "h3", "*local: it is the host's own")
	check("before any report", "h3", "h4",
		" reflectors/h1 192.168.50.4: the session is not established: unknown",
		" reflectors/h2 192.168.50.4: the session is not established: unknown")
	for _, r := range []string{"h1", "h2"} {
		for _, c := range []string{"h3", "h4"} {
			w.session(r, "reflectors/"+c, "established")
			w.session(c, "reflectors/"+r, "established")
		}
	}
	check("both reflectors up", "h3", "h4",
		"*reflectors/h1 192.168.50.4: reflected by h1",
		" reflectors/h2 192.168.50.4: reflected by h2; as good, kept in reserve")
	check("to a reflector itself", "h3", "h1",
		"*reflectors/h1 192.168.50.1: a session with its host",
		" reflectors/h2 192.168.50.1: h2 has no session with h1: unknown")
	w.session("h1", "reflectors/h4", "idle")
	check("one reflector has lost the other client", "h3", "h4",
		"*reflectors/h2 192.168.50.4: reflected by h2",
		" reflectors/h1 192.168.50.4: h1 has no session with h4: idle")

	routes, _ := w.state.Routes("")
	if r := routes[0]; r.Mode != "bgp" || r.Pool != "main" || r.Sessions != 3 || r.Established != 1 || r.Problem != "" {
		t.Errorf("h1's block is shown as %+v", r)
	}
	w.gone("h4")
	routes, _ = w.state.Routes("h3")
	if r := routes[3]; r.Mode != "none" || r.Problem == "" || r.Paths != nil {
		t.Errorf("the block of a host that left is shown as %+v", r)
	}
	if _, known := w.state.Routes("h9"); known {
		t.Error("h9 is known")
	}
	if wanted, up := w.state.Sessions(); wanted != 6 || up != 4 {
		t.Errorf("%d sessions wanted, %d up", wanted, up)
	}
}
