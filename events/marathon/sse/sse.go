// Package sse reads server-sent events, as Marathon's Jetty writes them and as
// the standard allows (WHATWG HTML, "Server-sent events").
//
//	event: status_update_event\r\n
//	data: {…}\r\n
//	\r\n                            ends the event
//	\r        \n                    a heartbeat: a blank line, in two writes, 10 s apart
//
// The reader of donovanhide/eventsource, which go-marathon uses, reconnects by
// itself and silently, without a cap on its waits, and copies credentials to
// any host that it is redirected to (CLUSTER-API 6.2): it cannot serve a source
// that must know when it has missed something.
package sse

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrTooLarge means that an event is larger than the limit. Its successors can be read.
var ErrTooLarge = errors.New("event larger than the limit")

// Event is one event. Marathon sends neither ids nor retry times.
type Event struct {
	Type string // "message" if the stream does not name one
	Data []byte
}

// Reader reads events from a stream. It is not safe for concurrent use.
type Reader struct {
	r     *bufio.Reader
	limit int

	later   bool // the first line has been read: no byte order mark can follow
	afterCR bool // the last line ended in CR: an LF now belongs to it
	line    []byte
	typ     []byte
	data    []byte
}

// NewReader reads events of at most limit bytes from r.
func NewReader(r io.Reader, limit int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 32<<10), limit: limit}
}

// Next returns the next event; its data is valid until the next call. After
// ErrTooLarge the event after that can be read, after any other error nothing.
// An event that the end of the stream cuts off is dropped.
func (r *Reader) Next() (Event, error) {
	r.typ, r.data = r.typ[:0], r.data[:0]
	hasData, tooLarge := false, false
	for {
		n, err := r.readLine()
		switch {
		case err != nil:
			return Event{}, err
		case n > len(r.line):
			tooLarge = true
		case n > 0:
			name, value, _ := bytes.Cut(r.line, []byte{':'})
			value = bytes.TrimPrefix(value, []byte{' '})
			switch string(name) {
			case "event":
				r.typ = append(r.typ[:0], value...)
			case "data":
				if hasData {
					r.data = append(r.data, '\n')
				}
				hasData = true
				r.data = append(r.data, value...)
				tooLarge = tooLarge || len(r.data) > r.limit
				if tooLarge {
					r.data = r.data[:0]
				}
			}
		case tooLarge:
			return Event{}, fmt.Errorf("%w of %d bytes", ErrTooLarge, r.limit)
		case hasData:
			if len(r.typ) == 0 {
				return Event{Type: "message", Data: r.data}, nil
			}
			return Event{Type: string(r.typ), Data: r.data}, nil
		default:
			r.typ = r.typ[:0] // a blank line, as a heartbeat or after a type without data
		}
	}
}

// readLine reads a line, which CR, LF or both end, into r.line, and returns
// its length, of which r.line holds no more than the limit allows. The line is
// complete once its CR has come: an event must not wait for the LF, which may
// arrive with what follows.
func (r *Reader) readLine() (int, error) {
	r.line = r.line[:0]
	n := 0
	for {
		if _, err := r.r.Peek(1); err != nil {
			return 0, err
		}
		buf, _ := r.r.Peek(r.r.Buffered()) // cannot fail: it is buffered
		if r.afterCR {
			if r.afterCR = false; buf[0] == '\n' {
				r.skip(1)
				continue
			}
		}
		end := bytes.IndexAny(buf, "\r\n")
		part := buf
		if end >= 0 {
			part = buf[:end]
		}
		n += len(part)
		room := r.limit + len("event: ") - len(r.line)
		r.line = append(r.line, part[:min(len(part), room)]...)
		if end < 0 {
			r.skip(len(buf))
			continue
		}
		r.afterCR = buf[end] == '\r'
		r.skip(end + 1)
		if !r.later {
			r.later = true
			if bytes.HasPrefix(r.line, []byte("\ufeff")) {
				r.line, n = r.line[3:], n-3
			}
		}
		return n, nil
	}
}

// skip discards buffered bytes, which cannot fail.
func (r *Reader) skip(n int) { _, _ = r.r.Discard(n) }
