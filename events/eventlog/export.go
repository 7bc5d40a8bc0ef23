package eventlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/taskwall/taskwall/events/bus"
)

// An exported copy is JSON Lines: a header, the checkpoints, the records.
//
//	{"taskwall":"event log","version":1,"first":1,"last":2}
//	{"checkpoint":{"seq":2,"hash":"…","time":"…","key":"…","signature":"…"}}
//	{"seq":1,"prev":"00…","epoch":1,"writer":"…","event":{…}}
//	{"seq":2,"prev":"5e…","epoch":1,"writer":"…","event":{…}}
//
// The event is written byte for byte as it was appended, so the chain can be
// checked with nothing but the file.
const (
	exportName    = "event log"
	exportVersion = 1
)

type exportHeader struct {
	Taskwall string `json:"taskwall"`
	Version  int    `json:"version"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
}

type exportLine struct {
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`

	Seq    uint64 `json:"seq,omitempty"`
	Prev   Hash   `json:"prev,omitzero"`
	Epoch  uint64 `json:"epoch,omitempty"`
	Writer string `json:"writer,omitempty"`
	// Event, or Raw when the record is not JSON on one line.
	Event json.RawMessage `json:"event,omitempty"`
	Raw   []byte          `json:"raw,omitempty"`
}

// Export writes a copy of the log, as far as it goes at the time of the call.
func (l *Log) Export(ctx context.Context, w io.Writer) error {
	checkpoints, err := l.Checkpoints(ctx)
	if err != nil {
		return fmt.Errorf("exporting the event log: %w", err)
	}
	state, err := bus.StreamState(ctx, l.js, bus.EventsStream)
	if err != nil {
		return fmt.Errorf("exporting the event log: %w", err)
	}
	kept := checkpoints[:0]
	for _, c := range checkpoints {
		if c.Err == nil && c.Seq <= state.LastSeq {
			kept = append(kept, c)
		}
	}
	records := l.records(ctx, state.FirstSeq, state.LastSeq)
	if state.Msgs == 0 {
		records = func(func(*Record, error) bool) {}
	}
	return Copy(w, state.FirstSeq, state.LastSeq, kept, records)
}

// Copy writes records with checkpoints of theirs as an exported copy.
func Copy(w io.Writer, first, last uint64, checkpoints []Checkpoint, records iter.Seq2[*Record, error]) error {
	out := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(exportHeader{exportName, exportVersion, first, last})
	for i := range checkpoints {
		if err == nil {
			err = enc.Encode(exportLine{Checkpoint: &checkpoints[i]})
		}
	}
	if err != nil {
		return fmt.Errorf("exporting the event log: %w", err)
	}
	for r, err := range records {
		if err == nil {
			err = r.Err
		}
		if err == nil {
			err = r.export(out)
		}
		if err != nil {
			return fmt.Errorf("exporting the event log: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("exporting the event log: %w", err)
	}
	return nil
}

// export writes the record's line. The event must not pass through an encoder:
// that could change its bytes.
func (r *Record) export(out *bufio.Writer) error {
	line := exportLine{Seq: r.Seq, Prev: r.Prev, Epoch: r.Epoch, Writer: r.Writer}
	asIs := json.Valid(r.Data) && !bytes.ContainsAny(r.Data, "\r\n")
	if !asIs {
		line.Raw = r.Data
	}
	head, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if asIs {
		head = append(head[:len(head)-1], `,"event":`...)
		head = append(head, r.Data...)
		head = append(head, '}')
	}
	_, err = out.Write(append(head, '\n'))
	return err
}

// Export is an exported copy of the log, as ImportReader reads it.
type Export struct {
	First, Last uint64 // as the copy says of itself
	Checkpoints []Checkpoint

	lines *bufio.Scanner
	held  *exportLine // the first record, read in search of checkpoints
	n     int         // lines read
	used  bool
}

// maxLine bounds a line of a copy, in bytes.
const maxLine = bus.MaxUnpacked + 1<<20

// errBadCopy means that a file is not an exported copy.
var errBadCopy = errors.New("not an exported copy of the event log")

// ImportReader reads the beginning of a copy. The records are then read once,
// by Records.
func ImportReader(r io.Reader) (*Export, error) {
	x := &Export{lines: bufio.NewScanner(r)}
	x.lines.Buffer(make([]byte, 0, 1<<16), maxLine)
	var h exportHeader
	switch err := x.line(&h); {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errBadCopy, err)
	case h.Taskwall != exportName:
		return nil, fmt.Errorf("%w: line 1 says %q", errBadCopy, h.Taskwall)
	case h.Version != exportVersion:
		return nil, fmt.Errorf("%w: version %d, this program knows %d", errBadCopy, h.Version, exportVersion)
	}
	x.First, x.Last = h.First, h.Last
	for {
		var line exportLine
		err := x.line(&line)
		if errors.Is(err, io.EOF) {
			return x, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBadCopy, err)
		}
		if line.Checkpoint == nil {
			x.held = &line
			return x, nil
		}
		x.Checkpoints = append(x.Checkpoints, *line.Checkpoint)
	}
}

func (x *Export) line(v any) error {
	if !x.lines.Scan() {
		if err := x.lines.Err(); err != nil {
			return fmt.Errorf("line %d: %w", x.n+1, err)
		}
		return io.EOF
	}
	x.n++
	if err := json.Unmarshal(x.lines.Bytes(), v); err != nil {
		return fmt.Errorf("line %d: %w", x.n, err)
	}
	return nil
}

// Records are the copy's records in order, to be checked (Verifier). They end
// with the first line that is none.
func (x *Export) Records() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if x.used {
			yield(nil, errors.New("the copy has been read already"))
			return
		}
		x.used = true
		for line := x.held; ; {
			if line == nil {
				line = new(exportLine)
				err := x.line(line)
				if errors.Is(err, io.EOF) {
					return
				}
				if err != nil {
					yield(nil, err)
					return
				}
			}
			data := []byte(line.Event)
			if data == nil {
				data = line.Raw
			}
			if line.Seq == 0 {
				yield(nil, fmt.Errorf("line %d: %w: no record", x.n, ErrInvalid))
				return
			}
			if !yield(&Record{Seq: line.Seq, Prev: line.Prev, Epoch: line.Epoch, Writer: line.Writer, Data: data}, nil) {
				return
			}
			line = nil
		}
	}
}
