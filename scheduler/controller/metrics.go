package controller

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// Metrics are the controller's measurements, for Prometheus.
type Metrics struct {
	prometheus.Collector

	events  *prometheus.CounterVec
	items   prometheus.Counter
	seq     prometheus.Gauge
	behind  prometheus.Gauge
	leading prometheus.Gauge
	terms   prometheus.Counter
	broken  prometheus.Counter
	online  prometheus.GaugeFunc
	build   prometheus.Gauge
	unread  prometheus.Gauge
	signed  prometheus.Gauge
	signing prometheus.Gauge
	bytes   *prometheus.GaugeVec
	limit   *prometheus.GaugeVec
	first   *prometheus.GaugeVec
	warned  prometheus.Gauge
	mended  prometheus.Counter
	delay   prometheus.Histogram
	took    prometheus.Histogram
	failed  *prometheus.CounterVec
	drifted *prometheus.CounterVec
	wrong   *prometheus.GaugeVec
	silent  prometheus.Gauge

	sessions *prometheus.GaugeVec
	changes  *prometheus.CounterVec
	refusals *prometheus.CounterVec
}

func newMetrics(version string, online func() bool) *Metrics {
	const ns = "taskwall"
	all := prometheus.NewRegistry()
	made := promauto.With(all)
	m := &Metrics{
		Collector: all,

		events: made.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "events_folded_total",
			Help: "Entries of the log folded, by kind."}, []string{"kind"}),
		items: made.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "items_total",
			Help: "Work items made for hosts."}),
		seq: made.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "folded_seq",
			Help: "Log sequence of the last entry folded, of which everything is published."}),
		behind: made.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "log_lag",
			Help: "Entries of the log that are not yet folded and published."}),
		leading: made.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "leading",
			Help: "1 if this controller leads, 0 if it folds along."}),
		terms: made.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "terms_total",
			Help: "Terms that this controller began as the leader. Several in a few minutes: the lease is lost again and again."}),
		broken: made.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "fold_failures_total",
			Help: "Times that the log could not be folded on, and was begun again from a snapshot. The controller's log says why."}),
		online: made.NewGaugeFunc(prometheus.GaugeOpts{Namespace: ns, Name: "bus_connected",
			Help: "1 if this controller is connected to NATS, 0 if not: then its other measurements stand still."}, func() float64 {
			if online() {
				return 1
			}
			return 0
		}),
		build: made.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "build_info",
			Help: "Always 1; the label says which version runs.", ConstLabels: prometheus.Labels{"version": version}}),
		unread: made.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "reports_lag",
			Help: "Reports of hosts that are stored and that the leader has not read, as of the last minute."}),
		signing: made.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "checkpoint_timestamp_seconds",
			Help: "When the last checkpoint was signed, as its leader sees it, in Unix time; 0: none is known."}),
		signed: made.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "checkpoint_seq",
			Help: "Log sequence of the last signed checkpoint, as its leader sees it."}),
		bytes: made.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Name: "stream_bytes",
			Help: "Size of a stream, as its leader sees it."}, []string{"stream"}),
		limit: made.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Name: "stream_max_bytes",
			Help: "Size from which retention removes the oldest records of a stream; 0: none."}, []string{"stream"}),
		first: made.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Name: "stream_first_seq",
			Help: "Sequence of the oldest record that a stream still holds: what is before, retention has removed."}, []string{"stream"}),
		warned: made.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "retention_warnings",
			Help: "Limits of retention that are near: records will be removed."}),
		mended: made.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "stream_settings_mended_total",
			Help: "Settings of streams that somebody had changed, and that the leader changed back."}),
		delay: made.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Name: "fold_delay_seconds",
			Help:    "From an event's receipt to the publication of what it causes.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}),
		took: made.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Name: "apply_seconds",
			Help:    "From a work item's arrival at its host to its last kernel change.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16)}),
		failed: made.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "apply_failures_total",
			Help: "Parts of work items that a host could not apply."}, []string{"host"}),
		drifted: made.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "drift_total",
			Help: "Differences between wanted and found kernel state that a host mended."}, []string{"host"}),
		wrong: made.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Name: "host_trouble",
			Help: "How many things are wrong on a host now, as it reported (taskwall status lists them)."}, []string{"host"}),
		silent: made.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "hosts_silent",
			Help: "Hosts that are ready and of whose taskwall agent this controller hears nothing."}),
		sessions: made.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Name: "bgp_sessions",
			Help: "BGP sessions of all hosts, by whether they are up, each host's end by itself."}, []string{"state"}),
		changes: made.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "bgp_session_changes_total",
			Help: "BGP sessions that went up or down, as hosts reported it."}, []string{"host"}),
		refusals: made.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "bgp_routes_refused_total",
			Help: "Routes that a peer offered and a host did not take."}, []string{"host"}),
	}
	m.build.Set(1)
	return m
}

// Metrics are the controller's measurements.
func (c *Controller) Metrics() *Metrics { return c.metrics }

// settled counts what was folded and published.
func (m *Metrics) settled(batch []step) {
	now := time.Now()
	for _, s := range batch {
		m.events.WithLabelValues(string(s.entry.Event.Kind)).Inc()
		m.items.Add(float64(len(s.items)))
		m.seq.Set(float64(s.entry.Seq))
		m.delay.Observe(now.Sub(s.entry.Event.Received).Seconds())
	}
}

func (m *Metrics) lag(last, settled uint64, leads bool) {
	m.behind.Set(float64(last - min(last, settled)))
	m.leading.Set(0)
	if leads {
		m.leading.Set(1)
	}
}

func (m *Metrics) kept(k Keeping) {
	for _, u := range k.Streams {
		m.bytes.WithLabelValues(u.Stream).Set(float64(u.Bytes))
		m.limit.WithLabelValues(u.Stream).Set(float64(max(u.MaxBytes, 0)))
		m.first.WithLabelValues(u.Stream).Set(float64(u.First))
	}
	m.warned.Set(float64(len(k.Warnings)))
	if k.Checkpoint != nil {
		m.signed.Set(float64(k.Checkpoint.Seq))
		m.signing.Set(float64(k.Checkpoint.Time.Unix()))
	}
}

// ended forgets what only a leader knows, so that nobody takes it for what is.
func (m *Metrics) ended() {
	for _, v := range []*prometheus.GaugeVec{m.bytes, m.limit, m.first, m.wrong} {
		v.Reset()
	}
	for _, g := range []prometheus.Gauge{m.warned, m.unread, m.signed, m.signing} {
		g.Set(0)
	}
}

func (m *Metrics) applied(r work.Report) {
	m.took.Observe(r.Applied.Took.Seconds())
	if n := len(r.Applied.Failed); n > 0 {
		m.failed.WithLabelValues(r.Host).Add(float64(n))
	}
}

func (m *Metrics) trouble(host string, n int) { m.wrong.WithLabelValues(host).Set(float64(n)) }

func (m *Metrics) silentNow(n int) { m.silent.Set(float64(n)) }

func (m *Metrics) drift(host string) { m.drifted.WithLabelValues(host).Inc() }

func (m *Metrics) session(host string, e *events.Session) {
	m.changes.WithLabelValues(host).Add(float64(max(e.Flaps, 0)))
}

func (m *Metrics) refused(host string, e *events.RouteRefusal) {
	m.refusals.WithLabelValues(host).Add(float64(max(e.Count, 0)))
}

func (m *Metrics) sessionsNow(wanted, up int) {
	m.sessions.WithLabelValues("up").Set(float64(up))
	m.sessions.WithLabelValues("down").Set(float64(wanted - up))
}
