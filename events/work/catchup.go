package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
)

// A host asks on bus.CatchupSubject, with a stream sequence in decimal, for
// its first item that is stored after it. The answer is that item as it is
// stored, with its sequence in seqHeader, or without it if there is none.
//
// Controllers answer. Letting agents read the stream themselves would mean to
// let them create consumers, and who may do that can have the server send
// messages to any subject of the stream's account.
const (
	seqHeader      = "Taskwall-Seq"
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
				if err := answerStored(ctx, s, msg); err != nil {
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

func answerStored(ctx context.Context, s jetstream.Stream, msg *nats.Msg) error {
	answer := &nats.Msg{Header: nats.Header{}}
	if err := findStored(ctx, s, msg, answer); err != nil {
		answer.Header.Set(errorHeader, "not found out")
		return errors.Join(err, msg.RespondMsg(answer))
	}
	return msg.RespondMsg(answer)
}

func findStored(ctx context.Context, s jetstream.Stream, msg, answer *nats.Msg) error {
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
	stored, err := s.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(bus.WorkSubject(host)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the item of %s after %d: %w", host, after, err)
	}
	answer.Header = stored.Header
	answer.Header.Set(seqHeader, strconv.FormatUint(stored.Sequence, 10))
	answer.Data = stored.Data
	return nil
}

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
	if msg.Header.Get(seqHeader) == "" {
		return nil, nil
	}
	seq, err := strconv.ParseUint(msg.Header.Get(seqHeader), 10, 64)
	if err != nil || seq <= after {
		return nil, fmt.Errorf("asking for the item after %d: got one at %q", after, msg.Header.Get(seqHeader))
	}
	it, err := decodeItem(host, msg.Header, msg.Data)
	if err != nil {
		return nil, err
	}
	return &storedItem{it, seq}, nil
}
