package bus_test

import (
	"errors"
	"strings"
	"testing"

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
