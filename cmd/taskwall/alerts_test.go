package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/taskwall/taskwall/events/marathon"
	"github.com/taskwall/taskwall/events/mesos"
	"github.com/taskwall/taskwall/scheduler/controller"
	"github.com/taskwall/taskwall/scheduler/placement"
)

// alertFile is the form of Prometheus' rule files.
type alertFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

// controllerRegistry has all that a leading controller measures.
func controllerRegistry(t *testing.T) (registry *prometheus.Registry, names []string) {
	t.Helper()
	leads := func() bool { return true }
	shown := &sourceMetrics{}
	shown.leads.Store(&leads)
	place, err := placement.New(placement.Config{Masters: []string{"m1:5050"}, Task: placement.Task{Command: "taskwall agent"}})
	if err != nil {
		t.Fatal(err)
	}
	shown.current.Store(&[]controller.Source{mesosSource{s: &mesos.Source{}}, marathonSource{s: &marathon.Source{}}, placementSource{place}})
	c := controller.New(controller.Config{Version: "test"})
	registry = prometheus.NewRegistry()
	registry.MustRegister(shown)
	described := make(chan *prometheus.Desc, 1000)
	c.Metrics().Describe(described)
	close(described)
	for d := range described {
		names = append(names, regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1])
	}
	return registry, names
}

// The example alerts are well formed, speak of metrics that there are, and of
// runbooks that there are.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile("../../docs/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file alertFile
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/nats.md")
	if err != nil {
		t.Fatal(err)
	}
	registry, names := controllerRegistry(t)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		names = append(names, f.GetName())
	}
	seen := map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || seen[r.Alert] || g.Name == "" {
				t.Errorf("alert %q of group %q: it has no name of its own", r.Alert, g.Name)
			}
			seen[r.Alert] = true
			if _, err := time.ParseDuration(r.For); r.For != "" && err != nil {
				t.Errorf("alert %s: %v", r.Alert, err)
			}
			if s := r.Labels["severity"]; s != "warning" && s != "critical" {
				t.Errorf("alert %s has the severity %q", r.Alert, s)
			}
			if book := r.Annotations["runbook"]; book == "" || !strings.Contains(strings.ToLower(string(doc)), "\n### "+book+"\n") {
				t.Errorf("alert %s: docs/nats.md has no section %q", r.Alert, book)
			}
			if r.Annotations["summary"] == "" || strings.Count(r.Expr, "(") != strings.Count(r.Expr, ")") {
				t.Errorf("alert %s: %q", r.Alert, r.Expr)
			}
			metrics := regexp.MustCompile(`\btaskwall_\w+|\bup\b`).FindAllString(r.Expr, -1)
			if len(metrics) == 0 {
				t.Errorf("alert %s measures nothing", r.Alert)
			}
			for _, m := range metrics {
				if m != "up" && !slices.Contains(names, strings.TrimSuffix(m, "_bucket")) {
					t.Errorf("alert %s: there is no metric %s", r.Alert, m)
				}
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("there are %d alerts", len(seen))
	}
}

// Every metric is named and explained as Prometheus asks for.
func TestMetricsOfSourcesAreExplained(t *testing.T) {
	registry, _ := controllerRegistry(t)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) < 10 {
		t.Errorf("there are %d", len(families))
	}
	for _, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// Who does not lead shows no sources: those of its last term have stopped.
func TestSourcesOfAPastTermAreNotShown(t *testing.T) {
	leads := false
	is := func() bool { return leads }
	shown := &sourceMetrics{}
	shown.leads.Store(&is)
	shown.current.Store(&[]controller.Source{mesosSource{s: &mesos.Source{}}})
	count := func() int {
		registry := prometheus.NewRegistry()
		registry.MustRegister(shown)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return len(families)
	}
	if n := count(); n != 0 {
		t.Errorf("a follower shows %d", n)
	}
	if leads = true; count() == 0 {
		t.Error("the leader shows none")
	}
}
