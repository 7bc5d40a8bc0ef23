package bus_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

// What a stranger changes of a stream is found, said and changed back.
func TestChangedStreamsAreMended(t *testing.T) {
	ctx := bustest.Context(t)
	c := bustest.Streams(t)
	kept := bus.Retention{MaxAge: 24 * time.Hour}
	if err := bus.EnsureStreams(ctx, c.JS, kept, 1); err != nil {
		t.Fatal(err)
	}
	if found, err := bus.MendStreams(ctx, c.JS, kept, 1); err != nil || len(found) != 0 {
		t.Fatalf("of streams that were just made: %q, %v", found, err)
	}
	for _, test := range []struct {
		stream string
		change func(*jetstream.StreamConfig)
		want   string
	}{
		{bus.EventsStream, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age is 1h0m0s instead of 24h0m0s"},
		{bus.EventsStream, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 }, "max_msgs is 1000 instead of -1"},
		{bus.EventsStream, func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }, "max_bytes is 1048576 instead of -1"},
		{bus.EventsStream, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew }, "discard is DiscardNew instead of DiscardOld"},
		{bus.EventsStream, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, "allow_atomic is false instead of true"},
		{bus.EventsStream, func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "stray") }, "subjects is [taskwall.events stray] instead of [taskwall.events]"},
		{bus.WorkStream, func(c *jetstream.StreamConfig) { c.RePublish = nil }, "republish is none instead of {Source:WORK.* "},
		{bus.WorkStream, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject is 1 instead of -1"},
		{bus.ReportsStream, func(c *jetstream.StreamConfig) { c.AllowRollup = true; c.DenyPurge = true }, "allow_rollup_hdrs is true instead of false"},
		{bus.PositionsStream, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, "max_msgs_per_subject is 5 instead of 1"},
	} {
		cfg, err := bus.StreamConfig(ctx, c.JS, test.stream)
		if err != nil {
			t.Fatal(err)
		}
		test.change(&cfg)
		if _, err := c.JS.UpdateStream(ctx, cfg); err != nil {
			t.Logf("%s: the server refuses it itself: %v", test.want, err)
			continue
		}
		found, err := bus.MendStreams(ctx, c.JS, kept, 1)
		if err != nil || len(found) != 1 || !strings.HasPrefix(found[0], "stream "+test.stream+": "+test.want) {
			t.Errorf("%s, %s: found %q, %v", test.stream, test.want, found, err)
		}
		if found, err := bus.MendStreams(ctx, c.JS, kept, 1); err != nil || len(found) != 0 {
			t.Errorf("%s, %s: it is not mended: %q, %v", test.stream, test.want, found, err)
		}
	}
}

// What is the operator's own stays, also at a controller's start.
func TestOperatorsSettingsStay(t *testing.T) {
	ctx := bustest.Context(t)
	c := bustest.Streams(t)
	cfg, err := bus.StreamConfig(ctx, c.JS, bus.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Compression, cfg.Description = jetstream.S2Compression, "the log"
	if _, err := c.JS.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if found, err := bus.MendStreams(ctx, c.JS, bus.Retention{}, 1); err != nil || len(found) != 0 {
		t.Errorf("found %q, %v", found, err)
	}
	if err := bus.EnsureStreams(ctx, c.JS, bus.Retention{MaxAge: time.Hour}, 1); err != nil {
		t.Fatal(err)
	}
	if cfg, err := bus.StreamConfig(ctx, c.JS, bus.EventsStream); err != nil || cfg.Compression != jetstream.S2Compression || cfg.Description != "the log" || cfg.MaxAge != time.Hour {
		t.Errorf("it is %+v, %v", cfg, err)
	}
}

// A stream that is gone is not made while a controller runs: a backup of it may
// be about to be restored.
func TestStreamThatIsGoneIsSaid(t *testing.T) {
	ctx := bustest.Context(t)
	c := bustest.Streams(t)
	if err := c.JS.DeleteStream(ctx, bus.EventsStream); err != nil {
		t.Fatal(err)
	}
	found, err := bus.MendStreams(ctx, c.JS, bus.Retention{}, 1)
	if err == nil || !strings.Contains(err.Error(), "stream EVENTS: it is gone") || len(found) != 0 {
		t.Errorf("found %q, %v", found, err)
	}
	if _, err := bus.StreamConfig(ctx, c.JS, bus.EventsStream); err == nil {
		t.Error("it was made")
	}
}
