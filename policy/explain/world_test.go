package explain_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/explain"
)

// Endpoints are found by their app, wherever they went since they were put.
func TestOfAppFollowsEndpoints(t *testing.T) {
	of := func(id, app string) policy.Endpoint {
		return policy.Endpoint{ID: id, Labels: map[string]string{"taskwall/app": app}}
	}
	w, err := explain.New(nil, []policy.Endpoint{of("f/2", "/a"), of("f/1", "/a")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(app string, want ...string) {
		t.Helper()
		got := w.OfApp(app)
		if len(got) != len(want) {
			t.Fatalf("%s has %v, want %v", app, got, want)
		}
		for i := range want {
			if got[i].ID != want[i] {
				t.Errorf("%s has %v, want %v", app, got, want)
			}
		}
	}
	expect("/a", "f/1", "f/2")
	w.Put(of("f/1", "/b")) // it has another app now
	w.Put(of("f/0", "/a"))
	expect("/a", "f/0", "f/2")
	expect("/b", "f/1")
	w.Remove("f/2")
	w.Remove("f/2")
	expect("/a", "f/0")
	if _, known := w.Endpoint("f/2"); known || len(w.Endpoints()) != 2 {
		t.Errorf("f/2 is still among %v", w.Endpoints())
	}
}

// An app's tasks can differ, as while it is deployed: who asks of an app is told
// that the first task's verdict is not that of all.
func TestExplainTellsOfTheOtherPairs(t *testing.T) {
	of := func(id, app, address string, labels ...string) policy.Endpoint {
		e := policy.Endpoint{ID: id, Labels: map[string]string{"taskwall/app": app}, Address: netip.MustParseAddr(address)}
		for _, l := range labels {
			e.Labels[l] = ""
		}
		return e
	}
	body := func(kind, name, spec string) events.Resource {
		return events.Resource{ResourceKey: events.ResourceKey{Kind: kind, Name: name},
			Body: []byte(`{"apiVersion":"projectcalico.org/v3","kind":"` + kind + `","metadata":{"name":"` + name + `"},"spec":` + spec + `}`)}
	}
	w, err := explain.New([]events.Resource{
		body("GlobalNetworkPolicy", "out", `{"selector":"has(uses)","types":["Egress"],"egress":[{"action":"Allow"}]}`),
		body("GlobalNetworkPolicy", "in", `{"selector":"has(db)","types":["Ingress"],"ingress":[{"action":"Allow"}]}`),
	}, []policy.Endpoint{
		of("f/1", "/web", "10.0.0.1"), of("f/2", "/web", "10.0.0.2", "uses"), of("f/3", "/web", "10.0.0.3", "uses"), of("f/4", "/db", "10.0.0.4", "db"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := func(from, to string) string {
		a, err := w.Explain(from, to, "80", false)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := a.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for _, c := range []struct{ from, to, verdict, others string }{
		{"/web", "/db", "DENIED", "That is the first of 3 pairs of tasks. OF THE OTHERS 2 ARE ALLOWED, the first of them /web (f/2, 10.0.0.2) -> /db (f/4, 10.0.0.4).\n"},
		{"label:uses", "/db", "ALLOWED", "That is the first of 2 pairs of tasks. The others have the same verdict.\n"},
	} {
		if got := text(c.from, c.to); !strings.HasPrefix(got, c.verdict) || !strings.HasSuffix(got, c.others) {
			t.Errorf("%s -> %s:\n%s", c.from, c.to, got)
		}
	}
	if got := text("f/2", "/db"); strings.Contains(got, "pairs") {
		t.Errorf("of one pair:\n%s", got)
	}
}
