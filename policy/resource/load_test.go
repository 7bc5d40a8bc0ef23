package resource_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy/resource"
)

var update = flag.Bool("update", false, "write what is said now as what is wanted")

// TestErrors reads the files of each txtar archive as a directory, and compares
// what is said of them with the archive's "errors".
func TestErrors(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, name := range archives {
		t.Run(filepath.Base(name), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			want := &a.Files[len(a.Files)-1]
			for _, f := range a.Files[:len(a.Files)-1] {
				write(t, dir, f.Name, string(f.Data))
			}
			_, err = resource.Load(dir)
			if err == nil {
				t.Fatal("no error")
			}
			got := err.Error() + "\n"
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const everyKind = `
apiVersion: v1
kind: List
items:
  - apiVersion: projectcalico.org/v3
    kind: NetworkPolicy
    metadata: {name: front, namespace: production, labels: {team: web}, annotations: {why: it must}}
    spec:
      tier: security
      order: 100.5
      selector: app == 'front'
      types: [Ingress, Egress]
      ingress:
        - action: Allow
          protocol: tcp
          source: {selector: has(uses/front), namespaceSelector: all()}
          destination: {ports: [80, 8000:8080, http, "443"]}
          metadata: {annotations: {ticket: "123"}}
        - {action: Deny, protocol: 47}
        - {action: Log, protocol: ICMP, icmp: {type: 8, code: 0}}
        - {action: Pass, notProtocol: UDPLite, ipVersion: 4}
`

func TestReadTellsEachRulesLine(t *testing.T) {
	got, err := resource.Read("list.yaml", []byte(everyKind))
	if err != nil {
		t.Fatal(err)
	}
	r := got[0]
	for index, want := range []int{14, 19, 20, 21, 5} { // of the one too many: the resource's own
		if line := r.RuleLine("ingress", index); line != want {
			t.Errorf("rule %d is in line %d, want %d", index, line, want)
		}
	}
	r.Lines = nil // as in older entries of the log
	if line := r.RuleLine("ingress", 2); line != r.Line {
		t.Errorf("without lines the rule is in line %d, want the resource's, %d", line, r.Line)
	}
}

func TestReadNormalises(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "sub/list.yaml", everyKind)
	write(t, dir, "tier.json", "{\n\t\"kind\": \"Tier\", \"apiVersion\": \"projectcalico.org/v3\",\n\t\"metadata\": {\"name\": \"security\"}, \"spec\": {\"order\": 10}\n}\n")
	write(t, dir, "more.yml", "---\n---\n# nothing but a comment\n---\napiVersion: taskwall/v1\nkind: LabelGuard\nmetadata: {name: pci}\nspec: {label: pci, apps: [/shop/pay]}\n---\n"+
		"apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: tor}\nspec: {peerIP: 192.0.2.1, asNumber: 64512}\n")
	write(t, dir, ".hidden/wrong.yaml", "kind: nonsense")
	write(t, dir, ".wrong.yaml", "kind: nonsense")
	write(t, dir, "README.md", "not read")
	got, err := resource.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Key, File string
		Line      int
		Body      string
	}
	var rows []row
	for _, r := range got {
		rows = append(rows, row{r.String(), r.File, r.Line, string(r.Body)})
		typed, err := resource.Parse(r)
		if err != nil {
			t.Errorf("%s: the body does not parse: %v", r.ResourceKey, err)
			continue
		}
		if again, _ := json.Marshal(typed); string(again) != string(r.Body) {
			t.Errorf("%s: normalised twice it becomes\n%s", r.ResourceKey, again)
		}
	}
	want := []row{
		{"BGPPeer tor", "more.yml", 10, `{"apiVersion":"projectcalico.org/v3","kind":"BGPPeer","metadata":{"name":"tor"},"spec":{"peerIP":"192.0.2.1","asNumber":64512}}`},
		{"LabelGuard pci", "more.yml", 5, `{"apiVersion":"taskwall/v1","kind":"LabelGuard","metadata":{"name":"pci"},"spec":{"label":"pci","apps":["/shop/pay"]}}`},
		{"NetworkPolicy production/front", "sub/list.yaml", 5, `{"apiVersion":"projectcalico.org/v3","kind":"NetworkPolicy","metadata":{"name":"front","namespace":"production","labels":{"team":"web"},"annotations":{"why":"it must"}},` +
			`"spec":{"tier":"security","order":100.5,"selector":"app == 'front'","types":["Ingress","Egress"],"ingress":[` +
			`{"metadata":{"annotations":{"ticket":"123"}},"action":"Allow","protocol":"TCP","source":{"selector":"has(uses/front)","namespaceSelector":"all()"},"destination":{"ports":[80,"8000:8080","http",443]}},` +
			`{"action":"Deny","protocol":47},{"action":"Log","protocol":"ICMP","icmp":{"type":8,"code":0}},{"action":"Pass","ipVersion":4,"notProtocol":"UDPLite"}]}}`},
		{"Tier security", "tier.json", 1, `{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{"name":"security"},"spec":{"order":10}}`},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
}

func TestPositionsOfRules(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "p.yaml", everyKind)
	docs, err := resource.LoadDocuments(dir)
	if err != nil {
		t.Fatal(err)
	}
	if line, column := docs[0].Position("spec", "ingress", 1); line != 19 || column != 11 {
		t.Errorf("the second rule is at %d:%d", line, column)
	}
	if line, _ := docs[0].Position("spec", "egress", 7); line != 9 {
		t.Errorf("what is not there should be placed at what is around it, not at line %d", line)
	}
}

func TestParseTrustsNoLog(t *testing.T) {
	for name, body := range map[string]string{
		"unknown field":   `{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{"name":"a"},"spec":{"x":1}}`,
		"another's body":  `{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{"name":"b"},"spec":{}}`,
		"another kind":    `{"apiVersion":"projectcalico.org/v3","kind":"NetworkSet","metadata":{"name":"a"},"spec":{}}`,
		"wrong value":     `{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{"name":"a"},"spec":{"defaultAction":"Log"}}`,
		"no JSON":         `{"apiVersion":`,
		"too long":        `{"apiVersion":"` + strings.Repeat("x", 2<<20) + `"}`,
		"nothing":         ``,
		"another version": `{"apiVersion":"v1","kind":"Tier","metadata":{"name":"a"},"spec":{}}`,
	} {
		_, err := resource.Parse(events.Resource{ResourceKey: events.ResourceKey{Kind: "Tier", Name: "a"}, File: "f.yaml", Line: 3, Body: []byte(body)})
		if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:3: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := resource.Parse(events.Resource{ResourceKey: events.ResourceKey{Kind: "Tire", Name: "a"}}); err == nil || !strings.Contains(err.Error(), "write Tier") {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestDirections(t *testing.T) {
	rules := []resource.Rule{{Action: "Allow"}}
	for _, c := range []struct {
		types           []string
		ingress, egress []resource.Rule
		in, out         bool
	}{
		{nil, nil, nil, true, false},
		{nil, rules, nil, true, false},
		{nil, nil, rules, false, true},
		{nil, rules, rules, true, true},
		{[]string{"Egress"}, rules, nil, false, true},
		{[]string{"Egress", "Ingress"}, nil, nil, true, true},
	} {
		p := resource.Policy{Spec: resource.PolicySpec{Types: c.types, Ingress: c.ingress, Egress: c.egress}}
		if in, out := p.Directions(); in != c.in || out != c.out {
			t.Errorf("%v, %d ingress, %d egress: %v %v", c.types, len(c.ingress), len(c.egress), in, out)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(everyKind))
	archives, _ := filepath.Glob("testdata/*.txtar")
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			f.Add(file.Data)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := resource.Read("f.yaml", text)
		if err != nil {
			return
		}
		for _, r := range got {
			typed, err := resource.Parse(r)
			if err != nil {
				t.Fatalf("what was read does not parse: %v\n%s", err, r.Body)
			}
			if again, _ := json.Marshal(typed); string(again) != string(r.Body) {
				t.Fatalf("not normalised:\n%s\n%s", r.Body, again)
			}
		}
	})
}
