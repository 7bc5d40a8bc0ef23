package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
)

// Checked is what Check found.
type Checked struct {
	Question Question `json:"question"`
	// Signed is the last record that a trusted checkpoint vouches for, with all
	// before it; Checkpoints counts them, Untrusted those of other keys.
	Records     uint64   `json:"records"`
	Signed      uint64   `json:"signed"`
	Checkpoints int      `json:"checkpoints"`
	Untrusted   int      `json:"untrusted"`
	Problems    []string `json:"problems"`
}

// OK reports whether the bundle is what it says of itself.
func (c *Checked) OK() bool { return len(c.Problems) == 0 }

// The largest files that Check reads whole, in bytes.
const (
	maxQuestion = 1 << 20
	maxAnswer   = 256 << 20
	maxState    = 1 << 30
)

// ErrNotBundle means that a file is not a bundle of evidence.
var ErrNotBundle = errors.New("not a bundle of evidence")

// Check checks the chain and the checkpoints of a bundle's records, folds them
// again, and compares the answer and the report with those in the bundle.
// Without a key to trust it checks the chain alone. An error means that the file
// could not be read, or is not a bundle at all.
func Check(ctx context.Context, file io.Reader, trust ...ed25519.PublicKey) (*Checked, error) {
	zip, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotBundle, err)
	}
	c := &checker{in: tar.NewReader(zip), out: &Checked{Problems: []string{}}}
	if err := c.check(ctx, trust); err != nil {
		return nil, err
	}
	return c.out, nil
}

type checker struct {
	in  *tar.Reader
	out *Checked
}

func (c *checker) problem(format string, args ...any) {
	c.out.Problems = append(c.out.Problems, fmt.Sprintf(format, args...))
}

// next is the next file's name.
func (c *checker) next() (string, error) {
	h, err := c.in.Next()
	if errors.Is(err, io.EOF) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotBundle, err)
	}
	return h.Name, nil
}

// expect goes to the next file, which must have this name.
func (c *checker) expect(want string) error {
	got, err := c.next()
	if err == nil && got != want {
		err = fmt.Errorf("%w: the file %q is where %q must be", ErrNotBundle, got, want)
	}
	return err
}

// read reads the file whole.
func (c *checker) read(file string, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(c.in, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("more than %d bytes", most)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotBundle, file, err)
	}
	return data, nil
}

func (c *checker) check(ctx context.Context, trust []ed25519.PublicKey) error {
	if err := c.expect(readmeFile); err != nil {
		return err
	}
	if err := c.expect(questionFile); err != nil {
		return err
	}
	data, err := c.read(questionFile, maxQuestion)
	if err != nil {
		return err
	}
	q := &c.out.Question
	if err := json.Unmarshal(data, q); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNotBundle, questionFile, err)
	}
	if q.Taskwall != name {
		return fmt.Errorf("%w: %s is of another kind", ErrNotBundle, questionFile)
	}
	if pages[q.Version] == nil {
		return &VersionError{q.Version}
	}
	// Whoever reads it otherwise must not find another question in it.
	if at, same := differ(data, encode(q)); !same {
		c.problem("question.json: line %d is not as it is written", at)
	}
	if q.First != q.Start+1 || q.Last < q.Start || !q.From.Before(q.To) || q.Vouched && (q.Start == 0 || q.Last == q.Start) {
		c.problem("question.json: it contradicts itself: start %d, records %d to %d", q.Start, q.First, q.Last)
		return nil
	}
	state := scheduler.NewState()
	var snapshot []byte
	if q.Start > 0 {
		if snapshot, err = c.state(state, q.Start); err != nil {
			return err
		}
		if err := q.begins(state); err != nil {
			c.problem("state.bin: %v", err)
			return nil
		}
	}
	if err := c.expect(logFile); err != nil {
		return err
	}
	a, err := c.log(ctx, q, state, snapshot, trust)
	if err != nil || a == nil {
		return err
	}
	if a.known.Add(time.Nanosecond).Before(q.To) {
		c.problem("log.jsonl: its records end at %s, before the period does: what was then is not proven", a.known.UTC().Format(time.RFC3339Nano))
	}
	return c.compare(q, a)
}

// VersionError is of a bundle in a form of another version of this program.
type VersionError struct{ Version int }

func (e *VersionError) Error() string {
	age := "an earlier"
	if e.Version > version {
		age = "a later"
	}
	return fmt.Sprintf("the bundle has version %d, and this program checks version %d: check it with the program that made it, %s one, or have it made again", e.Version, version, age)
}

// Is has it be an ErrNotBundle, too.
func (e *VersionError) Is(err error) bool { return err == ErrNotBundle }

// state reads the state to begin from.
func (c *checker) state(s *scheduler.State, seq uint64) (snapshot []byte, err error) {
	if err := c.expect(stateFile); err != nil {
		return nil, err
	}
	if snapshot, err = c.read(stateFile, maxState); err != nil {
		return nil, err
	}
	if err := s.UnmarshalBinary(snapshot); err != nil || s.Seq() != seq {
		return nil, fmt.Errorf("%w: %s is not the state after record %d (%w)", ErrNotBundle, stateFile, seq, errors.Join(err, errState))
	}
	return snapshot, nil
}

var errState = errors.New("the question says which it must be")

// log checks the records and folds them. It gives no answer when they cannot
// be folded: the problems say why.
func (c *checker) log(ctx context.Context, q *Question, state *scheduler.State, snapshot []byte, trust []ed25519.PublicKey) (*Answer, error) {
	x, err := eventlog.ImportReader(c.in)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotBundle, logFile, err)
	}
	if x.First != q.First || x.Last != q.Last {
		c.problem("log.jsonl: it says that it holds records %d to %d, the question names %d to %d", x.First, x.Last, q.First, q.Last)
	}
	if q.Vouched && len(trust) > 0 {
		// The chain is compared with the checkpoint below, as with all: one of
		// another log vouches for nothing here.
		if err := eventlog.NewStates(x.Checkpoints, trust...).Check(q.Start, snapshot); err != nil {
			c.problem("state.bin: the state after record %d: %v", q.Start, err)
		}
	}
	v := eventlog.NewVerifier(x.Checkpoints, trust...)
	v.Expect(q.First)
	// The fold ends where a record is at fault. The chain is checked to its end,
	// so that every fault is named.
	var broken error
	entries := func(yield func(events.Entry, error) bool) {
		folding := true
		for r, err := range x.Records() {
			if err != nil {
				broken = err
				break
			}
			v.Record(r)
			if !folding {
				continue
			}
			e, err := r.Entry()
			if err == nil && v.Found() > 0 {
				err = errChain
			}
			folding = yield(e, err) && err == nil
		}
		if folding && broken != nil {
			yield(events.Entry{}, broken)
		}
	}
	a, failed := answer(ctx, q, state, entries)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if broken != nil {
		c.problem("log.jsonl: %v", broken)
	}
	rep := v.End(q.Last)
	c.out.Records, c.out.Signed, c.out.Checkpoints, c.out.Untrusted = rep.Records, rep.Signed, rep.Checkpoints, rep.Untrusted
	for _, p := range rep.Problems {
		c.problem("log.jsonl: %s", p)
	}
	if rep.Last > q.Last {
		c.problem("log.jsonl: records %d to %d: more than the question names", q.Last+1, rep.Last)
	}
	if len(trust) > 0 && rep.Signed < q.Last {
		c.problem("log.jsonl: records %d to %d: no checkpoint of a trusted key vouches for them (%d are of other keys)",
			max(rep.Signed+1, q.First), q.Last, rep.Untrusted)
	}
	if failed != nil {
		if len(c.out.Problems) == 0 {
			c.problem("log.jsonl: it cannot be folded: %v", failed)
		}
		return nil, nil
	}
	return a, nil
}

// errChain ends a fold: the records are not what was written.
var errChain = errors.New("the chain is broken")

// compare holds the answer that follows against those in the bundle.
func (c *checker) compare(q *Question, a *Answer) error {
	page, err := render(q, a)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		file string
		want []byte
	}{{answerFile, encode(a)}, {reportFile, page}} {
		if err := c.expect(f.file); err != nil {
			return err
		}
		got, err := c.read(f.file, maxAnswer)
		if err != nil {
			return err
		}
		if at, same := differ(got, f.want); !same {
			c.problem("%s: line %d is not what follows from the records", f.file, at)
		}
	}
	switch more, err := c.next(); {
	case err != nil:
		return err
	case more != "":
		c.problem("%q is in the bundle, and does not belong there", more)
	}
	return nil
}

// differ is the first line in which two texts differ.
func differ(a, b []byte) (line int, same bool) {
	if bytes.Equal(a, b) {
		return 0, true
	}
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return 1 + bytes.Count(a[:n], []byte("\n")), false
}
