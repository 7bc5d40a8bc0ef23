package verify_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/verify"
)

var update = flag.Bool("update", false, "write what comes out now as what is wanted")

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func world(t *testing.T) *explain.World {
	t.Helper()
	w, err := explain.Offline("testdata/policies", "testdata/endpoints.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRun(t *testing.T) {
	f, err := verify.Load("testdata/expect.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w := world(t)
	before := len(w.Endpoints())
	r := f.Run(w)
	if after := len(w.Endpoints()); after != before+1 {
		t.Errorf("%d endpoints became %d: what was imagined stays", before, after)
	}
	var b strings.Builder
	if err := r.WriteText(&b, "expect.yaml"); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/expect.out", b.String())
}

func TestExplain(t *testing.T) {
	w := world(t)
	var b strings.Builder
	for _, q := range [][3]string{
		{"/shop/front", "/shop/pay", "https"},
		{"f1/front.2", "10.64.0.3", "80"},
		{"/shop/pay", "192.0.2.1", "1521"},
		{"192.0.2.1", "/shop/pay", "icmp/3/1"},
		{"/shop/sick", "/shop/pay", "https"},
		{"/shop/front", "/evil/pay", "8443"},
		{"192.0.2.1", "192.0.2.2", "53/udp"},
	} {
		a, err := w.Explain(q[0], q[1], q[2], true)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
	}
	golden(t, "testdata/explain.out", b.String())
	for _, q := range [][3]string{{"/nobody", "/shop/pay", "80"}, {"/shop/pay", "x", "80"}, {"/shop/pay", "/shop/front", "htps"}, {"/shop/pay", "/shop/front", "80/xyz"}} {
		if a, err := w.Explain(q[0], q[1], q[2], false); err == nil {
			t.Errorf("%v: %+v", q, a)
		}
	}
}

func TestReadErrors(t *testing.T) {
	_, err := verify.Read("t.yaml", []byte(`
expect:
  - from: {app: /a, id: b}
    to: {selector: a = 'b'}
    port: 80
    verdict: allowed
  - from: {environment: prod, id: x}
    to: {labels: {}, ports: {http: 80/tpc}}
    verdict: deny
  - from: {labels: {a: b}}
    to: {ip: 10.0.0}
    port: 1
    verdict: deny
---
expect:
  - from: {labels: {a: b}, ports: {http: 80}}
    too: {id: x}
`))
	if err == nil {
		t.Fatal("no error")
	}
	golden(t, "testdata/errors.out", err.Error()+"\n")
}
