package controller

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// Metrics are the controller's measurements, for Prometheus.
type Metrics struct {
	events  *prometheus.CounterVec
	items   prometheus.Counter
	seq     prometheus.Gauge
	delay   prometheus.Histogram
	took    prometheus.Histogram
	failed  *prometheus.CounterVec
	drifted *prometheus.CounterVec
}

func newMetrics() *Metrics {
	const ns = "taskwall"
	return &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "events_folded_total",
			Help: "Entries of the log folded, by kind."}, []string{"kind"}),
		items: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "items_total",
			Help: "Work items made for hosts."}),
		seq: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "folded_seq",
			Help: "Log sequence of the last entry folded."}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Name: "fold_delay_seconds",
			Help:    "From an event's receipt to the publication of what it causes.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Name: "apply_seconds",
			Help:    "From a work item's arrival at its host to its last kernel change.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16)}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "apply_failures_total",
			Help: "Parts of work items that a host could not apply."}, []string{"host"}),
		drifted: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "drift_total",
			Help: "Differences between wanted and found kernel state that a host mended."}, []string{"host"}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.events, m.items, m.seq, m.delay, m.took, m.failed, m.drifted} {
		c.Collect(ch)
	}
}

// Metrics are the controller's measurements.
func (c *Controller) Metrics() *Metrics { return c.metrics }

func (m *Metrics) folded(e events.Entry, items []*work.Item) {
	m.events.WithLabelValues(string(e.Event.Kind)).Inc()
	m.items.Add(float64(len(items)))
	m.seq.Set(float64(e.Seq))
	m.delay.Observe(time.Since(e.Event.Received).Seconds())
}

func (m *Metrics) applied(r work.Report) {
	m.took.Observe(r.Applied.Took.Seconds())
	if n := len(r.Applied.Failed); n > 0 {
		m.failed.WithLabelValues(r.Host).Add(float64(n))
	}
}

func (m *Metrics) drift(host string) { m.drifted.WithLabelValues(host).Inc() }
