package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
)

// Position is how far a host has come in its items: the revision, and the
// sequence in the WORK stream where that was stored.
type Position struct {
	Rev uint64 `json:"rev"`
	Seq uint64 `json:"seq"`
}

// Subscription gives a host its work items in order, without gaps. Items come
// on a plain subject, which costs the server next to nothing per host; what
// such a subject can lose (while the connection was down, or when this side
// was too slow) shows as a gap in the revisions, and is asked for again.
type Subscription struct {
	c    *bus.Conn
	host string
	log  *slog.Logger
	sub  *nats.Subscription
	stop func() // ends the notice of reconnects

	pos      Position
	fresh    bool      // pass over everything up to the next snapshot
	catching bool      // stored items may be missing: ask before listening
	caught   int       // how many were fetched since it began
	held     *nats.Msg // came while items before it are missing

	mu   sync.Mutex // guards what a reconnect touches
	wake context.CancelFunc
	lost bool
}

const (
	// The most that waits on this side. What exceeds it is dropped, and asked
	// for again.
	pendingItems = 512
	pendingBytes = 64 << 20

	// checkEvery is how often, on average, a silent subscription asks whether
	// it has missed anything. A lost message is otherwise noticed at the next
	// one, or at a reconnect.
	checkEvery = time.Minute

	// maxCatchup bounds how many missed items are fetched one by one; a host
	// that has missed more does better with a snapshot.
	maxCatchup = 1000
	// confirmTimeout bounds the wait for the server to confirm a subscription.
	confirmTimeout = 5 * time.Second
)

// Subscribe begins after a position that an earlier Subscription had reached.
// From the zero Position, and after ErrGap, Next passes over everything up to
// the host's next snapshot, which the host must ask for by a Join report.
func Subscribe(ctx context.Context, c *bus.Conn, host string, after Position, log *slog.Logger) (*Subscription, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Subscription{c: c, host: host, log: log, pos: after, fresh: after == Position{}, catching: after != Position{}}
	sub, err := c.NATS.SubscribeSync(bus.LiveSubject(host))
	if err != nil {
		return nil, fmt.Errorf("subscribing to the work items of %s: %w", host, err)
	}
	if err := sub.SetPendingLimits(pendingItems, pendingBytes); err != nil {
		return nil, fmt.Errorf("subscribing to the work items of %s: %w", host, errors.Join(err, sub.Unsubscribe()))
	}
	s.sub = sub
	// Only when the server has it is nothing missed from here on.
	confirm, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	if err := c.NATS.FlushWithContext(confirm); err != nil {
		return nil, fmt.Errorf("subscribing to the work items of %s: %w", host, errors.Join(err, sub.Unsubscribe()))
	}
	s.stop = c.OnReconnect(s.reconnected)
	return s, nil
}

// Close ends the subscription.
func (s *Subscription) Close() error {
	s.stop()
	if err := s.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("ending the subscription of %s: %w", s.host, err)
	}
	return nil
}

// Position is that of the item that Next gave last.
func (s *Subscription) Position() Position { return s.pos }

// reconnected makes a waiting Next look for what was missed.
func (s *Subscription) reconnected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = true
	if s.wake != nil {
		s.wake()
	}
}

// Next waits for the host's next item. ErrGap means that items are lost for
// good: the host must send a Join report, and may then call Next again. Only
// one goroutine may call it.
func (s *Subscription) Next(ctx context.Context) (*Item, error) {
	for {
		if s.catching && !s.fresh {
			if s.caught++; s.caught > maxCatchup {
				return nil, s.giveUp("too many items were missed")
			}
			it, err := s.catchUp(ctx)
			if it != nil || err != nil {
				return it, err
			}
			s.catching, s.caught = false, 0
		}
		msg, err := s.receive(ctx)
		if err != nil {
			return nil, err
		}
		if msg == nil {
			s.catching = true
			continue
		}
		if it, err := s.take(msg); it != nil || err != nil {
			return it, err
		}
	}
}

// receive waits for a message; nil means that some may have been missed.
func (s *Subscription) receive(ctx context.Context) (*nats.Msg, error) {
	if msg := s.held; msg != nil {
		s.held = nil
		return msg, nil
	}
	wait, wake := context.WithTimeout(ctx, checkEvery/2+rand.N(checkEvery))
	defer wake()
	s.mu.Lock()
	lost := s.lost
	s.wake, s.lost = wake, false
	s.mu.Unlock()
	if lost {
		return nil, nil
	}
	msg, err := s.sub.NextMsgWithContext(wait)
	switch {
	case err == nil:
		return msg, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case wait.Err() != nil, errors.Is(err, nats.ErrSlowConsumer):
		s.mu.Lock()
		s.lost = false
		s.mu.Unlock()
		return nil, nil
	case errors.Is(err, nats.ErrPermissionViolation):
		return nil, fmt.Errorf("waiting for work items of %s: %w", s.host, bus.ErrDenied)
	default:
		return nil, fmt.Errorf("waiting for work items of %s: %w", s.host, err)
	}
}

// take judges a message that came live, and gives its item if it is next.
func (s *Subscription) take(msg *nats.Msg) (*Item, error) {
	h := msg.Header
	seq, err := strconv.ParseUint(h.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil || h.Get(jetstream.StreamHeader) != bus.WorkStream || h.Get(jetstream.SubjectHeader) != bus.WorkSubject(s.host) {
		s.log.Warn("passing over a message that is no work item", "host", s.host)
		return nil, nil
	}
	it, err := unpackItem(s.host, h, msg.Data)
	if err != nil {
		s.log.Error("passing over a work item", "host", s.host, "seq", seq, "error", err)
		s.catching = true
		return nil, nil
	}
	// The revision decides, not the sequence: after a crash of the server items
	// that it had lost come with other sequences.
	switch {
	case it.Snapshot && (s.fresh || it.Rev > s.pos.Rev):
		s.fresh = false
	case s.fresh, it.Rev <= s.pos.Rev && seq <= s.pos.Seq:
		return nil, nil
	case it.Rev <= s.pos.Rev:
		return nil, s.giveUp(saidAnew(it))
	case it.Rev != s.pos.Rev+1:
		s.held, s.catching = msg, true
		return nil, nil
	}
	s.pos = Position{it.Rev, seq}
	return it, nil
}

// saidAnew is why an item is not taken that was stored after the last that was,
// and is of no later revision. It may be what a crash of the server had lost, or
// differ from what this host has, if the log was restored from a backup.
func saidAnew(it *Item) string { return fmt.Sprintf("item %d was published anew", it.Rev) }

// catchUp fetches the next stored item; nil without error means that there is
// none.
func (s *Subscription) catchUp(ctx context.Context) (*Item, error) {
	answer, err := askStored(ctx, s.c, s.host, s.pos.Seq)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, bus.ErrDenied):
		return nil, fmt.Errorf("asking for work items of %s: %w", s.host, err)
	case errors.Is(err, errRewound):
		return nil, s.giveUp(err.Error())
	case err != nil && s.held == nil:
		s.log.Debug("could not ask for missed work items", "host", s.host, "error", err)
		return nil, nil // asked again after a while
	case err != nil:
		return nil, s.giveUp(err.Error())
	case answer == nil && s.held != nil:
		return nil, s.giveUp("they are no longer stored")
	case answer == nil:
		return nil, nil
	case answer.item.Rev <= s.pos.Rev:
		return nil, s.giveUp(saidAnew(answer.item))
	case answer.item.Rev != s.pos.Rev+1 && !answer.item.Snapshot:
		return nil, s.giveUp("they are no longer stored")
	}
	s.pos = Position{answer.item.Rev, answer.seq}
	if s.held != nil && s.pos.Rev+1 == heldRev(s.held) {
		s.catching, s.caught = false, 0 // the one that came is next
	} else {
		s.catching = true
	}
	return answer.item, nil
}

func heldRev(msg *nats.Msg) uint64 {
	rev, _ := strconv.ParseUint(msg.Header.Get(revHeader), 10, 64)
	return rev
}

func (s *Subscription) giveUp(why string) error {
	s.fresh, s.catching, s.caught, s.held = true, false, 0, nil
	return fmt.Errorf("work items of %s after %d: %w: %s", s.host, s.pos.Rev, ErrGap, why)
}

// unpackItem reads a stored item and checks that it is the host's.
func unpackItem(host string, h nats.Header, data []byte) (*Item, error) {
	data, err := bus.Unpack(h, data)
	if err != nil {
		return nil, err
	}
	return decodeItem(host, data)
}

// decodeItem reads an item as it was published for a host.
func decodeItem(host string, data []byte) (*Item, error) {
	it, err := unmarshalItem(data)
	if err != nil {
		return nil, fmt.Errorf("decoding a work item: %w", err)
	}
	if err := it.Key().check(host); err != nil {
		return nil, err
	}
	return &it, nil
}

// check checks that an item is the host's.
func (k Key) check(host string) error {
	if k.Host != host {
		return fmt.Errorf("a work item of %q came to %q", k.Host, host)
	}
	if k.Rev == 0 {
		return errors.New("a work item without a revision")
	}
	return nil
}
