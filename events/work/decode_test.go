package work

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/canon"
)

var anHour = time.Date(2026, 3, 1, 13, 0, 0, 5, time.UTC)

// fullProgram has each condition of a rule.
var fullProgram = func() Program {
	code := 3
	m := Match{
		Sets: []string{"s"}, NotSets: []string{"t"}, Ports: []PortRange{{First: 80, Last: 443}}, PortSets: []string{"u"},
		NotPorts: []PortRange{{First: 1, Last: 65535}}, NotPortSets: []string{"v"},
	}
	rule := Rule{Action: Pass, Protocol: 6, NotProtocol: 17, ICMP: &ICMP{Type: 8, Code: &code}, NotICMP: &ICMP{Type: 0}, Source: m, Dest: m, Policy: "GlobalNetworkPolicy db", Index: 1}
	return Program{
		ID: "p", Policies: []string{"GlobalNetworkPolicy db"},
		Ingress: []Tier{{Name: "default", Rules: []Rule{rule, {Action: Deny, Policy: "default", Index: -1}}}},
		Egress:  []Tier{{Name: "default", Rules: []Rule{}}},
	}
}()

// fullItem has all that the quick reader takes.
var fullItem = Item{
	Host: "h1", Rev: 2, Cause: 9, Time: anHour, Snapshot: true,
	Sets:     []Set{{ID: "s", Type: Ports, Origin: "has(a) && b == 'c'", Members: []string{"10.0.0.1,tcp:80"}}, {ID: "e", Type: Nets, Members: []string{}}},
	Members:  []SetEdit{{ID: "s", Add: []string{"10.0.0.1"}, Remove: []string{"10.0.0.2"}}, {ID: "t"}},
	Programs: []Program{fullProgram, {ID: "q", Policies: []string{}}},
	Endpoints: []Endpoint{{
		ID: "f/e", Network: "taskwall", Docker: true, Address: netip.MustParseAddr("10.0.0.1"), Posture: "p", Refused: "full", App: "/a", Task: "t",
	}, {ID: "f/g"}},
	Routes: []Route{{Prefix: netip.MustParsePrefix("10.8.0.0/26"), Via: netip.MustParseAddr("192.0.2.1"), Host: "h2"}, {Prefix: netip.MustParsePrefix("10.8.0.64/26")}},
	Delete: &Deletions{Routes: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/26")}, Endpoints: []string{"f/x"}, Programs: []string{"p"}, Sets: []string{"u"}},
}

var fullReports = []Report{
	{ID: "1", Host: "h1", Time: anHour, Applied: &Applied{Rev: 3, Took: 5, Digest: "d", Cut: 2, Failed: []Failure{{Key: "program p", Error: "no"}}, Trouble: []string{"the disk is full"}}},
	{ID: "2", Host: "h1", Time: anHour, Wiring: &events.Wiring{Host: "h1", Endpoint: "f/e", State: events.Detached}},
}

func text(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// agree says that a reader and encoding/json agree about a text.
func agree[T any](t *testing.T, b []byte, read func([]byte) (T, error)) {
	t.Helper()
	var want T
	wantErr := json.Unmarshal(b, &want)
	got, err := read(b)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s: %v, encoding/json says %v", b, err, wantErr)
	}
	if err == nil && !reflect.DeepEqual(got, want) { // also what is nil and what is empty
		t.Fatalf("%s: %#v, encoding/json reads %#v", b, got, want)
	}
}

// reportOfH1 reads a report as one that h1 sent, whatever host it names.
func reportOfH1(b []byte) (Report, error) { return unmarshalReport("h1", b) }

// What the quick readers take they read as encoding/json would, and the forms
// beside it are left to that.
func TestDecodeAgreesWithJSON(t *testing.T) {
	both := func(b []byte) {
		t.Helper()
		agree(t, b, unmarshalItem)
		agree(t, b, reportOfH1)
	}
	more := fullItem
	more.Programs, more.BGP = []Program{{ID: "p"}}, &BGP{ASN: 64512} // without lists
	texts := [][]byte{text(t, fullItem), text(t, more), text(t, Item{Host: "h", Delete: &Deletions{}})}
	for _, r := range fullReports {
		texts = append(texts, text(t, r))
	}
	for _, b := range texts {
		both(b)
		for i := range b {
			both(b[:i])
			for _, extra := range []string{" ", "0", `"`, "{}", `\`, "\xff", `"x":1,`} {
				both([]byte(string(b[:i]) + extra + string(b[i:])))
				both([]byte(string(b[:i]) + extra + string(b[i+1:])))
			}
		}
	}
}

// All that json.Marshal writes of the usual items and reports is taken by the
// quick readers: a field that they do not know would make them slow without a word.
func TestDecodeIsQuick(t *testing.T) {
	rare := map[string]bool{"BGP": true}
	whole := func(v reflect.Value) {
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; v.Field(i).IsZero() && !rare[name] {
				t.Errorf("the example of %s has no %s", v.Type(), name)
			}
		}
	}
	rule := fullProgram.Ingress[0].Rules[0]
	for _, v := range []any{fullItem, fullProgram, fullProgram.Ingress[0], rule, *rule.ICMP, rule.Source, rule.Source.Ports[0], fullItem.Sets[0], fullItem.Members[0], fullItem.Endpoints[0], fullItem.Routes[0], *fullItem.Delete, *fullReports[0].Applied} {
		whole(reflect.ValueOf(v))
	}
	r := canon.Read(text(t, fullItem))
	if it := readItem(r); !r.Done() || !reflect.DeepEqual(it, fullItem) {
		t.Errorf("not read by the quick reader (%v): %s", r.Done(), cmp.Diff(fullItem, it, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })))
	}
	for _, rep := range fullReports {
		r := canon.Read(text(t, rep))
		if got := readReport(r, rep.Host); !r.Done() || !reflect.DeepEqual(got, rep) {
			t.Errorf("not read by the quick reader (%v): %+v", r.Done(), got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(text(f, fullItem))
	for _, r := range fullReports {
		f.Add(text(f, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		agree(t, b, unmarshalItem)
		agree(t, b, reportOfH1)
	})
}
