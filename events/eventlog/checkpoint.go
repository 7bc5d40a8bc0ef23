package eventlog

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus"
)

// Checkpoint is a signed statement that the log had this hash at this record.
// The signature is Ed25519 over the text
//
//	taskwall-checkpoint-1\n<seq>\n<hash, hex>\n<time, RFC 3339 with nanoseconds, UTC>\n
//
// and of one that vouches for the reports of hosts, too, over
//
//	taskwall-checkpoint-2\n<seq>\n<hash, hex>\n<time>\n<first report>\n<last report>\n<hash of the reports, hex>\n
//
// and of one that vouches for a state of the fold, too, over
//
//	taskwall-checkpoint-3\n<as in 2; zeros when there are no reports><state's record>\n<SHA-256 of the state, hex>\n<form>\n
type Checkpoint struct {
	Seq  uint64    `json:"seq"`
	Hash Hash      `json:"hash"`
	Time time.Time `json:"time"`
	// Reports is nil when there were none, and of earlier versions.
	Reports *ReportsMark `json:"reports,omitempty"`
	// State is nil unless a snapshot was saved since the checkpoint before.
	State *StateMark `json:"state,omitempty"`
	// Key names the key that signed: the first 16 hex digits of its SHA-256.
	Key       string `json:"key"`
	Signature string `json:"signature"` // base64
	// Place is the checkpoint's own sequence in its stream, which keeps all and
	// leaves no gaps; 0: not known.
	Place uint64 `json:"-"`
	// Err is why it cannot be read; all else but its Place is then empty.
	Err error `json:"-"`
}

// mark is where and when the log was last cared for.
type mark struct {
	seq uint64
	at  time.Time
}

// KeyName is how checkpoints name a key.
func KeyName(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

func (c *Checkpoint) text() []byte {
	version, reports := 1, c.Reports
	if reports != nil {
		version = 2
	}
	if c.State != nil {
		if version = 3; reports == nil {
			reports = new(ReportsMark)
		}
	}
	text := fmt.Appendf(nil, "taskwall-checkpoint-%d\n%d\n%s\n%s\n", version, c.Seq, c.Hash, c.Time.UTC().Format(time.RFC3339Nano))
	if r := reports; r != nil {
		text = fmt.Appendf(text, "%d\n%d\n%s\n", r.First, r.Last, r.Hash)
	}
	if s := c.State; s != nil { // the form last: it may hold anything
		text = fmt.Appendf(text, "%d\n%s\n%s\n", s.Seq, s.Hash, s.Form)
	}
	return text
}

// Sign makes a checkpoint of what one says, but for its key and signature.
func Sign(key ed25519.PrivateKey, c Checkpoint) Checkpoint {
	c.Time, c.Key = c.Time.UTC(), KeyName(key.Public().(ed25519.PublicKey))
	c.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, c.text()))
	return c
}

// errUntrusted means that a checkpoint is signed with a key that the reader
// was not told to trust: it proves nothing.
var errUntrusted = errors.New("signed with a key that is not trusted")

// Check is nil when one of the keys signed the checkpoint.
func (c *Checkpoint) Check(trust ...ed25519.PublicKey) error {
	for _, key := range trust {
		if KeyName(key) != c.Key {
			continue
		}
		sig, err := base64.StdEncoding.DecodeString(c.Signature)
		if err != nil || !ed25519.Verify(key, c.text(), sig) {
			return errors.New("its signature does not fit")
		}
		return nil
	}
	return errUntrusted
}

// careDue tells whether it is time for a checkpoint.
func (l *Log) careDue(now time.Time) bool {
	if l.last == l.mark.seq {
		return false
	}
	return l.last-l.mark.seq >= l.o.CheckpointEvery || now.Sub(l.mark.at) >= l.o.CheckpointAfter
}

// care writes a checkpoint and looks at the limits of the log. What fails is
// logged and done the next time: the events themselves are safe.
func (l *Log) care(ctx context.Context, now time.Time) {
	l.mark = mark{seq: l.last, at: now}
	if l.o.Key != nil {
		if err := l.checkpoint(ctx); err != nil {
			l.log.Error("the event log goes on without a checkpoint", "seq", l.last, "error", err)
		}
	}
	if _, err := l.checkRetention(ctx, now); err != nil {
		l.log.Warn("could not look at the limits of the event log", "error", err)
	}
}

// Checkpoint writes a checkpoint at the last record that this Log knows and the
// last report that is stored, if there is none yet. A writer calls it when it
// ends, and on a timer: the checkpoints that Append writes vouch for no later
// reports, so that events need not wait for their reading.
func (l *Log) Checkpoint(ctx context.Context) error {
	if l.o.Key == nil {
		return nil
	}
	if err := l.tallyInTime(ctx); err != nil {
		l.log.Error("the checkpoint vouches for no later reports than the one before", "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == 0 || l.last == l.signed && l.reported() == l.signedReports && l.dueState() == nil {
		return nil
	}
	return l.checkpoint(ctx)
}

// tallyInTime leaves half of the time to sign what was read by then.
func (l *Log) tallyInTime(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	return l.tallyReports(ctx)
}

// reported is the last report that the next checkpoint vouches for.
func (l *Log) reported() uint64 {
	if m := l.tally.now(); m != nil {
		return m.Last
	}
	return 0
}

func (l *Log) checkpoint(ctx context.Context) error {
	c := Sign(l.o.Key, Checkpoint{Seq: l.last, Hash: l.hash, Time: time.Now(), Reports: l.tally.now(), State: l.dueState()})
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	if _, err := bus.PublishAtomic(ctx, l.js, []*nats.Msg{{Subject: bus.CheckpointsSubject, Data: data}}); err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	if l.signed = l.last; c.Reports != nil {
		l.signedReports = c.Reports.Last
	}
	if c.State != nil {
		l.state = nil
	}
	// In a log file elsewhere this line is one more witness.
	said := []any{"seq", c.Seq, "hash", c.Hash.String(), "key", c.Key}
	if c.Reports != nil {
		said = append(said, "reports", c.Reports.Last, "reports_hash", c.Reports.Hash.String())
	}
	if c.State != nil {
		said = append(said, "state", c.State.Seq, "state_hash", c.State.Hash.String())
	}
	l.log.Info("checkpoint of the event log", said...)
	return nil
}

// ReadCheckpoint reads what is stored at a place among the checkpoints.
func ReadCheckpoint(place uint64, data []byte) Checkpoint {
	var c Checkpoint
	if err := json.Unmarshal(data, &c); err != nil {
		return Checkpoint{Place: place, Err: err}
	}
	c.Place = place
	return c
}

// LastCheckpoint is the latest that was written, or nil. It is not checked.
func (l *Log) LastCheckpoint(ctx context.Context) (*Checkpoint, error) {
	msg, found, err := bus.Last(ctx, l.js, bus.CheckpointsStream, bus.CheckpointsSubject)
	if err != nil || !found {
		return nil, err
	}
	c := new(Checkpoint)
	if err := json.Unmarshal(msg.Data, c); err != nil {
		return nil, fmt.Errorf("reading checkpoint %d: %w", msg.Sequence, err)
	}
	return c, nil
}

// Checkpoints are all that were written, oldest first. They are not checked;
// what is none has its Err set, and is logged: it must not keep anybody from
// starting.
func (l *Log) Checkpoints(ctx context.Context) ([]Checkpoint, error) {
	state, err := bus.StreamState(ctx, l.js, bus.CheckpointsStream)
	if err != nil {
		return nil, fmt.Errorf("reading checkpoints: %w", err)
	}
	var all []Checkpoint
	for msg, err := range bus.Fetch(ctx, l.js, bus.CheckpointsStream, "", 1, state.LastSeq) {
		if err != nil {
			return nil, fmt.Errorf("reading checkpoints: %w", err)
		}
		c := ReadCheckpoint(msg.Sequence, msg.Data)
		if c.Err != nil {
			l.log.Error("passing over a checkpoint that cannot be read", "place", msg.Sequence, "error", c.Err)
		}
		all = append(all, c)
	}
	return all, nil
}
