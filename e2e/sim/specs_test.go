package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/marathon"
)

// testdata/specs are specifications of Marathon's own tests and documentation,
// as they were published; facts.txt says what a source must make of each.
const specs = "testdata/specs"

// TestPublishedSpecificationsAreTakenAndReadBack: of every way in which an app
// says its networks and ports, today's is returned.
func TestPublishedSpecificationsAreTakenAndReadBack(t *testing.T) {
	want, err := os.ReadFile(filepath.Join(specs, "facts.txt"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(specs, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := paperCluster(t, func(cfg *sim.Config) { cfg.Hosts = nil }) // nothing is launched
	followed := follow(t, c.MarathonURL())
	var got strings.Builder
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&got, filepath.Base(file))
		kind := "apps"
		switch {
		case strings.Contains(filepath.Base(file), "pod"):
			kind = "pods"
		case strings.HasPrefix(filepath.Base(file), "group"):
			kind = "groups"
		}
		status, answer := postSpec(t, c, kind, body)
		if status != http.StatusCreated {
			fmt.Fprintf(&got, "  refused: %d %s\n", status, answer)
			continue
		}
		for _, legacy := range []string{`"ipAddress":`, `"uris":`, `"ports":[`, `"network":`} {
			if strings.Contains(answer, legacy) {
				t.Errorf("%s: the answer has %s", file, legacy)
			}
		}
		for _, a := range followed.until(t, func(apps map[string]events.App) bool { return len(apps) > 0 }) {
			fmt.Fprintf(&got, "  %s pod=%t x%d labels%v networks%v ports%v\n", a.ID, a.Pod, a.Instances, a.Labels, a.Networks, a.Ports)
		}
		req, _ := http.NewRequestWithContext(testContext(t), http.MethodDelete, c.MarathonURL()+"/v2/groups?force=true", nil)
		resp, err := c.Client().Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp, err)
		}
		resp.Body.Close()
		followed.until(t, func(apps map[string]events.App) bool { return len(apps) == 0 })
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

func postSpec(t *testing.T, c *sim.Cluster, kind string, body []byte) (int, string) {
	t.Helper()
	req, _ := http.NewRequestWithContext(testContext(t), http.MethodPost, c.MarathonURL()+"/v2/"+kind, bytes.NewReader(body))
	resp, err := c.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// picture is what a source has told of apps.
type picture struct {
	changed chan map[string]events.App
	cluster *events.Cluster
	source  *marathon.Source
}

// follow runs the source of Marathon until the test ends.
func follow(t *testing.T, member string) *picture {
	t.Helper()
	p := &picture{changed: make(chan map[string]events.App, 1000), cluster: events.NewCluster()}
	s, err := marathon.New(marathon.Config{Members: []string{member}, Settle: 1}, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.source = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

func (p *picture) Append(ctx context.Context, evs ...events.Event) error {
	for _, e := range evs {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		var back events.Event
		if err := json.Unmarshal(b, &back); err != nil {
			return err
		}
		p.cluster.Apply(back)
	}
	select {
	case p.changed <- p.cluster.Clone().Apps:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// until is the apps, in order, once they are as asked for and Marathon has
// nothing more to tell of the change.
func (p *picture) until(t *testing.T, ok func(map[string]events.App) bool) (list []events.App) {
	t.Helper()
	for ctx := testContext(t); ; {
		select {
		case apps := <-p.changed:
			if !ok(apps) {
				continue
			}
			for _, id := range events.SortedKeys(apps) {
				list = append(list, apps[id])
			}
			return slices.Clone(list)
		case <-ctx.Done():
			t.Fatal("never")
		}
	}
}
