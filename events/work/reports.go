package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/taskwall/taskwall/events/bus"
)

// Reporter sends a host's reports.
type Reporter struct {
	c    *bus.Conn
	host string
}

// NewReporter reports for a host.
func NewReporter(c *bus.Conn, host string) *Reporter { return &Reporter{c, host} }

// reportRetry is the pause after a report that could not be sent.
const reportRetry = 250 * time.Millisecond

// Report returns when the report is durable. It keeps trying until ctx ends; a
// report sent twice counts once. An empty ID is filled in. A server that does
// not permit it is ErrDenied of package bus.
func (r *Reporter) Report(ctx context.Context, rep Report) error {
	if rep.ID == "" {
		rep.ID = nuid.Next() // not to be guessed: another host could send it first
	}
	rep.Host = r.host
	if err := validate(&rep); err != nil {
		return fmt.Errorf("reporting for %s: %w", r.host, err)
	}
	data, err := json.Marshal(rep)
	if err != nil {
		return fmt.Errorf("reporting for %s: %w", r.host, err)
	}
	for {
		msg := &nats.Msg{Subject: bus.ReportsSubject(r.host), Header: nats.Header{jetstream.MsgIDHeader: {rep.ID}}}
		if err := bus.Pack(r.c.NATS, msg, data); err != nil {
			return fmt.Errorf("reporting for %s: %w", r.host, err)
		}
		err := r.send(ctx, msg)
		if err == nil || errors.Is(err, bus.ErrDenied) || errors.Is(err, nats.ErrConnectionClosed) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (last try: %w)", context.Cause(ctx), err)
		case <-time.After(reportRetry):
		}
	}
}

func (r *Reporter) send(ctx context.Context, msg *nats.Msg) error {
	answer, err := r.c.Request(ctx, msg)
	if err != nil {
		return fmt.Errorf("reporting for %s: %w", r.host, err)
	}
	var ack struct {
		Stream string              `json:"stream"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return fmt.Errorf("reporting for %s: reading the acknowledgement: %w", r.host, err)
	}
	if ack.Error != nil {
		return fmt.Errorf("reporting for %s: %w", r.host, ack.Error)
	}
	if ack.Stream != bus.ReportsStream {
		return fmt.Errorf("reporting for %s: acknowledged by stream %q", r.host, ack.Stream)
	}
	return nil
}

// validate checks that a report says one thing.
func validate(r *Report) error {
	n := 0
	for _, set := range []bool{r.Join != nil, r.Wiring != nil, r.Applied != nil, r.Drift != nil, r.Logged != nil,
		r.Session != nil, r.Refused != nil} {
		if set {
			n++
		}
	}
	if n != 1 || r.ID == "" {
		return errors.New("a report has an id and exactly one body")
	}
	return nil
}

// decodeReport reads a report and writes the host of its subject into it.
func decodeReport(subject string, h nats.Header, data []byte) (Report, error) {
	var rep Report
	host, err := bus.HostOf(subject)
	if err != nil {
		return rep, err
	}
	if data, err = bus.Unpack(h, data); err != nil {
		return rep, err
	}
	return DecodeReport(host, data)
}

// DecodeReport reads a report as a host sent it, and writes the host into it.
func DecodeReport(host string, data []byte) (Report, error) {
	rep, err := unmarshalReport(host, data)
	if err != nil {
		return rep, fmt.Errorf("decoding a report: %w", err)
	}
	if err := validate(&rep); err != nil {
		return rep, err
	}
	rep.Host = host
	if rep.Join != nil {
		rep.Join.Host = host
	}
	if rep.Wiring != nil {
		rep.Wiring.Host = host
	}
	if rep.Session != nil {
		rep.Session.Host = host
	}
	if rep.Refused != nil {
		rep.Refused.Host = host
	}
	return rep, nil
}
