package controller

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/scheduler"
)

// The subjects on which the leading controller answers. A request and its
// answer are gzipped JSON; an answer with the header "Taskwall-Error" is a
// refusal in words.
const (
	SubjectStatus   = bus.StatusRequest
	SubjectApply    = bus.PolicyApplyRequest
	SubjectPolicy   = bus.PolicyGetRequest
	SubjectSessions = bus.SessionsRequest // asks nothing, answers scheduler.BGPView
	SubjectRoutes   = bus.RoutesRequest
	SubjectDrain    = bus.DrainRequest
	headerError     = "Taskwall-Error"
	maxBody         = 64 << 20 // bytes after decompression
)

// ErrNoController means that no controller answered: none runs, or none leads.
var ErrNoController = errors.New("no controller answers")

// Status is the answer to SubjectStatus.
type Status struct {
	scheduler.View
	Version string    `json:"version"`
	Since   time.Time `json:"since"` // when this controller began to lead
	Log     LogStatus `json:"log"`
	// Controllers are all that run, the leader, who answers, first.
	Controllers []Peer                 `json:"controllers"`
	Agents      map[string]AgentStatus `json:"agents"` // by host
	Sources     []SourceStatus         `json:"sources"`
}

// LogStatus says how far the fold is behind the log, and how that is kept.
type LogStatus struct {
	Last   uint64 `json:"last"`   // sequence of the last entry in the log
	Folded uint64 `json:"folded"` // and of the last one folded and published
	Keeping
}

// AgentStatus is what a host's taskwall agent last said.
type AgentStatus struct {
	Applied uint64        `json:"applied"` // revision
	Took    time.Duration `json:"took"`    // nanoseconds, from the item's arrival to the kernel
	Since   time.Time     `json:"since"`   // when it reported
	Digest  string        `json:"digest"`
	Failed  []string      `json:"failed,omitempty"`
	// Trouble is what is wrong on the host now.
	Trouble []string `json:"trouble,omitempty"`
	// Heard is when the agent last said that it lives, by the controller's clock;
	// zero: never since that started.
	Heard   time.Time `json:"heard,omitzero"`
	Version string    `json:"version,omitempty"`
	// Silent is set when nothing is heard of the agent of a host that is ready:
	// for how long, in nanoseconds.
	Silent time.Duration `json:"silent,omitempty"`

	told time.Time // when a report last said what is wrong
}

// SourceStatus is the state of one source of events.
type SourceStatus struct {
	Name      string    `json:"name"`
	Connected bool      `json:"connected"`
	Peer      string    `json:"peer,omitempty"` // whom it is connected to
	Since     time.Time `json:"since"`
	Error     string    `json:"error,omitempty"`
	Doing     string    `json:"doing,omitempty"` // in words, of one that does more than to follow
	// Trouble is what the source cannot see or tell apart now, though it is
	// connected.
	Trouble []string `json:"trouble,omitempty"`
}

// ApplyRequest asks to put one policy change into the log.
type ApplyRequest struct {
	Change events.PolicyChange `json:"change"`
	// Wait is how long to wait for the hosts to have it in their kernels;
	// nanoseconds, zero: answer as soon as it is in the log.
	Wait time.Duration `json:"wait,omitempty"`
}

// ApplyResult says what came of a policy change.
type ApplyResult struct {
	Seq     uint64    `json:"seq"`  // of the change in the log
	Time    time.Time `json:"time"` // when it was put there
	Changed []string  `json:"changed"`
	// Hosts are those that the change concerns, with how long it took from the
	// log to the host's report that it is in the kernel; zero: not heard yet.
	Hosts map[string]time.Duration `json:"hosts"`
}

// Policy is the answer to SubjectPolicy: the resources in force.
type Policy struct {
	Seq       uint64            `json:"seq"`
	Resources []events.Resource `json:"resources"`
	// Commits say by which changes they got their present form, by their keys
	// as text.
	Commits map[string]events.Origin `json:"commits"`
}

// Call asks the leading controller. A refusal is returned as an error.
func Call[Answer any](ctx context.Context, conn *bus.Conn, subject string, request any) (Answer, error) {
	var answer Answer
	body, err := pack(request)
	if err != nil {
		return answer, fmt.Errorf("encoding a request to the controller: %w", err)
	}
	if limit := conn.NATS.MaxPayload(); int64(len(body)) > limit {
		return answer, fmt.Errorf("the request has %d bytes when compressed, the message bus takes %d", len(body), limit)
	}
	msg, err := conn.Ask(ctx, &nats.Msg{Subject: subject, Data: body})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return answer, fmt.Errorf("%w at %s: is one running, does it lead, and is the key an operator's or a viewer's?", ErrNoController, conn.NATS.ConnectedUrlRedacted())
	case errors.Is(err, bus.ErrDenied):
		return answer, fmt.Errorf("this key may not make the request %s: %w; operators may, see docs/nats.md", subject, bus.ErrDenied)
	case err != nil:
		return answer, fmt.Errorf("asking the controller: %w", err)
	}
	if refusal := msg.Header.Get(headerError); refusal != "" {
		var text string
		if err := unpack(msg.Data, &text); err != nil || text == "" {
			text = refusal
		}
		return answer, errors.New(text)
	}
	if err := unpack(msg.Data, &answer); err != nil {
		return answer, fmt.Errorf("decoding the controller's answer: %w", err)
	}
	return answer, nil
}

// serve answers the requests on a subject until ctx ends, each in a goroutine
// of its own that tasks waits for: one may wait for hosts, others must not.
func serve[Request, Answer any](ctx context.Context, tasks *sync.WaitGroup, nc *nats.Conn, subject string,
	handle func(context.Context, Request) (Answer, error)) error {
	sub, err := nc.Subscribe(subject, func(msg *nats.Msg) {
		tasks.Go(func() {
			reply := nats.NewMsg(msg.Reply)
			var request Request
			err := unpack(msg.Data, &request)
			var answer Answer
			if err == nil {
				answer, err = handle(ctx, request)
			}
			if err == nil {
				reply.Data, err = pack(answer)
			}
			if err != nil {
				reply.Header.Set(headerError, "refused")
				reply.Data, _ = pack(err.Error()) // a string always encodes
			}
			if limit := nc.MaxPayload(); int64(reply.Size()) > limit {
				reply.Header.Set(headerError, "refused")
				reply.Data, _ = pack(fmt.Sprintf("the answer has %d bytes when compressed, the message bus takes %d", len(reply.Data), limit))
			}
			_ = nc.PublishMsg(reply) // the caller is gone, or will time out and ask again
		})
	})
	if err != nil {
		return fmt.Errorf("subscribing to %s: %w", subject, err)
	}
	tasks.Go(func() {
		<-ctx.Done()
		_ = sub.Unsubscribe() // fails only when the connection is closed already
	})
	return nil
}

func pack(v any) ([]byte, error) {
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	if err := json.NewEncoder(zip).Encode(v); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func unpack(data []byte, v any) error {
	if len(data) == 0 {
		return nil // a request without parameters
	}
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(zip, maxBody+1))
	if err != nil {
		return err
	}
	if len(text) > maxBody {
		return fmt.Errorf("larger than %d MiB", maxBody>>20)
	}
	return json.Unmarshal(text, v)
}
