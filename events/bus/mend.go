package bus

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/nats-io/nats.go/jetstream"
)

// settings are the fields of a stream's configuration that are ours. Others,
// such as placement and compression, are the operator's.
var settings = []struct {
	name string
	of   func(*jetstream.StreamConfig) any // a pointer to the field
}{
	{"subjects", func(c *jetstream.StreamConfig) any { return &c.Subjects }},
	{"replicas", func(c *jetstream.StreamConfig) any { return &c.Replicas }},
	{"retention", func(c *jetstream.StreamConfig) any { return &c.Retention }},
	{"discard", func(c *jetstream.StreamConfig) any { return &c.Discard }},
	{"discard_new_per_subject", func(c *jetstream.StreamConfig) any { return &c.DiscardNewPerSubject }},
	{"max_age", func(c *jetstream.StreamConfig) any { return &c.MaxAge }},
	{"max_bytes", func(c *jetstream.StreamConfig) any { return &c.MaxBytes }},
	{"max_msgs", func(c *jetstream.StreamConfig) any { return &c.MaxMsgs }},
	{"max_msgs_per_subject", func(c *jetstream.StreamConfig) any { return &c.MaxMsgsPerSubject }},
	{"max_msg_size", func(c *jetstream.StreamConfig) any { return &c.MaxMsgSize }},
	{"duplicate_window", func(c *jetstream.StreamConfig) any { return &c.Duplicates }},
	{"no_ack", func(c *jetstream.StreamConfig) any { return &c.NoAck }},
	{"sealed", func(c *jetstream.StreamConfig) any { return &c.Sealed }},
	{"deny_delete", func(c *jetstream.StreamConfig) any { return &c.DenyDelete }},
	{"deny_purge", func(c *jetstream.StreamConfig) any { return &c.DenyPurge }},
	{"allow_rollup_hdrs", func(c *jetstream.StreamConfig) any { return &c.AllowRollup }},
	{"allow_direct", func(c *jetstream.StreamConfig) any { return &c.AllowDirect }},
	{"allow_atomic", func(c *jetstream.StreamConfig) any { return &c.AllowAtomicPublish }},
	{"allow_msg_ttl", func(c *jetstream.StreamConfig) any { return &c.AllowMsgTTL }},
	{"republish", func(c *jetstream.StreamConfig) any { return &c.RePublish }},
	{"subject_transform", func(c *jetstream.StreamConfig) any { return &c.SubjectTransform }},
	{"sources", func(c *jetstream.StreamConfig) any { return &c.Sources }},
}

// merge brings a stream's configuration to the wanted one, and says what differed.
func merge(have *jetstream.StreamConfig, want jetstream.StreamConfig) (differed []string) {
	for _, s := range settings {
		h, w := reflect.ValueOf(s.of(have)).Elem(), reflect.ValueOf(s.of(&want)).Elem()
		if none(h) && none(w) || reflect.DeepEqual(h.Interface(), w.Interface()) {
			continue
		}
		differed = append(differed, fmt.Sprintf("%s is %s instead of %s", s.name, text(h), text(w)))
		h.Set(w)
	}
	return differed
}

// none tells whether a list is empty.
func none(v reflect.Value) bool { return v.Kind() == reflect.Slice && v.Len() == 0 }

func text(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "none"
		}
		v = v.Elem()
	}
	return fmt.Sprintf("%+v", v.Interface())
}

// MendStreams brings the streams to their configuration when somebody has
// changed it, and says what was wrong. A stream that is gone is said, too, but
// not made: what it held may be about to be restored.
func MendStreams(ctx context.Context, js jetstream.JetStream, r Retention, replicas int) (found []string, err error) {
	for _, want := range wantedStreams(js, r, replicas) {
		differed, mendErr := mendStream(ctx, js, want)
		for _, d := range differed {
			found = append(found, fmt.Sprintf("stream %s: %s", want.Name, d))
		}
		if mendErr != nil {
			err = errors.Join(err, fmt.Errorf("stream %s: %w", want.Name, mendErr))
		}
	}
	return found, err
}

func mendStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (differed []string, err error) {
	ctx, cancel := Timeout(ctx)
	defer cancel()
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, errors.New("it is gone; restore it, or start a controller anew to make it empty: see docs/nats.md")
	}
	if err != nil {
		return nil, err
	}
	have := s.CachedInfo().Config
	asItIs(&want, have)
	if differed = merge(&have, want); len(differed) > 0 {
		_, err = js.UpdateStream(ctx, have)
	}
	return differed, err
}

// asItIs leaves what can't be changed as it is.
func asItIs(want *jetstream.StreamConfig, have jetstream.StreamConfig) {
	if have.PersistMode != want.PersistMode {
		want.PersistMode = have.PersistMode
		want.AllowAtomicPublish = have.PersistMode != jetstream.AsyncPersistMode
	}
}
