package eventlog

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// StateMark names a state of the fold: the one after a record, by the SHA-256
// of its snapshot. A checkpoint signs it, so a reader need not take the
// snapshot on trust, and a fold of the log can be compared with it.
type StateMark struct {
	Seq  uint64 `json:"seq"`
	Hash Hash   `json:"hash"`
	// Form is the first line of the snapshot: one of another form than the
	// reader's own has other bytes.
	Form string `json:"form"`
}

// maxForm bounds a form, in bytes.
const maxForm = 64

// MarkState is the mark of a snapshot after a record.
func MarkState(seq uint64, snapshot []byte) StateMark {
	return StateMark{Seq: seq, Hash: sha256.Sum256(snapshot), Form: formOf(snapshot)}
}

func formOf(snapshot []byte) string {
	line, _, found := bytes.Cut(snapshot[:min(len(snapshot), maxForm)], []byte("\n"))
	if !found {
		return ""
	}
	return string(line)
}

// ErrUnsigned means that no checkpoint of a trusted key vouches for a snapshot.
var ErrUnsigned = errors.New("no checkpoint of a trusted key vouches for it")

// ErrAltered means that a snapshot is not what a checkpoint was signed for.
var ErrAltered = errors.New("altered")

// States are the states that checkpoints vouch for. The signatures are checked
// when a state is asked for.
type States struct {
	bySeq map[uint64][]Checkpoint
	trust []ed25519.PublicKey
}

// NewStates are those of the checkpoints that a trusted key signed.
func NewStates(checkpoints []Checkpoint, trust ...ed25519.PublicKey) *States {
	s := &States{bySeq: map[uint64][]Checkpoint{}, trust: trust}
	for _, c := range checkpoints {
		if c.State != nil && c.State.Seq <= c.Seq { // of later records it can't know
			s.bySeq[c.State.Seq] = append(s.bySeq[c.State.Seq], c)
		}
	}
	return s
}

// At are the trusted checkpoints that vouch for the state after a record, one
// for each state that they say: controllers of several versions may have one
// each.
func (s *States) At(seq uint64) []Checkpoint {
	var all []Checkpoint
	for _, c := range s.bySeq[seq] {
		same := func(o Checkpoint) bool { return *o.State == *c.State }
		if !slices.ContainsFunc(all, same) && c.Check(s.trust...) == nil {
			all = append(all, c)
		}
	}
	return all
}

// Records are those after which a checkpoint says what the state is, in order.
// The signatures are not looked at: At does that.
func (s *States) Records() []uint64 { return slices.Sorted(maps.Keys(s.bySeq)) }

// Any tells whether a trusted key vouches for any state at all.
func (s *States) Any() bool {
	for seq := range s.bySeq {
		if len(s.At(seq)) > 0 {
			return true
		}
	}
	return false
}

// Check is nil when a trusted key vouches for the snapshot after a record, and
// else ErrUnsigned or ErrAltered.
func (s *States) Check(seq uint64, snapshot []byte) error {
	at := s.At(seq)
	if len(at) == 0 {
		return ErrUnsigned
	}
	mark := MarkState(seq, snapshot)
	if slices.ContainsFunc(at, func(c Checkpoint) bool { return *c.State == mark }) {
		return nil
	}
	return fmt.Errorf("%w: not what the checkpoint of %s was signed for", ErrAltered, at[0].Time.UTC().Format(time.RFC3339))
}

// dueState is what the next checkpoint says of a state, if it knows its record.
// The lock is held.
func (l *Log) dueState() *StateMark {
	if l.state == nil || l.state.Seq > l.last {
		return nil
	}
	return l.state
}
