package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

// benchEvent is a task event of a usual size, some 500 bytes.
func benchEvent(n int) events.Event {
	e := taskEvent(fmt.Sprintf("web.instance-7b2c9a31-8f0e-4c1d-9a77-%012d._app.1", n))
	e.Task.Labels = map[string]string{
		"taskwall.environment": "production", "taskwall.uses": "db-orders,legacy-oracle", "team": "checkout", "tier": "backend",
	}
	e.Task.Networks = []events.Network{{Name: "taskwall", Addresses: []string{"10.64.3.17"}}}
	e.Task.Ports = []events.Port{{Name: "http", Number: 8080, Protocol: "tcp"}}
	return e
}

func benchLog(b *testing.B) *Log {
	b.Helper()
	l, err := Open(context.Background(), bustest.Streams(b).JS, Options{Epoch: 1, Key: testKey("log")})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

var batches = []int{1, 10, 100, 1000}

// BenchmarkAppend is the log; raw is the same number of the same messages with
// bare JetStream, on a stream of the same kind. Both are synced to disk.
func BenchmarkAppend(b *testing.B) {
	for _, size := range batches {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			l := benchLog(b)
			n := 0
			for b.Loop() {
				evs := make([]events.Event, size)
				for i := range evs {
					evs[i] = benchEvent(n)
					n++
				}
				if _, err := l.Append(context.Background(), evs...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(rawPublish(b, n, size), "raw-events/s")
		})
	}
}

// rawPublish is how many messages a second bare JetStream stores.
func rawPublish(b *testing.B, n, size int) float64 {
	c := bustest.Streams(b)
	data, err := json.Marshal(benchEvent(0))
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	for range n / size {
		msgs := make([]*nats.Msg, size)
		for i := range msgs {
			msgs[i] = &nats.Msg{Subject: bus.EventsSubject, Data: data, Header: nats.Header{}}
		}
		if _, err := bus.PublishAtomic(context.Background(), c.JS, msgs); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}

// BenchmarkReplay reads a log of a hundred thousand records: by Read, by
// Follow, with Verify, and from an exported copy.
func BenchmarkReplay(b *testing.B) {
	const n = 100_000
	ctx := context.Background()
	l := benchLog(b)
	for i := 0; i < n; i += 1000 {
		evs := make([]events.Event, 1000)
		for j := range evs {
			evs[j] = benchEvent(i + j)
		}
		if _, err := l.Append(ctx, evs...); err != nil {
			b.Fatal(err)
		}
	}
	run := func(name string, read func() (int, error)) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got, err := read(); err != nil || got != n {
					b.Fatalf("read %d records, %v", got, err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
	run("raw", func() (got int, err error) {
		for _, err := range bus.Fetch(ctx, l.js, bus.EventsStream, "", 1, n) {
			if err != nil {
				return got, err
			}
			got++
		}
		return got, nil
	})
	run("read", func() (got int, err error) {
		for _, err := range l.Read(ctx, 1) {
			if err != nil {
				return got, err
			}
			got++
		}
		return got, nil
	})
	run("follow", func() (got int, err error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		_ = l.Follow(ctx, 1, func(events.Entry) error { //nolint:errcheck // it ends when all were read
			if got++; got == n {
				cancel()
			}
			return nil
		})
		return got, nil
	})
	run("verify", func() (got int, err error) {
		rep, err := l.Verify(ctx)
		if err == nil && !rep.OK() {
			err = fmt.Errorf("%v", rep.Problems[0])
		}
		return int(rep.Records), err
	})
	var file bytes.Buffer
	if err := l.Export(ctx, &file); err != nil {
		b.Fatal(err)
	}
	run("copy", func() (got int, err error) {
		x, err := ImportReader(bytes.NewReader(file.Bytes()))
		if err != nil {
			return 0, err
		}
		for r, err := range x.Records() {
			if err == nil {
				_, err = r.Entry()
			}
			if err != nil {
				return got, err
			}
			got++
		}
		return got, nil
	})
}

// BenchmarkFollowLatency is the time from an append to the follower.
func BenchmarkFollowLatency(b *testing.B) {
	l := benchLog(b)
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Follow(ctx, 1, func(events.Entry) error { got <- struct{}{}; return nil }) //nolint:errcheck // it ends with ctx
	}()
	n := 0
	var acked time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := l.Append(ctx, benchEvent(n)); err != nil {
			b.Fatal(err)
		}
		acked += time.Since(start)
		n++
		<-got
	}
	b.ReportMetric(float64(acked.Microseconds())/float64(n), "us/append")
	cancel()
	<-done
}
