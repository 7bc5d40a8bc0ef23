package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// directRequest asks for stored messages (NATS ADR-31).
type directRequest struct {
	Seq      uint64     `json:"seq,omitempty"`
	NextFor  string     `json:"next_by_subj,omitempty"`
	Batch    int        `json:"batch"`
	MaxBytes int        `json:"max_bytes,omitempty"`
	Start    *time.Time `json:"start_time,omitempty"`
}

// getDirect gives the messages of one answer, in order. One that has headers
// that cannot be read is nil: it stands where the next one in the stream is.
//
// The server says in headers what a message is, where it lies and when it came,
// and writes them after those that the message was published with. A host may
// publish its reports with whatever headers it likes: so the last value of each
// counts, which the library (jetstreamext.GetBatch) does not heed, and what has
// no place in a stream is the server's own word, whatever status a message names.
func getDirect(ctx context.Context, js jetstream.JetStream, stream string, req directRequest) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		body, err := json.Marshal(req)
		if err != nil {
			yield(nil, err)
			return
		}
		conn := js.Conn()
		inbox := conn.NewRespInbox()
		// A channel, with room for all: of a synchronous subscription the library
		// takes a message with the status 503 for the server's own.
		answers := make(chan *nats.Msg, req.Batch+8)
		sub, err := conn.ChanSubscribe(inbox, answers)
		if err != nil {
			yield(nil, err)
			return
		}
		defer sub.Unsubscribe() //nolint:errcheck // the connection is gone then
		if err := conn.PublishRequest(directSubject(js.Options(), stream), inbox, body); err != nil {
			yield(nil, err)
			return
		}
		for {
			var msg *nats.Msg
			select {
			case msg = <-answers:
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			}
			if len(msg.Header) == 0 {
				if !yield(nil, nil) {
					return
				}
				continue
			}
			if serverSays(msg, jetstream.SequenceHeader) == "" {
				switch status := serverSays(msg, "Status"); status {
				case "204", "404": // that was all; there is none
				case "503":
					yield(nil, nats.ErrNoResponders)
				default:
					yield(nil, fmt.Errorf("the server says %s %s", status, msg.Header.Get("Description")))
				}
				return
			}
			raw, err := storedMsg(msg)
			if !yield(raw, err) || err != nil {
				return
			}
		}
	}
}

func directSubject(o jetstream.JetStreamOptions, stream string) string {
	prefix := apiPrefix
	if o.APIPrefix != "" {
		prefix = strings.TrimSuffix(o.APIPrefix, ".") + "."
	} else if o.Domain != "" {
		prefix = "$JS." + o.Domain + "."
	}
	return prefix + "DIRECT.GET." + stream
}

// serverSays is a header as the server wrote it, after all that others wrote.
func serverSays(msg *nats.Msg, header string) string {
	if all := msg.Header[header]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

func storedMsg(msg *nats.Msg) (*jetstream.RawStreamMsg, error) {
	raw := &jetstream.RawStreamMsg{Subject: serverSays(msg, jetstream.SubjectHeader), Header: msg.Header, Data: msg.Data}
	var place, at error
	raw.Sequence, place = strconv.ParseUint(serverSays(msg, jetstream.SequenceHeader), 10, 64)
	raw.Time, at = time.Parse(time.RFC3339Nano, serverSays(msg, jetstream.TimeStampHeaer))
	if err := errors.Join(place, at); err != nil {
		return nil, fmt.Errorf("the server's answer: %w", err)
	}
	return raw, nil
}
