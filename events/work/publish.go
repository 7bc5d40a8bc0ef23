package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/taskwall/taskwall/events/bus"
)

// revHeader carries an item's revision, so that it can be read without the body.
const revHeader = "Taskwall-Rev"

// Publisher writes work items. Only one at a time can: it lays claim to the
// WORK stream by a message on bus.FenceSubject, and everything it publishes
// carries the condition, checked by the stream itself, that this claim is
// still the last. From the moment a later publisher has made its own claim,
// nothing of an earlier one is stored for any host, whatever was under way.
type Publisher struct {
	js     jetstream.JetStream
	epoch  uint64
	writer string

	mu     sync.Mutex          // held while publishing
	claim  uint64              // stream sequence of our claim; 0: to be made (again)
	atomic bool                // the stream takes atomic batches
	last   map[string]uint64   // revision last published, by work subject
	sent   map[string]struct{} // subjects on which this publisher has published
	fenced error               // set for good when another publisher took over
	doubt  atomic.Bool         // what was published is to be compared with what is stored
}

// NewPublisher claims the stream for this epoch (package lease) and reads what
// each host was last sent. It is ErrFenced when a later epoch has a claim.
func NewPublisher(ctx context.Context, js jetstream.JetStream, epoch uint64) (*Publisher, error) {
	p := &Publisher{js: js, epoch: epoch, writer: nuid.Next()}
	if err := p.takeOver(ctx, true); err != nil {
		return nil, fmt.Errorf("taking over the publishing of work items: %w", err)
	}
	return p, nil
}

// Doubt has the next Publish compare what was published with what is stored: the
// server may have started anew, and one that writes items behind (bus.EnsureStreams)
// has then lost the last of them, though it had acknowledged them. It does not
// block.
func (p *Publisher) Doubt() { p.doubt.Store(true) }

// Sent are the revisions that the hosts were last sent, of those to which any is
// stored.
func (p *Publisher) Sent() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return byHost(p.last)
}

// Publish stores items and so sends them to their hosts. Items that were
// published already are skipped, so a fold that starts again from a snapshot
// may offer them again, and a call that failed may be repeated: it may have
// stored some of the items. On a cluster the items of one call, up to
// bus.MaxBatch of them, are stored all or none.
//
// An item that leaves a gap after the last that this Publisher sent to the
// host, and is no snapshot, is ErrGap; nothing of the call is stored then. So is
// the loss of items that this Publisher had published. A gap after an earlier
// publisher's last is let through: the host, if it misses the items between, asks
// for a snapshot.
func (p *Publisher) Publish(ctx context.Context, items ...*Item) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for attempt := 0; ; attempt++ {
		if p.fenced != nil {
			return p.fenced
		}
		if p.doubt.Swap(false) {
			p.claim = 0
		}
		if p.claim == 0 {
			if err := p.renew(ctx); err != nil {
				return fmt.Errorf("publishing work items: %w", err)
			}
		}
		err := p.publish(ctx, items)
		if errors.Is(err, bus.ErrFenced) && attempt == 0 {
			// Another publisher, or our claim has grown so old that it was
			// removed: laying claim again tells.
			p.claim = 0
			continue
		}
		if err != nil {
			return fmt.Errorf("publishing work items: %w", err)
		}
		return nil
	}
}

func (p *Publisher) publish(ctx context.Context, items []*Item) error {
	msgs := make([]*nats.Msg, 0, len(items))
	revs := map[string]uint64{}
	for _, it := range items {
		subject := bus.WorkSubject(it.Host)
		last, known := revs[subject]
		strict := known
		if !known {
			last, known = p.last[subject]
			_, strict = p.sent[subject]
		}
		if known && it.Rev <= last {
			continue
		}
		if strict && it.Rev != last+1 && !it.Snapshot { // a whole picture needs none before it
			return fmt.Errorf("item %d for %s after %d: %w", it.Rev, it.Host, last, ErrGap)
		}
		revs[subject] = it.Rev
		msg, err := p.message(subject, it)
		if err != nil {
			return err
		}
		msgs = append(msgs, msg)
	}
	for len(msgs) > 0 {
		n := min(len(msgs), bus.MaxBatch)
		batch := msgs[:n]
		if err := p.store(ctx, batch); err != nil {
			// It may have been stored, or may yet be: only a new claim settles that.
			p.claim = 0
			return err
		}
		for _, msg := range batch {
			rev, _ := strconv.ParseUint(msg.Header.Get(revHeader), 10, 64)
			p.last[msg.Subject] = rev
			p.sent[msg.Subject] = struct{}{}
		}
		msgs = msgs[n:]
	}
	return nil
}

// store publishes under the condition that our claim is the last.
func (p *Publisher) store(ctx context.Context, batch []*nats.Msg) error {
	conditional := batch
	if p.atomic {
		conditional = batch[:1] // it decides for all
	}
	for _, msg := range conditional {
		msg.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, bus.FenceSubject)
		msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(p.claim, 10))
	}
	if p.atomic {
		_, err := bus.PublishAtomic(ctx, p.js, batch)
		return err
	}
	return bus.PublishPipelined(ctx, p.js, batch)
}

func (p *Publisher) message(subject string, it *Item) (*nats.Msg, error) {
	data, err := AppendItem(nil, it)
	if err != nil {
		return nil, fmt.Errorf("encoding item %d for %s: %w", it.Rev, it.Host, err)
	}
	msg := &nats.Msg{Subject: subject, Header: nats.Header{
		revHeader:       {strconv.FormatUint(it.Rev, 10)},
		bus.EpochHeader: {strconv.FormatUint(p.epoch, 10)},
	}}
	return msg, bus.Pack(p.js.Conn(), msg, data)
}

// claim is the body of a message on bus.FenceSubject.
type claim struct {
	Epoch  uint64 `json:"epoch"`
	Writer string `json:"writer"`
}

// LastEpoch is the epoch of the last claim, 0 if there is none.
func LastEpoch(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	c, _, err := lastClaim(ctx, js)
	return c.Epoch, err
}

// lastClaim is the last claim, and the sequence of the last message among the
// claims: a message that somebody else published there claims nothing.
func lastClaim(ctx context.Context, js jetstream.JetStream) (c claim, seq uint64, err error) {
	last, found, err := bus.Last(ctx, js, bus.WorkStream, bus.FenceSubject)
	if err != nil || !found {
		return c, 0, err
	}
	if json.Unmarshal(last.Data, &c) == nil && c.Writer != "" {
		return c, last.Sequence, nil
	}
	c = claim{}
	for msg, err := range bus.Fetch(ctx, js, bus.WorkStream, bus.FenceSubject, 1, last.Sequence) {
		if err != nil {
			return c, 0, fmt.Errorf("reading the claims: %w", err)
		}
		var one claim
		if json.Unmarshal(msg.Data, &one) == nil && one.Writer != "" {
			c = one
		}
	}
	return c, last.Sequence, nil
}

// renew makes a claim again. It is ErrGap when what was published is no longer
// stored.
func (p *Publisher) renew(ctx context.Context) error {
	before := p.last
	if err := p.takeOver(ctx, false); err != nil {
		return err
	}
	for subject, rev := range before {
		if now, kept := p.last[subject]; kept && now < rev {
			return fmt.Errorf("%s is stored up to item %d, and was published up to %d: the message bus has lost the items between: %w", subject, now, rev, ErrGap)
		}
	}
	return nil
}

// takeOver makes a claim and then reads what was published before it: after
// the claim nothing else can come. first is false when a publisher renews its
// own claim: then one of another publisher of the same epoch fences it.
func (p *Publisher) takeOver(ctx context.Context, first bool) error {
	cfg, err := bus.StreamConfig(ctx, p.js, bus.WorkStream)
	if err != nil {
		return err
	}
	p.atomic = cfg.AllowAtomicPublish
	body, err := json.Marshal(claim{p.epoch, p.writer})
	if err != nil {
		return err
	}
	const attempts = 10 // a replica may lag, another publisher may be faster
	for attempt := 1; ; attempt++ {
		c, before, err := lastClaim(ctx, p.js)
		if err != nil {
			return err
		}
		if c.Epoch > p.epoch || !first && c.Epoch == p.epoch && c.Writer != "" && c.Writer != p.writer {
			p.fenced = fmt.Errorf("epoch %d: %w: epoch %d has a claim", p.epoch, ErrFenced, c.Epoch)
			return p.fenced
		}
		msg := &nats.Msg{Subject: bus.FenceSubject, Data: body, Header: nats.Header{
			jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(before, 10)},
		}}
		seq, err := bus.PublishAtomic(ctx, p.js, []*nats.Msg{msg})
		if err == nil {
			p.sent = map[string]struct{}{}
			if p.last, err = lastRevs(ctx, p.js, seq); err == nil {
				p.claim = seq
			}
			return err
		}
		if !errors.Is(err, bus.ErrFenced) || attempt == attempts {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Duration(attempt) * 10 * time.Millisecond):
		}
	}
}

// LastStored is the log's record because of which the last item was sent, 0 if
// there is none, and the last revision of each host.
func LastStored(ctx context.Context, js jetstream.JetStream) (cause uint64, revs map[string]uint64, err error) {
	state, err := bus.StreamState(ctx, js, bus.WorkStream)
	if err != nil || state.Msgs == 0 {
		return 0, nil, err
	}
	if cause, err = LastCause(ctx, js); err != nil {
		return 0, nil, err
	}
	last, err := lastRevs(ctx, js, state.LastSeq)
	return cause, byHost(last), err
}

// byHost has revisions by host instead of by subject.
func byHost(last map[string]uint64) map[string]uint64 {
	revs := make(map[string]uint64, len(last))
	for subject, rev := range last {
		host, _ := bus.HostOf(subject) // lastRevs has looked
		revs[host] = rev
	}
	return revs
}

// lastRevs reads the last revision of each host, by subject, up to a sequence,
// such as that of a claim, which is read, too: a replica that has the claim has
// all before it.
func lastRevs(ctx context.Context, js jetstream.JetStream, to uint64) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	it, err := bus.Tail(ctx, js, bus.WorkStream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{bus.AllWork, bus.FenceSubject},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
		HeadersOnly:    true,
	})
	if err != nil {
		return nil, fmt.Errorf("reading the last revisions: %w", err)
	}
	defer it.Stop()
	last := map[string]uint64{}
	for {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("reading the last revisions: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, fmt.Errorf("reading the last revisions: %w", err)
		}
		if _, err := bus.HostOf(msg.Subject()); err == nil { // else it is a claim, or no publisher wrote it
			rev, err := strconv.ParseUint(msg.Headers().Get(revHeader), 10, 64)
			if err != nil { // nor this: the last item is before it
				if rev, err = lastRev(ctx, js, msg.Subject(), meta.Sequence.Stream); err != nil {
					return nil, fmt.Errorf("reading the last revision of %s: %w", msg.Subject(), err)
				}
			}
			if rev > 0 {
				last[msg.Subject()] = max(last[msg.Subject()], rev)
			}
		}
		if meta.Sequence.Stream >= to {
			return last, nil
		}
	}
}

// lastRev is the greatest revision of the items on a subject up to a sequence,
// 0 if there are none.
func lastRev(ctx context.Context, js jetstream.JetStream, subject string, to uint64) (last uint64, err error) {
	for msg, err := range bus.Fetch(ctx, js, bus.WorkStream, subject, 1, to) {
		if err != nil {
			return 0, err
		}
		if rev, err := strconv.ParseUint(msg.Header.Get(revHeader), 10, 64); err == nil {
			last = max(last, rev)
		}
	}
	return last, nil
}
