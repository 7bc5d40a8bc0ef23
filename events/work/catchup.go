package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
)

// A host asks on bus.CatchupSubject, with a stream sequence in decimal, for
// its first item that is stored after it. The answer is that item as it is
// stored, with its sequence in seqHeader, or without it if there is none. When
// the stream ends before that sequence, it was restored from a backup or made
// anew: then endHeader has its end.
//
// Controllers answer. Letting agents read the stream themselves would mean to
// let them create consumers, and who may do that can have the server send
// messages to any subject of the stream's account.
const (
	seqHeader      = "Taskwall-Seq"
	endHeader      = "Taskwall-End"
	errorHeader    = "Taskwall-Error"
	catchupQueue   = "controllers"
	catchupWorkers = 4
)

// ServeCatchup answers hosts that have missed items, until ctx ends. Every
// controller may run it, also one that does not lead.
func ServeCatchup(ctx context.Context, c *bus.Conn, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s, err := c.JS.Stream(ctx, bus.WorkStream)
	if err != nil {
		return fmt.Errorf("serving missed work items: %w", err)
	}
	sub, err := c.NATS.QueueSubscribeSync(bus.AllCatchups, catchupQueue)
	if err != nil {
		return fmt.Errorf("serving missed work items: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // it ends with the connection at the latest
	a := &answerer{s: s}
	var wg sync.WaitGroup
	for range catchupWorkers {
		wg.Go(func() {
			for {
				msg, err := sub.NextMsgWithContext(ctx)
				if errors.Is(err, nats.ErrSlowConsumer) {
					continue // the askers ask again
				}
				if err != nil {
					return
				}
				if err := a.answer(ctx, msg); err != nil {
					log.Warn("answering a host that missed work items", "subject", msg.Subject, "error", err)
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.New("serving missed work items: the connection is closed")
}

// answerer answers from the stream.
type answerer struct {
	s jetstream.Stream

	mu    sync.Mutex
	end   uint64    // the stream's last sequence
	asked time.Time // when that was
}

// endFor is how long the known end of the stream answers hosts that are before
// it: most are, and then it costs no question.
const endFor = 2 * time.Second

func (a *answerer) answer(ctx context.Context, msg *nats.Msg) error {
	answer := &nats.Msg{Header: nats.Header{}}
	if err := a.find(ctx, msg, answer); err != nil {
		answer.Header.Set(errorHeader, "not found out")
		return errors.Join(err, msg.RespondMsg(answer))
	}
	return msg.RespondMsg(answer)
}

func (a *answerer) find(ctx context.Context, msg, answer *nats.Msg) error {
	host, err := bus.HostOf(msg.Subject)
	if err != nil {
		return err
	}
	after, err := strconv.ParseUint(string(msg.Data[:min(len(msg.Data), 20)]), 10, 64)
	if err != nil {
		return fmt.Errorf("no sequence in the request of %s: %w", host, err)
	}
	ctx, cancel := bus.Timeout(ctx)
	defer cancel()
	stored, err := a.s.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(bus.WorkSubject(host)))
	for err == nil && stored.Header.Get(revHeader) == "" { // no publisher wrote it
		stored, err = a.s.GetMsg(ctx, stored.Sequence+1, jetstream.WithGetMsgSubject(bus.WorkSubject(host)))
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return a.checkEnd(ctx, after, answer)
	}
	if err != nil {
		return fmt.Errorf("reading the item of %s after %d: %w", host, after, err)
	}
	answer.Header = stored.Header
	answer.Header.Set(seqHeader, strconv.FormatUint(stored.Sequence, 10))
	answer.Data = stored.Data
	return nil
}

// checkEnd tells a host that was sent what the stream does not have.
func (a *answerer) checkEnd(ctx context.Context, after uint64, answer *nats.Msg) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if after <= a.end && time.Since(a.asked) < endFor {
		return nil
	}
	now := time.Now()
	info, err := a.s.Info(ctx)
	if err != nil {
		return fmt.Errorf("finding the end of the work items: %w", err)
	}
	a.end, a.asked = info.State.LastSeq, now
	if after > a.end {
		answer.Header.Set(endHeader, strconv.FormatUint(a.end, 10))
	}
	return nil
}

// errRewound means that the stream of work items ends before one that this host
// was sent.
var errRewound = errors.New("the stream of work items was restored from an older backup, or made anew")

// storedItem is the answer to a host.
type storedItem struct {
	item *Item
	seq  uint64
}

// askStored asks for the first item after a sequence; nil if there is none.
func askStored(ctx context.Context, c *bus.Conn, host string, after uint64) (*storedItem, error) {
	msg, err := c.Request(ctx, &nats.Msg{Subject: bus.CatchupSubject(host), Data: strconv.AppendUint(nil, after, 10)})
	if err != nil {
		return nil, err
	}
	if text := msg.Header.Get(errorHeader); text != "" {
		return nil, fmt.Errorf("asking for the item after %d: the controller has %s", after, text)
	}
	if end := msg.Header.Get(endHeader); end != "" {
		return nil, fmt.Errorf("%w: it ends at %s", errRewound, end)
	}
	if msg.Header.Get(seqHeader) == "" {
		return nil, nil
	}
	seq, err := strconv.ParseUint(msg.Header.Get(seqHeader), 10, 64)
	if err != nil || seq <= after {
		return nil, fmt.Errorf("asking for the item after %d: got one at %q", after, msg.Header.Get(seqHeader))
	}
	it, err := unpackItem(host, msg.Header, msg.Data)
	if err != nil {
		return nil, err
	}
	return &storedItem{it, seq}, nil
}
