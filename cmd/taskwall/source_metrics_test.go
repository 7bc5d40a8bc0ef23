package main

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/scheduler/controller"
)

type fakeSource struct{ controller.Source }

func (fakeSource) counters() (string, bool, int, any) {
	return "marathon", true, 3, struct {
		Reads     uint64
		PollFails uint64
		Dropped   map[string]uint64
	}{Reads: 7, PollFails: 2}
}

func TestSourcesAreShownToPrometheus(t *testing.T) {
	m := &sourceMetrics{}
	if _, err := m.watch(func(controller.Sink, *events.Cluster, time.Time) ([]controller.Source, error) {
		return []controller.Source{fakeSource{}}, nil
	})(func(context.Context, ...events.Event) error { return nil }, nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(m)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, x := range f.Metric {
			if len(x.Label) != 1 || x.Label[0].GetValue() != "marathon" {
				t.Errorf("labels %v", x.Label)
			}
			got[f.GetName()] = x.GetGauge().GetValue() + x.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"taskwall_source_connected": 1, "taskwall_source_hidden": 3, "taskwall_source_reads_total": 7, "taskwall_source_poll_fails_total": 2,
	} {
		if v, has := got[name]; !has || v != want {
			t.Errorf("%s is %v, %v, want %v", name, v, has, want)
		}
	}
	if len(got) != 4 {
		t.Errorf("got %v", got)
	}
}
