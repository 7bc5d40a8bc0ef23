package main

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/mesos"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// Each source's counters and levels are shown under names of their own.
func TestSourceMetrics(t *testing.T) {
	s, err := mesos.New(mesos.Config{Masters: []string{"m1:5050"}}, controller.Sink(func(context.Context, ...events.Event) error { return nil }), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &sourceMetrics{}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(m)
	m.current.Store(&[]controller.Source{mesosSource{s}})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, f := range families {
		have[f.GetName()] = true
	}
	for _, name := range []string{"connected", "hidden_agents", "shared_hostnames", "poll_fails_total", "doubts_total"} {
		if !have["taskwall_source_"+name] {
			t.Errorf("no taskwall_source_%s", name)
		}
	}
}
