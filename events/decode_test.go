package events_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
)

// same says that Decode and encoding/json agree about a text.
func same(t *testing.T, text []byte) (e events.Event) {
	t.Helper()
	var want events.Event
	wantErr, err := json.Unmarshal(text, &want), events.Decode(text, &e)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s: %v, encoding/json says %v", text, err, wantErr)
	}
	if err == nil && !reflect.DeepEqual(e, want) { // also what is nil and what is empty
		t.Fatalf("%s: %s", text, cmp.Diff(want, e))
	}
	return e
}

var (
	anHour  = time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
	healthy = true
	full    = []events.Event{
		{Kind: events.TaskPut, Task: &events.Task{
			Framework: "f-1", ID: "shop.web.1", Name: "web", Executor: "shop.web.1", Agent: "a-S1", State: "TASK_RUNNING", Role: "*",
			Labels: map[string]string{"app": "web", "tier": `a"b\c<>&é` + "\u2028\t"}, ExecutorLabels: map[string]string{"k": ""},
			Containerizer: "mesos", Container: "c-1", Networks: []events.Network{{Name: "taskwall", Labels: map[string]string{"x": "y"}, Addresses: []string{"10.0.0.1"}}, {}},
			Nested: true, ExecutorNetworks: []events.Network{{Name: "ours"}},
			Ports: []events.Port{{Name: "http", Number: 80, Protocol: "tcp"}}, Healthy: &healthy, Reason: "R", Message: "m", Since: anHour,
		}},
		{Kind: events.AppPut, App: &events.App{
			ID: "/shop/web", Version: "2026-03-01T13:00:00.000Z", Pod: true, Instances: -3, Labels: map[string]string{"a": "b"},
			Networks: []string{"taskwall"}, Ports: []events.Port{{}},
		}},
		{Kind: events.DeploymentPut, Deployment: &events.Deployment{ID: "d", Version: "v", State: "running", Apps: []string{"/a"}, Actions: []string{"ScaleApplication /a"}, Reason: "r", Client: "10.0.0.1"}},
		{Kind: events.EndpointState, Wiring: &events.Wiring{Host: "h", Endpoint: "f/e", Address: "10.0.0.1", State: events.Attached, Took: 5 * time.Millisecond, Error: "e", Report: 7}},
		{Kind: events.TaskGone, Gone: &events.Gone{Key: "f/t", Reason: "removed"}},
	}
)

func envelope(e events.Event) events.Event {
	e.Schema, e.ID, e.Source, e.Time, e.Received = 1, "id-1", "mesos", anHour, anHour.Add(123456789)
	return e
}

// What the quick reader takes it reads as encoding/json would, and the forms
// beside it are left to that.
func TestDecodeAgreesWithJSON(t *testing.T) {
	for _, e := range full {
		text, err := json.Marshal(envelope(e))
		if err != nil {
			t.Fatal(err)
		}
		if got := same(t, text); !reflect.DeepEqual(got, envelope(e)) {
			t.Errorf("%s: %s", text, cmp.Diff(envelope(e), got))
		}
		for i := range text { // cut short, or with something in its middle
			same(t, text[:i])
			for _, extra := range []string{" ", "0", `"`, "{}", `\`, "\xff", `"x":1,`} {
				same(t, []byte(string(text[:i])+extra+string(text[i:])))
				same(t, []byte(string(text[:i])+extra+string(text[i+1:])))
			}
		}
	}
	for _, text := range []string{
		``, `null`, `{}`, `{"v":1}`, `{"V":1,"ID":"x"}`,
		`{"v":1,"id":"a","kind":"task.gone","source":"s","time":"2026-03-01T13:00:00Z","received":"2026-03-01T13:00:00Z","gone":null}`,
		`{"v":1,"id":"a","kind":"task.gone","source":"s","time":"2026-03-01T13:00:00\u005a","received":"2026-03-01T13:00:00Z","gone":{"key":"k"}}`,
		`{"v":1,"id":"\ud800","kind":"task.gone","source":"s","time":"2026-03-01T13:00:00+02:00","received":"2026-03-01T13:00:00Z","gone":{"key":"k"}}`,
		`{"v":01,"id":"a","kind":"task.gone","source":"s","time":"2026-03-01T13:00:00Z","received":"2026-03-01T13:00:00Z","gone":{"key":"k"}}`,
		`{"v":1,"id":"a","kind":"app.put","source":"s","time":"2026-03-01T13:00:00Z","received":"2026-03-01T13:00:00Z","app":{"id":"/a","version":"v","instances":1,"labels":{},"networks":[],"ports":[]}}`,
		`{"v":1,"id":"a","kind":"app.put","source":"s","time":"2026-03-01T13:00:00Z","received":"2026-03-01T13:00:00Z","app":{"id":"/a","version":"v","instances":1,"labels":{"a":"1","a":"2"}}}`,
	} {
		same(t, []byte(text))
	}
}

// All that json.Marshal writes of the usual kinds is taken by the quick reader:
// a field that it does not know would make it slow without a word.
func TestDecodeIsQuick(t *testing.T) {
	for _, e := range full {
		text, err := json.Marshal(envelope(e))
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range []any{e.Task, e.App, e.Deployment, e.Wiring, e.Gone} {
			if v := reflect.ValueOf(body); !v.IsNil() {
				for i := range v.Elem().NumField() {
					if v.Elem().Field(i).IsZero() {
						t.Fatalf("the example of %s has no %s", e.Kind, v.Elem().Type().Field(i).Name)
					}
				}
			}
		}
		if !events.Quick(text) {
			t.Errorf("not read by the quick reader: %s", text)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range full {
		text, err := json.Marshal(envelope(e))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add([]byte(strings.Replace(string(text), `"v":1`, `"v": 1`, 1)))
	}
	f.Fuzz(func(t *testing.T, text []byte) { same(t, text) })
}

func BenchmarkDecode(b *testing.B) {
	for _, e := range full {
		text, err := json.Marshal(envelope(e))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(e.Kind), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var e events.Event
				if err := events.Decode(text, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
