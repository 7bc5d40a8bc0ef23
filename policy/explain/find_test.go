package explain_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/explain"
)

func TestFind(t *testing.T) {
	t.Parallel()
	set := func(kind, namespace, name, nets string) events.Resource {
		meta := `"name":"` + name + `"`
		if namespace != "" {
			meta += `,"namespace":"` + namespace + `"`
		}
		return events.Resource{ResourceKey: events.ResourceKey{Kind: kind, Namespace: namespace, Name: name},
			Body: json.RawMessage(`{"apiVersion":"projectcalico.org/v3","kind":"` + kind + `","metadata":{` + meta + `},"spec":{"nets":[` + nets + `]}}`)}
	}
	guard := events.Resource{ResourceKey: events.ResourceKey{Kind: "LabelGuard", Name: "tier"},
		Body: json.RawMessage(`{"apiVersion":"taskwall/v1","kind":"LabelGuard","metadata":{"name":"tier"},"spec":{"label":"tier","values":["db"],"apps":["/shop/db"]}}`)}
	endpoint := func(id, app, address, tier string) policy.Endpoint {
		return policy.Endpoint{ID: "fw/" + id, Address: netip.MustParseAddr(address), Labels: map[string]string{"taskwall/app": app, "tier": tier},
			Ports: []events.Port{{Name: "sql", Number: 5432, Protocol: "tcp"}}}
	}
	w, err := explain.New([]events.Resource{
		set("GlobalNetworkSet", "", "office", `"192.0.2.0/24"`), set("NetworkSet", "prod", "legacy", `"192.0.2.10"`),
		set("NetworkSet", "stage", "legacy", `"192.0.2.20"`), set("GlobalNetworkSet", "", "legacy", `"192.0.2.30"`), set("NetworkSet", "prod", "cloud", `"10.8.0.0/30", "198.51.100.7"`),
		set("GlobalNetworkSet", "", "none", ``), guard,
	}, []policy.Endpoint{
		endpoint("db.1", "/shop/db", "10.8.0.1", "db"), endpoint("db.2", "/shop/db", "10.8.0.9", "db"),
		endpoint("rogue.1", "/rogue", "10.8.0.2", "db"), endpoint("spark.1", "spark:driver", "10.8.0.3", "batch"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.NameTask("spark-task-7", "fw/spark.1")
	w.NameTask("ended", "fw/gone")
	for _, c := range []struct{ name, endpoints, nets, port string }{
		{"fw/db.2", "fw/db.2", "", ""},
		{"db.2", "fw/db.2", "", ""},
		{"/shop/db", "fw/db.1 fw/db.2", "", ""},
		{"/shop/db:5432", "fw/db.1 fw/db.2", "", "5432/tcp"},
		{"/shop/db:sql", "fw/db.1 fw/db.2", "", "5432/tcp"},
		{"/shop/db:icmp", "fw/db.1 fw/db.2", "", "icmp/8/0"},
		{"spark:driver", "fw/spark.1", "", ""},
		{"spark:driver:53/udp", "fw/spark.1", "", "53/udp"},
		{"spark-task-7", "fw/spark.1", "", ""},
		{"label:tier=db", "fw/db.1 fw/db.2", "", ""}, // not the one whose claim is refused
		{"label:tier", "fw/db.1 fw/db.2 fw/spark.1", "", ""},
		{"10.8.0.9", "fw/db.2", "10.8.0.9/32", ""},
		{"10.8.0.9:80", "fw/db.2", "10.8.0.9/32", "80/tcp"},
		{"203.0.113.1", "", "203.0.113.1/32", ""},
		{"10.8.0.1/30", "fw/db.1 fw/rogue.1 fw/spark.1", "10.8.0.0/30", ""},
		{"office", "", "192.0.2.0/24", ""},
		{"set:office:443", "", "192.0.2.0/24", "443/tcp"},
		{"prod/cloud", "fw/db.1 fw/rogue.1 fw/spark.1", "10.8.0.0/30 198.51.100.7/32", ""},
		{"NetworkSet prod/cloud", "fw/db.1 fw/rogue.1 fw/spark.1", "10.8.0.0/30 198.51.100.7/32", ""},
		{"none", "", "", ""},
		{"stage/legacy:1521", "", "192.0.2.20/32", "1521/tcp"},
		{"GlobalNetworkSet legacy", "", "192.0.2.30/32", ""},
	} {
		f, port, err := w.FindPort(c.name)
		var ids, nets []string
		for _, e := range f.Endpoints {
			ids = append(ids, e.ID)
		}
		for _, n := range f.Nets {
			nets = append(nets, n.String())
		}
		asked := ""
		if port != nil {
			asked = port.String()
		}
		if err != nil || strings.Join(ids, " ") != c.endpoints || strings.Join(nets, " ") != c.nets || asked != c.port {
			t.Errorf("%s is %v %v %q, %v", c.name, ids, nets, asked, err)
		}
	}
	for name, want := range map[string]error{
		"": explain.ErrNobody, "/shop": explain.ErrNobody, "label:tier=front": explain.ErrNobody, "set:nothing": explain.ErrNobody,
		":80": explain.ErrNobody, "/shop/db:http": explain.ErrPort, "/nobody:80": explain.ErrNobody, "ended": explain.ErrNobody,
		"legacy": explain.ErrAmbiguous, "set:legacy": explain.ErrAmbiguous, "legacy:1521": explain.ErrAmbiguous,
	} {
		if _, _, err := w.FindPort(name); !errors.Is(err, want) {
			t.Errorf("%q: %v; want %v", name, err, want)
		}
	}
	if _, err := w.Party("none"); !errors.Is(err, explain.ErrNobody) {
		t.Errorf("an empty set is a party: %v", err)
	}
}
