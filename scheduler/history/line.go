package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"github.com/taskwall/taskwall/events/canon"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// line is one message of a stream in a copy.
type line struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time,omitzero"` // stored; of records, only of foreign messages

	Prev   eventlog.Hash `json:"prev,omitzero"`
	Host   string        `json:"host,omitempty"`
	Epoch  uint64        `json:"epoch,omitempty"`
	Writer string        `json:"writer,omitempty"`
	// Error is why the stored message can't be read.
	Error string `json:"error,omitempty"`

	Event      json.RawMessage `json:"event,omitempty"`
	Item       json.RawMessage `json:"item,omitempty"`
	Report     json.RawMessage `json:"report,omitempty"`
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`
	// Raw is what was stored when it is not JSON on one line.
	Raw []byte `json:"raw,omitempty"`

	rec *eventlog.Record // of Event, once it was asked for
	st  work.Stored      // of Item, once it was asked for
}

// append writes the line with its body, byte for byte, under a name. The body
// must not pass through an encoder: that could change its bytes.
func (l line) append(dst []byte, name string, body []byte) ([]byte, error) {
	asIs := len(body) > 0 && json.Valid(body) && bytes.IndexByte(body, '\n') < 0 && bytes.IndexByte(body, '\r') < 0
	if !asIs {
		l.Raw = body
	}
	head, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	if dst = append(dst, head...); asIs {
		dst = append(dst[:len(dst)-1], `,"`...)
		dst = append(dst, name...)
		dst = append(dst, `":`...)
		dst = append(dst, body...)
		dst = append(dst, '}')
	}
	return append(dst, '\n'), nil
}

// body is what was stored.
func (l *line) body(asIs json.RawMessage) []byte {
	if asIs != nil {
		return asIs
	}
	return l.Raw
}

var errLine = errors.New("not a line of a copy")

// parse reads a line into an empty l. Lines as append writes them are read without a JSON
// parser; whoever wrote others is not worse off, only slower.
func (l *line) parse(text []byte) error {
	if l.quick(text) {
		return nil
	}
	*l = line{}
	if err := json.Unmarshal(text, l); err != nil {
		return err
	}
	if l.Seq == 0 {
		return errLine
	}
	return nil
}

// quick reads the usual forms of a line. Its bodies are parts of text, and are
// only looked at by who decodes them.
func (l *line) quick(text []byte) bool {
	c := cursor(text)
	if !c.skip(`{"seq":`) || !c.uint(&l.Seq) || l.Seq == 0 {
		return false
	}
	if c.skip(`,"time":"`) {
		s, ok := c.plain()
		if !ok {
			return false
		}
		var err error
		if l.Time, err = canon.Time(s); err != nil {
			return false
		}
	}
	if c.skip(`,"prev":"`) {
		digits := 2 * len(l.Prev)
		if len(c) < digits || l.Prev.UnmarshalText(c[:digits]) != nil {
			return false
		}
		if c = c[digits:]; !c.skip(`"`) {
			return false
		}
	}
	if c.skip(`,"host":"`) {
		s, ok := c.plain()
		if l.Host = canon.Shared(s); !ok {
			return false
		}
	}
	if c.skip(`,"epoch":`) && !c.uint(&l.Epoch) {
		return false
	}
	if c.skip(`,"writer":"`) {
		s, ok := c.plain()
		if l.Writer = canon.Shared(s); !ok {
			return false
		}
	}
	var body *json.RawMessage
	switch {
	case c.skip(`,"event":{`):
		body = &l.Event
	case c.skip(`,"item":{`):
		body = &l.Item
	case c.skip(`,"report":{`):
		body = &l.Report
	default:
		return false
	}
	end := len(text) - 1
	if text[end] != '}' || end == 0 || text[end-1] != '}' {
		return false
	}
	*body = json.RawMessage(text[len(text)-len(c)-1 : end : end])
	return true
}

// cursor reads the rest of a line.
type cursor []byte

func (c *cursor) skip(prefix string) bool {
	if len(*c) < len(prefix) || string((*c)[:len(prefix)]) != prefix {
		return false
	}
	*c = (*c)[len(prefix):]
	return true
}

func (c *cursor) uint(n *uint64) bool {
	const most = 19 // digits that surely fit
	i, v := 0, uint64(0)
	for i < len(*c) && (*c)[i] >= '0' && (*c)[i] <= '9' {
		v = 10*v + uint64((*c)[i]-'0')
		i++
	}
	zero := i > 1 && (*c)[0] == '0' // before other digits: no JSON
	*n, *c = v, (*c)[i:]
	return i > 0 && i <= most && !zero
}

// plain reads a string up to its closing quote; one with escapes is not plain.
func (c *cursor) plain() ([]byte, bool) {
	for i, b := range *c {
		switch {
		case b == '"':
			s := (*c)[:i]
			*c = (*c)[i+1:]
			return s, true
		case b == '\\', b < ' ', b >= 0x7f:
			return nil, false
		}
	}
	return nil, false
}

// record is the line as a record.
func (l *line) record() *eventlog.Record {
	if l.rec == nil {
		if l.rec = (&eventlog.Record{Seq: l.Seq, Prev: l.Prev, Epoch: l.Epoch, Writer: l.Writer, Data: l.body(l.Event)}); l.rec.Foreign() {
			l.rec = eventlog.ForeignRecord(l.Seq, l.Time, l.rec.Data)
		}
		if l.Error != "" {
			l.rec.Err = errors.New(l.Error)
		}
	}
	return l.rec
}

// stored is the line as a work item.
func (l *line) stored() *work.Stored {
	if l.st.Seq == 0 {
		var err error
		if l.st, err = work.Store(l.Host, l.body(l.Item)); l.Error != "" {
			err = errors.New(l.Error)
		}
		if err != nil {
			l.st = work.Stored{Err: err}
		}
		l.st.Seq, l.st.Epoch, l.st.Time = l.Seq, l.Epoch, l.Time
	}
	return &l.st
}

// mark is what a frame's header says of its lines; ok is false of one that
// can't be read.
func (l *line) mark() (key uint64, at time.Time, ok bool) {
	switch {
	case l.Error != "":
		return 0, time.Time{}, false
	case l.Time.IsZero(): // of the log
		e, err := l.record().Read()
		if err != nil {
			return 0, time.Time{}, false
		}
		return l.Seq, e.Event.Received, true
	case l.Item != nil:
		st := l.stored()
		if st.Err != nil {
			return 0, time.Time{}, false
		}
		return st.Cause, l.Time, true
	}
	return l.Seq, l.Time, true
}
