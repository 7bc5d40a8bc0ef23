package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

// Whoever has the key of an agent, an auditor, an operator, a viewer or of a
// controller itself, with it removes nothing of what was written. (A controller
// may lower the limits of a stream: it says how long a log is kept.)
func TestNobodyRemovesWhatWasWritten(t *testing.T) {
	s := newSite(t, "node.1")
	controller, ctx := s.connect(t, "controller"), bustest.Context(t)
	streams := map[string]string{
		bus.EventsStream: bus.EventsSubject, bus.WorkStream: bus.WorkSubject("node.1"),
		bus.ReportsStream: bus.ReportsSubject("node.1"), bus.CheckpointsStream: bus.CheckpointsSubject,
	}
	for stream, subject := range streams {
		if _, err := controller.JS.Publish(ctx, subject, []byte("written")); err != nil {
			t.Fatalf("%s: %v", stream, err)
		}
	}
	for _, who := range []string{"controller", "node.1", "auditor", "ann", "dashboard"} {
		c := s.connect(t, who)
		for stream := range streams {
			for remove, of := range map[string]string{"STREAM.MSG.DELETE." + stream: `{"seq":1}`, "STREAM.PURGE." + stream: "", "STREAM.DELETE." + stream: ""} {
				for _, prefix := range []string{"$JS.API.", "taskwall.audit."} {
					body, err := request(t, c, prefix+remove, of)
					switch {
					case errors.Is(err, bus.ErrDenied), errors.Is(err, nats.ErrNoResponders):
					case err == nil && strings.Contains(body, `"error"`) && !strings.Contains(body, `"success":true`):
					default:
						t.Errorf("%s, %s: %q, %v", who, prefix+remove, body, err)
					}
				}
			}
		}
	}
	for stream := range streams {
		if state, err := bus.StreamState(ctx, controller.JS, stream); err != nil || state.Msgs != 1 || state.FirstSeq != 1 {
			t.Errorf("%s holds %+v, %v", stream, state, err)
		}
	}
	// The settings that refuse it cannot be taken back.
	for stream := range streams {
		at, err := controller.JS.Stream(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		cfg := at.CachedInfo().Config
		cfg.DenyDelete, cfg.DenyPurge = false, false
		if _, err := controller.JS.UpdateStream(ctx, cfg); err == nil {
			t.Errorf("%s: it was taken back that nothing is removed", stream)
		}
	}
}

// A report may carry whatever headers its agent likes. None of those that mean
// something to the server removes a report, puts one elsewhere, lets it go by
// itself, or has the server take another host's report for one it knows.
func TestHeadersOfReportsRemoveNothing(t *testing.T) {
	s := newSite(t, "node.1", "node.2")
	controller, agent, other := s.connect(t, "controller"), s.connect(t, "node.1"), s.connect(t, "node.2")
	ctx := bustest.Context(t)
	if _, err := request(t, other, bus.ReportsSubject("node.2"), "written"); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, h := range [][2]string{
		{"Nats-Rollup", "all"}, {"Nats-TTL", "1s"}, {"Nats-Expected-Stream", bus.EventsStream}, {"Nats-Expected-Last-Sequence", "1"},
		{"Nats-Expected-Last-Subject-Sequence", "0"}, {"Nats-Batch-Id", "b"}, {"Nats-Schedule", "@every 1s"}, {"Nats-Schedule-Target", bus.EventsSubject},
		{"Nats-Incr", "+1"}, {"Nats-Msg-Id", "known"}, {"Nats-Marker-Reason", "Purge"}, {"KV-Operation", "PURGE"},
		// What the server adds to a message when it is read.
		{"Nats-Stream", bus.EventsStream}, {"Nats-Subject", bus.ReportsSubject("node.2")}, {"Nats-Sequence", "1"}, {"Nats-Sequence", "none"},
		{"Nats-Sequence", "18446744073709551615"}, {"Nats-Time-Stamp", "2026-01-01T00:00:00Z"}, {"Nats-Time-Stamp", "never"}, {"Nats-Num-Pending", "0"},
		{"Status", "404"}, {"Status", "503"}, {"Status", "204"}, {"Description", "EOB"},
	} {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		msg := &nats.Msg{Subject: bus.ReportsSubject("node.1"), Header: nats.Header{h[0]: {h[1]}}} // no data, as in the server's own words
		if answer, err := agent.Request(short, msg); err == nil && !strings.Contains(string(answer.Data), `"error"`) {
			sent++ // whether it is taken or refused is the server's affair
		}
		cancel()
	}
	if sent < 12 {
		t.Errorf("only %d reports were taken", sent)
	}
	if body, err := request(t, other, bus.ReportsSubject("node.2"), "again"); err != nil || strings.Contains(body, `"error"`) || strings.Contains(body, `"duplicate":true`) {
		t.Errorf("the other host's next report: %q, %v", body, err)
	}
	state, err := bus.StreamState(ctx, controller.JS, bus.ReportsStream)
	if err != nil || state.FirstSeq != 1 || state.NumDeleted != 0 || state.Msgs != state.LastSeq || state.Msgs < 3 {
		t.Fatalf("%+v, %v", state, err)
	}
	n := 0
	for msg, err := range bus.Fetch(ctx, controller.JS, bus.ReportsStream, "", 1, state.LastSeq) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		want := bus.ReportsSubject("node.1")
		if n == 1 || msg.Sequence == state.LastSeq {
			want = bus.ReportsSubject("node.2")
		}
		if msg.Subject != want || msg.Sequence != uint64(n) || time.Since(msg.Time) > time.Hour {
			t.Errorf("report %d lies at %s, place %d, since %s", n, msg.Subject, msg.Sequence, msg.Time)
		}
	}
	if uint64(n) != state.Msgs || n != sent+2 {
		t.Errorf("%d reports are read, of %d, and %d were sent", n, state.Msgs, sent+2)
	}
	if at, err := bus.FirstSince(ctx, controller.JS, bus.ReportsStream, time.Unix(0, 0)); err != nil || at != 1 {
		t.Errorf("the first report lies at %d, %v", at, err)
	}
	for _, stream := range []string{bus.EventsStream, bus.WorkStream, bus.CheckpointsStream} {
		if state, err := bus.StreamState(ctx, controller.JS, stream); err != nil || state.LastSeq != 0 {
			t.Errorf("%s holds %d messages, %v", stream, state.LastSeq, err)
		}
	}
}
