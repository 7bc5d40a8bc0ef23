package snapshot_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/snapshot"
)

const file = `
- id: f1/web.1
  app: /shop/web
  environment: production
  host: h1
  ip: 10.64.0.5
  labels: {tier: front, uses/db: "", taskwall/role: web}
  ports: {http: 8080/tcp, dns: 53/udp}
- id: bare
`

func TestRead(t *testing.T) {
	list, err := snapshot.Read("e.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.Endpoint{{
		ID: "f1/web.1", Environment: "production", Address: netip.MustParseAddr("10.64.0.5"),
		Labels: map[string]string{"tier": "front", "uses/db": "", "taskwall/role": "web", "taskwall/app": "/shop/web", "taskwall/group": "/shop",
			"taskwall/host": "h1", "taskwall.environment": "production"},
		Ports: []events.Port{{Name: "dns", Number: 53, Protocol: "udp"}, {Name: "http", Number: 8080, Protocol: "tcp"}},
	}, {ID: "bare", Labels: map[string]string{}}}
	if diff := cmp.Diff(want, snapshot.Policies(list), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	// What a cluster writes reads back as the same endpoints.
	var b bytes.Buffer
	if err := snapshot.Write(&b, []snapshot.Endpoint{snapshot.Of(want[0]), snapshot.Of(want[1])}); err != nil {
		t.Fatal(err)
	}
	again, err := snapshot.Read("e.yaml", b.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if diff := cmp.Diff(want, snapshot.Policies(again), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestReadErrors(t *testing.T) {
	for text, want := range map[string]string{
		"- id: a\n- id: a\n":                "e.yaml:2:7: [1].id: another endpoint has this id; write another",
		"- app: /a\n":                       "e.yaml:1:3: [0].id: no id; write one that no other endpoint has",
		"- {id: a, ip: 10.0.0}\n":           `e.yaml:1:15: [0].ip: "10.0.0" is no address; write an IPv4 address, or remove the field`,
		"- {id: a, ports: {http: 80}}\n":    `e.yaml:1:25: [0].ports.http: 80 is not text; write it in quotes: "80"`,
		"- {id: a, ports: {http: 0/tcp}}\n": `e.yaml:1:25: [0].ports.http: "0/tcp": not a port; write a number and a protocol, such as 8080/tcp`,
		"- {id: a, environmant: x}\n":       "e.yaml:1:11: [0].environmant: unknown field; write environment",
		"endpoints: []\n":                   `e.yaml:1:1: not a list; write each entry on a line of its own, after "- "`,
	} {
		_, err := snapshot.Read("e.yaml", []byte(text))
		if err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}
