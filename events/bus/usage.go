package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Usage is how far a stream has filled what its retention allows.
type Usage struct {
	Stream        string        `json:"stream"`
	First         uint64        `json:"first"` // sequences of the oldest
	Last          uint64        `json:"last"`  // and the latest message
	Bytes         uint64        `json:"bytes"`
	MaxBytes      int64         `json:"maxBytes"` // negative: no limit
	Oldest        time.Time     `json:"oldest,omitzero"`
	MaxAge        time.Duration `json:"maxAge"`                 // nanoseconds
	OldestExpires time.Time     `json:"oldestExpires,omitzero"` // when retention by age removes the oldest message
}

// warnAt is the part of a limit from which Warnings speaks up.
const warnAt = 0.9

// StreamUsage asks how full a stream is.
func StreamUsage(ctx context.Context, js jetstream.JetStream, stream string) (Usage, error) {
	ctx, cancel := Timeout(ctx)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return Usage{}, fmt.Errorf("asking how full stream %s is: %w", stream, err)
	}
	info := s.CachedInfo()
	u := Usage{
		Stream: stream, First: info.State.FirstSeq, Last: info.State.LastSeq, Bytes: info.State.Bytes,
		MaxBytes: info.Config.MaxBytes, Oldest: info.State.FirstTime, MaxAge: info.Config.MaxAge,
	}
	if info.State.Msgs > 0 && u.MaxAge > 0 {
		u.OldestExpires = u.Oldest.Add(u.MaxAge)
	}
	return u, nil
}

// Warnings say, for people, which limits are near at a given time: what will
// be removed and why. They are empty while none is.
func (u Usage) Warnings(now time.Time) []string {
	var all []string
	if u.MaxBytes > 0 && float64(u.Bytes) >= warnAt*float64(u.MaxBytes) {
		all = append(all, fmt.Sprintf("stream %s fills %d %% of its %d bytes: the records of %s and after will be removed to make room",
			u.Stream, int(100*float64(u.Bytes)/float64(u.MaxBytes)), u.MaxBytes, u.Oldest.UTC().Format(time.DateOnly)))
	}
	if !u.OldestExpires.IsZero() && now.Sub(u.Oldest) >= time.Duration(warnAt*float64(u.MaxAge)) {
		all = append(all, fmt.Sprintf("stream %s keeps %s: the records of %s will be removed on %s",
			u.Stream, u.MaxAge, u.Oldest.UTC().Format(time.DateOnly), u.OldestExpires.UTC().Format(time.DateOnly)))
	}
	return all
}
