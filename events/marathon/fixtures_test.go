package marathon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/marathon/sse"
)

// testdata/fixtures are samples of Marathon's documentation and tests, and of
// go-marathon's, as they were published; those that Marathon 1.8 contradicts are
// left out. facts.txt says what each means to us, and was read beside them.
const fixtures = "testdata/fixtures"

func TestPublishedSamplesAreReadAsTheyAreMeant(t *testing.T) {
	want, err := os.ReadFile(filepath.Join(fixtures, "facts.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	err = filepath.WalkDir(fixtures, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "facts.txt" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(fixtures, path)
		fmt.Fprintf(&got, "%s\n", filepath.ToSlash(name))
		for _, line := range facts(t, name, data) {
			fmt.Fprintf(&got, "  %s\n", line)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if path := os.Getenv("FACTS"); path != "" { // what to compare with facts.txt
		if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// facts are what a sample means, one line for each thing.
func facts(t *testing.T, name string, data []byte) []string {
	var shape struct {
		Type   string          `json:"eventType"`
		App    *wireApp        `json:"app"`
		Apps   []wireApp       `json:"apps"`
		Groups []wireGroup     `json:"groups"`
		Spec   *wirePod        `json:"spec"`
		Task   json.RawMessage `json:"task"`
		Tasks  json.RawMessage `json:"tasks"`
		Error  string          `json:"message"`
	}
	isList := bytes.HasPrefix(bytes.TrimSpace(data), []byte("["))
	base := filepath.Base(name)
	if err := lenient(json.Unmarshal(data, &shape)); err != nil && filepath.Ext(name) == ".json" {
		t.Fatalf("%s: %v", name, err)
	}
	var l limits
	switch {
	case filepath.Ext(name) == ".txt":
		return streamFacts(t, data)
	case shape.Type != "":
		return eventFacts(t, data)
	case strings.Contains(base, "deployments"):
		var out []string
		for _, w := range as[list[wireDeployment]](t, data) {
			d, ok := l.deployment(&w)
			out = append(out, fmt.Sprintf("deployment %t %s@%s %v %q", ok, d.ID, d.Version, d.Apps, d.Actions))
		}
		return out
	case strings.Contains(base, "info"):
		w := as[wireInfo](t, data)
		m, ok := l.marathon(&w)
		return []string{fmt.Sprintf("marathon %t %+v", ok, m)}
	case strings.Contains(base, "group"):
		w := as[wireGroup](t, data)
		return append([]string{fmt.Sprintf("group %s whole=%t version=%t", w.ID, w.whole(), w.Version != "")}, inGroup(&w)...)
	case isList && strings.Contains(base, "status"):
		var out []string
		for _, w := range as[[]wireGPod](t, data) {
			out = append(out, podFact(&w.Spec))
		}
		return out
	case isList:
		var out []string
		for _, w := range as[[]wirePod](t, data) {
			out = append(out, podFact(&w))
		}
		return out
	case shape.Spec != nil:
		return []string{podFact(shape.Spec)}
	case strings.Contains(base, "pod"):
		w := as[wirePod](t, data)
		return []string{podFact(&w)}
	case shape.Error != "":
		return []string{"an error"}
	case strings.Contains(base, "task") || shape.Task != nil || shape.Tasks != nil:
		return idFacts(t, data)
	case shape.App != nil:
		return []string{appFact(shape.App)}
	case shape.Apps != nil:
		var out []string
		for i := range shape.Apps {
			out = append(out, appFact(&shape.Apps[i]))
		}
		return out
	}
	w := as[wireApp](t, data)
	return []string{appFact(&w)}
}

func as[T any](t *testing.T, data []byte) (v T) {
	t.Helper()
	if err := lenient(json.Unmarshal(data, &v)); err != nil {
		t.Fatal(err)
	}
	return v
}

func appFact(w *wireApp) string {
	var l limits
	a, ok := l.app(w)
	return fact("app", a, ok)
}

func podFact(w *wirePod) string {
	var l limits
	a, ok := l.pod(w)
	return fact("pod", a, ok)
}

func fact(kind string, a events.App, ok bool) string {
	if !ok {
		return kind + " without an id"
	}
	ports := []string{}
	for _, p := range a.Ports {
		ports = append(ports, fmt.Sprintf("%s=%d/%s", p.Name, p.Number, p.Protocol))
	}
	return fmt.Sprintf("%s %s@%s x%d labels%v networks%v ports%v", kind, a.ID, a.Version, a.Instances, a.Labels, a.Networks, ports)
}

// inGroup are the apps and pods that a source takes from a group.
func inGroup(w *wireGroup) (out []string) {
	s := fuzzed(newLog())
	s.putGroup(w, map[string]bool{})
	apps := s.mirror.Picture().Apps
	for _, id := range events.SortedKeys(apps) {
		kind := "app"
		if apps[id].Pod {
			kind = "pod"
		}
		out = append(out, fact(kind, apps[id], true))
	}
	return out
}

// eventFacts are the reads that an event asks for, what it adds to the log,
// and which ids in it are of which app.
func eventFacts(t *testing.T, data []byte) []string {
	l := newLog()
	s := fuzzed(l)
	w := as[wireEvent](t, data)
	var ws wants
	s.hint(&w, &ws)
	check(t, s, l)
	out := []string{fmt.Sprintf("%s at %s asks for all=%t info=%t groups%v apps%v pods%v", w.Type, timestamp(w.Timestamp).Format("2006-01-02T15:04:05.000"), ws.all, ws.info,
		events.SortedKeys(ws.groups), events.SortedKeys(ws.apps), events.SortedKeys(ws.pods))}
	for v := range ws.versions {
		out = append(out, fmt.Sprintf("and for %s@%s", v.id, v.version))
	}
	for p, client := range s.clients {
		out = append(out, fmt.Sprintf("posted %s@%s by %s", p.app, p.version.Format("2006-01-02T15:04:05.000"), client))
	}
	for _, e := range l.Taken {
		out = append(out, fmt.Sprintf("deployment %+v", *e.Deployment))
	}
	return append(out, idFacts(t, data)...)
}

// idFacts are the ids of tasks and instances in a sample, with the app that
// each is said to be of, and the one that we read from it.
func idFacts(t *testing.T, data []byte) (out []string) {
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			said := v["appId"]
			if said == nil {
				said = v["runSpecId"]
			}
			for _, key := range []string{"id", "taskId", "instanceId"} {
				if id, is := v[key].(string); is && said != nil {
					out = append(out, fmt.Sprintf("%s is of %v: read as %q", id, said, events.AppOf(id)))
				}
			}
			for _, key := range []string{"task", "tasks", "apps", "app"} {
				walk(v[key])
			}
		}
	}
	walk(as[any](t, data))
	slices.Sort(out)
	return slices.Compact(out)
}

func streamFacts(t *testing.T, data []byte) (out []string) {
	r := sse.NewReader(bytes.NewReader(data), 1<<20)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Type+" with")
		out = append(out, eventFacts(t, e.Data)...)
	}
}
